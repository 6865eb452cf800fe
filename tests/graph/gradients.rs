//! Derivatives of every operation in the middle of a graph, between two linear layers, against central differences of the
//! f64 oracle: reverse mode, forward mode, each other's transpose, and second order where there is one.

use super::engine::{agree, cpu, distance, leaves, normal, run};
use super::oracle::{Leaves, evaluate, index};
use advect::graph::op::conv::{self, Conv1d, Windows};
use advect::graph::op::conv2d::{Conv2d, Fold2d, Unfold2d, Windows2d};
use advect::graph::op::group_norm::{GroupNorm, GroupNormGrad};
use advect::graph::op::max_pool2d::{MaxPool2dGrad, MaxPool2dJvp};
use advect::graph::op::{self, layout, map, norm, softmax, time_embed};
use advect::graph::{Graph, GraphError, Op, Result, Shape, Value};
use advect::kernel::attention::AttentionShape;
use advect::kernel::manifold::{Part, PartKind, Parts};
use advect::kernel::math::Activation;
use advect::kernel::norm::NormKind;
use advect::kernel::time_embed::TimeEmbedding;

/// Rows and columns of the values between the layers.
const ROWS: usize = 6;
const COLS: usize = 8;

/// Adds an operation to a graph.
type Build = Box<dyn Fn(&mut Graph, Value) -> Result<Value>>;

/// An operation on the first layer's output h [6, 8]; it may add inputs of its own.
struct Case {
    name: String,
    op: Build,
    /// Whether gradients of gradients exist.
    second: bool,
}

fn case(name: &str, op: impl Fn(&mut Graph, Value) -> Result<Value> + 'static) -> Case {
    Case { name: name.into(), op: Box::new(op), second: true }
}

fn once(name: &str, op: impl Fn(&mut Graph, Value) -> Result<Value> + 'static) -> Case {
    Case { second: false, ..case(name, op) }
}

fn attention(heads: usize, [q_tokens, k_tokens]: [usize; 2], causal: bool) -> AttentionShape {
    AttentionShape { heads, q_tokens, k_tokens, causal }
}

/// Actions of four values: a circle and two flat columns.
fn manifold_parts() -> Parts {
    Parts::new(4, &[Part { start: 1, len: 2, kind: PartKind::Sphere }]).unwrap()
}

fn m(rows: usize, cols: usize) -> Shape {
    Shape::matrix(rows, cols)
}

/// Images of 3 x 2 pixels, of which the rows between the layers are one: six windows of 2 x 2.
fn plane() -> Windows2d {
    Windows2d::new([3, 2], [2, 2], [2, 1], [1, 1])
}

/// Constant values [6, 8].
fn fixed(g: &mut Graph) -> Result<Value> {
    g.constant(m(ROWS, COLS), normal(3, 77, ROWS * COLS).iter().map(|v| *v as f32).collect())
}

fn dims(dims: &[usize]) -> Shape {
    Shape::new(dims).unwrap()
}

fn cases() -> Vec<Case> {
    let mut all = vec![
        case("matmul", |g, h| {
            let b = g.param("b", m(COLS, 5))?;
            g.matmul(h, b)
        }),
        case("matmul_nt", |g, h| {
            let b = g.param("b", m(5, COLS))?;
            g.matmul_nt(h, b)
        }),
        case("matmul_tn", |g, h| {
            let a = g.param("a", m(ROWS, 4))?;
            g.matmul_tn(a, h)
        }),
        case("matmul_tn of its left", |g, h| {
            let b = g.param("b", m(ROWS, 4))?;
            g.matmul_tn(h, b)
        }),
        case("h times its own transpose", |g, h| g.matmul_nt(h, h)),
        case("axpby", |g, h| {
            let b = g.input("b", m(ROWS, COLS))?;
            g.axpby(0.7, h, -1.3, b)
        }),
        case("add to itself", |g, h| g.axpby(0.7, h, -0.3, h)),
        case("affine", |g, h| g.affine(h, -1.5, 0.25)),
        case("square", |g, h| g.mul(h, h)),
        case("row_sum", |g, h| g.row_sum(h, 0.5)),
        case("col_sum in groups", |g, h| g.col_sum(h, 3, 0.5)),
        case("col_sum of all", |g, h| g.col_sum(h, ROWS, 1.0)),
        case("fma with row and column", |g, h| {
            let (s, b) = (g.input("s", m(1, COLS))?, g.input("b", m(ROWS, 1))?);
            g.fma(h, s, b)
        }),
        case("fma with h as scale", |g, h| {
            let x = g.input("x", m(ROWS, 1))?;
            g.fma(x, h, h)
        }),
        case("softmax", |g, h| g.softmax(h)),
        // Its derivative is zero; the largest element of a row passes the product's.
        case("one_hot", |g, h| {
            let one = g.one_hot(h)?;
            g.mul(h, one)
        }),
        once("softmax_grad", |g, h| {
            let (p, d) = (g.softmax(h)?, g.input("d", m(ROWS, COLS))?);
            g.push(Op::SoftmaxGrad(softmax::SoftmaxGrad), &[p, d])
        }),
        once("layer_norm", |g, h| {
            let (w, b) = (g.param("w", m(1, COLS))?, g.param("b", m(1, COLS))?);
            g.layer_norm(h, Some(w), Some(b), 1e-5)
        }),
        once("rms_norm", |g, h| {
            let w = g.param("w", m(1, COLS))?;
            g.rms_norm(h, Some(w), 1e-6)
        }),
        case("norm_grad by its cotangent", |g, h| {
            let x =
                g.constant(m(ROWS, COLS), normal(3, 77, ROWS * COLS).iter().map(|v| *v as f32).collect())?;
            g.push(Op::NormGrad(norm::NormGrad { kind: NormKind::Layer, eps: 1e-5 }), &[x, h])
        }),
        once("attention to itself", |g, h| {
            let shape = attention(2, [3, 3], false);
            g.attention(h, h, h, shape)
        }),
        once("causal attention of slices", |g, h| {
            let wide = g.concat(&[h, h, h])?;
            let (q, k, v) = (g.slice(wide, 2, 4)?, g.slice(wide, 5, 4)?, g.slice(wide, 11, 4)?);
            g.attention(q, k, v, attention(1, [6, 6], true))
        }),
        once("attention with its log-sum-exp", |g, h| {
            let (k, v) = (g.input("k", m(4, COLS))?, g.input("v", m(4, COLS))?);
            let shape = attention(4, [6, 4], false);
            g.push(Op::Attention(op::attention::Attention { shape }), &[h, k, v])
        }),
        once("attention to shared keys", |g, h| {
            let k = g.input("k", m(2, COLS))?;
            let v = g.map(Activation::Tanh, k)?;
            g.attention(h, k, v, attention(2, [2, 2], false))
        }),
        once("attention of other queries", |g, h| {
            let q = g.input("q", m(8, COLS))?;
            g.attention(q, h, h, attention(2, [4, 3], false))
        }),
        case("rope", |g, h| g.rope(h, 2, 3, 10.0)),
        case("rope of a slice", |g, h| {
            let x = g.slice(h, 1, 6)?;
            g.rope(x, 1, 6, 100.0)
        }),
        case("tangent of itself and another", |g, h| {
            let x = g.input("x", m(ROWS, COLS))?;
            let parts = manifold_parts();
            let (a, b) = (g.tangent(h, x, &parts)?, g.tangent(x, h, &parts)?);
            g.mul(a, b)
        }),
        case("concat", |g, h| {
            let (a, b) = (g.input("a", m(ROWS, 3))?, g.input("b", m(ROWS, 1))?);
            g.concat(&[a, h, b, h])
        }),
        case("slice", |g, h| g.slice(h, 2, 5)),
        case("slices that overlap", |g, h| {
            let (a, b) = (g.slice(h, 0, 5)?, g.slice(h, 3, 5)?);
            g.mul(a, b)
        }),
        case("slice of a slice times a column", |g, h| {
            let a = g.slice(h, 1, 6)?;
            let (a, c) = (g.slice(a, 2, 3)?, g.slice(h, 7, 1)?);
            g.mul(a, c)
        }),
        case("product of strided slices", |g, h| {
            let (a, b) = (g.slice(h, 1, 4)?, g.slice(h, 4, 4)?);
            g.matmul_nt(a, b)
        }),
        case("pad", |g, h| g.push(Op::Pad(layout::Pad { start: 3, cols: 13 }), &[h])),
        case("reshape", |g, h| g.reshape(h, m(COLS, ROWS))),
        case("reshape of a slice", |g, h| {
            let s = g.slice(h, 1, 4)?;
            g.reshape(s, m(3, 8))
        }),
        case("reshape of repeated rows", |g, h| {
            let r = g.repeat_rows(h, 2)?;
            g.reshape(r, m(4, 24))
        }),
        case("repeat_rows", |g, h| g.repeat_rows(h, 3)),
        case("repeat_rows of a repeated row", |g, h| {
            let row = g.col_sum(h, ROWS, 0.3)?;
            let r = g.repeat_rows(row, 3)?;
            g.repeat_rows(r, 4)
        }),
        case("repeated rows beside others", |g, h| {
            let r = g.repeat_rows(h, 2)?;
            let x = g.input("x", m(2 * ROWS, 3))?;
            g.concat(&[x, r])
        }),
        case("broadcast of a row", |g, h| {
            let row = g.col_sum(h, ROWS, 0.3)?;
            g.broadcast(row, m(5, COLS))
        }),
        case("broadcast of a column", |g, h| {
            let column = g.row_sum(h, 0.3)?;
            g.broadcast(column, m(ROWS, 4))
        }),
        case("broadcast of an element", |g, h| {
            let row = g.col_sum(h, ROWS, 0.3)?;
            let one = g.row_sum(row, 0.5)?;
            g.broadcast(one, m(3, 4))
        }),
        case("mse", |g, h| {
            let b = g.input("b", m(ROWS, COLS))?;
            g.mse(h, b)
        }),
        case("mse of its right", |g, h| {
            let b = g.input("b", m(ROWS, COLS))?;
            g.mse(b, h)
        }),
        // h is two samples of three steps.
        case("unfold1d", |g, h| {
            let windows = Windows { steps: 3, kernel: 3, stride: 2, padding: 1 };
            g.push(Op::Unfold1d(conv::Unfold1d { windows }), &[h])
        }),
        case("fold1d", |g, h| {
            let windows = Windows { steps: 7, kernel: 4, stride: 2, padding: 1 };
            g.push(Op::Fold1d(conv::Fold1d { windows }), &[h])
        }),
        case("conv1d", |g, h| {
            let (w, b) = (g.param("w", dims(&[4, COLS, 5]))?, g.param("b", dims(&[4]))?);
            g.conv1d(h, w, Some(b), Conv1d { steps: 3, stride: 1, padding: 2 })
        }),
        case("conv1d of one step", |g, h| {
            let w = g.param("w", dims(&[4, COLS, 1]))?;
            g.conv1d(h, w, None, Conv1d { steps: 3, stride: 1, padding: 0 })
        }),
        case("conv_transpose1d", |g, h| {
            let (w, b) = (g.param("w", dims(&[COLS, 5, 4]))?, g.param("b", dims(&[5]))?);
            g.conv_transpose1d(h, w, Some(b), Conv1d { steps: 3, stride: 2, padding: 1 })
        }),
        // h is one sample of 3 x 2 pixels.
        case("unfold2d", |g, h| g.push(Op::Unfold2d(Unfold2d { windows: plane() }), &[h])),
        case("fold2d", |g, h| g.push(Op::Fold2d(Fold2d { windows: plane() }), &[h])),
        case("conv2d", |g, h| {
            let (w, b) = (g.param("w", dims(&[4, COLS, 2, 3]))?, g.param("b", dims(&[4]))?);
            g.conv2d(h, w, Some(b), Conv2d { size: [3, 2], stride: [1, 2], padding: [1, 1] })
        }),
        case("conv2d of two samples, one pixel at a time", |g, h| {
            let w = g.param("w", dims(&[4, COLS, 1, 1]))?;
            g.conv2d(h, w, None, Conv2d { size: [1, 3], stride: [1, 1], padding: [0, 0] })
        }),
        once("max_pool2d", |g, h| g.max_pool2d(h, Windows2d::new([3, 2], [2, 2], [1, 1], [1, 1]))),
        once("max_pool2d of two samples", |g, h| {
            g.max_pool2d(h, Windows2d::new([1, 3], [1, 2], [1, 1], [0, 1]))
        }),
        case("max_pool2d_grad by its cotangent", |g, h| {
            let x = fixed(g)?;
            g.push(Op::MaxPool2dGrad(MaxPool2dGrad { windows: plane() }), &[x, h])
        }),
        case("max_pool2d_jvp by its tangent", |g, h| {
            let x = fixed(g)?;
            g.push(Op::MaxPool2dJvp(MaxPool2dJvp { windows: plane() }), &[x, h])
        }),
        once("group_norm", |g, h| {
            let (w, b) = (g.param("w", dims(&[COLS]))?, g.param("b", dims(&[COLS]))?);
            g.group_norm(h, GroupNorm { steps: 3, groups: 4, eps: 1e-5 }, Some(w), Some(b))
        }),
        once("group_norm, mish, film, residual", |g, h| {
            let (w, b) = (g.param("w", dims(&[COLS]))?, g.param("b", dims(&[COLS]))?);
            let y = g.group_norm(h, GroupNorm { steps: 2, groups: 2, eps: 1e-5 }, Some(w), Some(b))?;
            let y = g.map(Activation::Mish, y)?;
            let (s, t) = (g.input("s", m(3, COLS))?, g.input("t", m(1, COLS))?);
            let s = g.repeat_rows(s, 2)?;
            let y = g.fma(y, s, t)?;
            g.add(y, h)
        }),
        case("group_norm_grad by its cotangent", |g, h| {
            let x =
                g.constant(m(ROWS, COLS), normal(3, 77, ROWS * COLS).iter().map(|v| *v as f32).collect())?;
            let norm = GroupNorm { steps: 3, groups: 2, eps: 1e-5 };
            g.push(Op::GroupNormGrad(GroupNormGrad(norm)), &[x, h])
        }),
        once("time_embed's slope", |g, h| {
            let t = g.slice(h, 3, 1)?;
            let kind = TimeEmbedding::Sinusoidal { dim: 6, scale: 1.5, max_period: 20.0 };
            g.push(Op::TimeEmbed(time_embed::TimeEmbed { kind, order: 1 }), &[t])
        }),
    ];
    for kind in [
        TimeEmbedding::Sinusoidal { dim: 6, scale: 1.5, max_period: 20.0 },
        TimeEmbedding::Period { dim: 4, min_period: 3.0, max_period: 20.0 },
    ] {
        all.push(case("time_embed", move |g, h| {
            let t = g.slice(h, 3, 1)?;
            g.time_embedding(&kind, t)
        }));
        all.push(case("time_embed of several times", move |g, h| {
            let t = g.slice(h, 2, 3)?;
            g.time_embedding(&kind, t)
        }));
    }
    for act in Activation::ALL.iter().copied() {
        // Where the function has no derivative or no value, it gets arguments away from there.
        let safe = move |g: &mut Graph, h: Value| match act {
            Activation::Sqrt | Activation::Reciprocal | Activation::Log => {
                let square = g.mul(h, h)?;
                g.affine(square, 1.0, 0.5)
            }
            _ => Ok(h),
        };
        all.push(case(act.name(), move |g, h| {
            let x = safe(g, h)?;
            g.map(act, x)
        }));
        // Third derivatives do not exist.
        all.push(once(&format!("{}'", act.name()), move |g, h| {
            let x = safe(g, h)?;
            g.push(Op::Map(map::Map { act, order: 1 }), &[x])
        }));
        all.push(once(&format!("{}' d", act.name()), move |g, h| {
            let (x, d) = (safe(g, h)?, g.input("d", m(ROWS, COLS))?);
            g.map_mul(act, 1, x, d)
        }));
    }
    // The operations that broadcast: every pair of full, row, column and element.
    let shapes = [("full", m(ROWS, COLS)), ("row", m(1, COLS)), ("column", m(ROWS, 1)), ("element", m(1, 1))];
    for (name, shape) in shapes {
        for left in [true, false] {
            let pair = move |g: &mut Graph, h: Value| -> Result<(Value, Value)> {
                let b = g.input("b", shape)?;
                Ok(if left { (h, b) } else { (b, h) })
            };
            let label = |op: &str| format!("{op} with a {name} {}", if left { "right" } else { "left" });
            all.push(case(&label("add"), move |g, h| {
                let (a, b) = pair(g, h)?;
                g.axpby(0.6, a, -1.2, b)
            }));
            all.push(case(&label("mul"), move |g, h| {
                let (a, b) = pair(g, h)?;
                g.mul(a, b)
            }));
            all.push(case(&label("div"), move |g, h| {
                let (a, b) = pair(g, h)?;
                let b = g.mul(b, b)?;
                let b = g.affine(b, 0.5, 1.0)?;
                g.div(a, b)
            }));
        }
    }
    // Some values lie within, some beyond.
    all.push(case("clip", |g, h| {
        let limit = g.constant(m(1, COLS), (0..COLS).map(|c| 0.15 + 0.1 * (c % 3) as f32).collect())?;
        g.clip(h, limit)
    }));
    all
}

/// A case between two layers: the graph, its output, its leaves and their values.
struct Middle {
    graph: Graph,
    y: Value,
    wrt: Vec<(String, Value)>,
    leaves: Leaves,
}

fn between_layers(case: &Case) -> Result<Middle> {
    let mut g = Graph::new();
    let x = g.input("x0", m(ROWS, 5))?;
    let (w, b) = (g.param("first.weight", m(COLS, 5))?, g.param("first.bias", m(1, COLS))?);
    let h = g.linear(x, w, Some(b))?;
    let h = g.affine(h, 0.4, 0.0)?;
    let middle = (case.op)(&mut g, h)?;
    let cols = g.shape(middle).cols();
    let (w, b) = (g.param("last.weight", m(3, cols))?, g.param("last.bias", m(1, 3))?);
    let y = g.linear(middle, w, Some(b))?;
    let leaves = leaves(&g, 11);
    let wrt = g
        .values()
        .filter_map(|v| match &g.node(v).op {
            Op::Input(i) => Some((i.name.to_string(), v)),
            Op::Param(p) => Some((p.name.to_string(), v)),
            _ => None,
        })
        .collect();
    Ok(Middle { graph: g, y, wrt, leaves })
}

/// sum(y cot) with some leaves moved by multiples of a direction.
fn loss(c: &Middle, cot: &[f64], moves: &[(&str, &[f64], f64)]) -> f64 {
    let mut leaves = c.leaves.clone();
    for (name, direction, by) in moves {
        let leaf = leaves.get_mut(*name).unwrap();
        leaf.iter_mut().zip(*direction).for_each(|(v, d)| *v += by * d);
    }
    let y = &evaluate(&c.graph, &leaves)[index(c.y)];
    y.iter().zip(cot).map(|(y, c)| y * c).sum()
}

fn unit(n: usize, e: usize) -> Vec<f64> {
    let mut out = vec![0.0; n];
    out[e] = 1.0;
    out
}

#[test]
fn values_and_first_derivatives() {
    let h = 1e-5;
    for case in cases() {
        let c = between_layers(&case).unwrap();
        agree(&case.name, &c.graph, &c.leaves, &[c.y], 1e-5);
        let shape = c.graph.shape(c.y);
        let cot = normal(5, 900, shape.len());
        let mut g = c.graph.clone();
        let d = g.input("cot", shape).unwrap();
        let mut leaves = c.leaves.clone();
        leaves.insert("cot".into(), cot.clone());
        let wrt: Vec<Value> = c.wrt.iter().map(|w| w.1).collect();
        let reverse = g.vjp(&[(c.y, d)], &wrt).unwrap();
        let mut tangents = Vec::new();
        for (i, (name, v)) in c.wrt.iter().enumerate() {
            let t = g.input(&format!("tangent {name}"), g.shape(*v)).unwrap();
            leaves.insert(format!("tangent {name}"), normal(6, i as u32, g.shape(*v).len()));
            tangents.push((*v, t));
        }
        let forward = g.jvp(&tangents, &[c.y]).unwrap();
        let mut outputs = reverse.clone();
        outputs.extend(&forward);
        let got = run(&cpu(), &g, &leaves, &outputs);
        let (reverse, forward) = got.split_at(wrt.len());

        // Reverse mode, element by element.
        for ((name, v), got) in c.wrt.iter().zip(reverse) {
            let n = g.shape(*v).len();
            let want: Vec<f64> = (0..n)
                .map(|e| {
                    let step = |by: f64| loss(&c, &cot, &[(name, &unit(n, e), by)]);
                    (step(h) - step(-h)) / (2.0 * h)
                })
                .collect();
            // The scale of the other gradients counts too: a sum to zero has no relative error.
            let norm = want.iter().map(|v| v * v).sum::<f64>().sqrt();
            let off = distance(got, &want) * if norm > 0.0 { norm / norm.max(0.01) } else { 1.0 };
            assert!(off < 2e-5, "{}: gradient by {name} off by {off:.2e}", case.name);
        }
        // Forward mode along one direction of everything.
        let along = |by: f64| -> Vec<f64> {
            let mut moved = c.leaves.clone();
            for (name, _) in &c.wrt {
                let t = &leaves[&format!("tangent {name}")];
                moved.get_mut(name).unwrap().iter_mut().zip(t).for_each(|(v, t)| *v += by * t);
            }
            evaluate(&c.graph, &moved).swap_remove(index(c.y))
        };
        let want: Vec<f64> = along(h).iter().zip(along(-h)).map(|(a, b)| (a - b) / (2.0 * h)).collect();
        let off = distance(&forward[0], &want);
        assert!(off < 2e-5, "{}: tangent off by {off:.2e}", case.name);
        // One is the transpose of the other.
        let left: f64 = forward[0].iter().zip(&cot).map(|(t, c)| f64::from(*t) * c).sum();
        let mut right = 0.0;
        for ((name, _), grad) in c.wrt.iter().zip(reverse) {
            let t = &leaves[&format!("tangent {name}")];
            right += grad.iter().zip(t).map(|(g, t)| f64::from(*g) * t).sum::<f64>();
        }
        let size: f64 = forward[0].iter().zip(&cot).map(|(t, c)| (f64::from(*t) * c).abs()).sum();
        assert!((left - right).abs() < 1e-5 * size, "{}: {left} forward, {right} reverse", case.name);
    }
}

/// Tangents of gradients and gradients of tangents are both the Hessian's product with the direction.
#[test]
fn second_derivatives() {
    let h = 1e-4;
    for case in cases() {
        let c = between_layers(&case).unwrap();
        let shape = c.graph.shape(c.y);
        let cot = normal(5, 900, shape.len());
        let direction = normal(8, 1, c.leaves["x0"].len());
        let mut leaves = c.leaves.clone();
        leaves.insert("cot".into(), cot.clone());
        leaves.insert("direction".into(), direction.clone());
        let (x, wrt) = (c.wrt[0].1, c.wrt.iter().map(|w| w.1).collect::<Vec<_>>());
        assert_eq!(c.wrt[0].0, "x0");
        let mut g = c.graph.clone();
        let d = g.input("cot", shape).unwrap();
        let t = g.input("direction", g.shape(x)).unwrap();
        let mut both = || -> Result<Vec<Vec<Value>>> {
            let gradients = g.vjp(&[(c.y, d)], &wrt)?;
            let forward_of_reverse = g.jvp(&[(x, t)], &gradients)?;
            let tangent = g.jvp(&[(x, t)], &[c.y])?[0];
            let reverse_of_forward = g.vjp(&[(tangent, d)], &wrt)?;
            Ok(vec![forward_of_reverse, reverse_of_forward])
        };
        let both = match both() {
            Ok(both) => both,
            Err(GraphError::NotDifferentiable { .. } | GraphError::Shape { .. }) if !case.second => continue,
            Err(e) => panic!("{}: {e}", case.name),
        };
        let want: Vec<Vec<f64>> = c
            .wrt
            .iter()
            .map(|(name, v)| {
                let n = g.shape(*v).len();
                let corner = |e: usize, a: f64, b: f64| {
                    loss(&c, &cot, &[(name, &unit(n, e), a * h), ("x0", &direction, b * h)])
                };
                let mixed = |e| {
                    corner(e, 1.0, 1.0) - corner(e, 1.0, -1.0) - corner(e, -1.0, 1.0) + corner(e, -1.0, -1.0)
                };
                (0..n).map(|e| mixed(e) / (4.0 * h * h)).collect()
            })
            .collect();
        for (mode, values) in ["tangent of the gradient", "gradient of the tangent"].iter().zip(&both) {
            for (((name, _), got), want) in c.wrt.iter().zip(run(&cpu(), &g, &leaves, values)).zip(&want) {
                let norm = want.iter().map(|v| v * v).sum::<f64>().sqrt();
                let off = got.iter().zip(want).map(|(g, w)| (f64::from(*g) - w).powi(2)).sum::<f64>().sqrt();
                assert!(
                    off < 1e-4 * norm.max(0.1),
                    "{}: {mode} by {name}: {off:.2e} of {norm:.2e}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn what_has_no_second_derivative_says_so() {
    let none = [
        "layer_norm",
        "rms_norm",
        "group_norm",
        "max_pool2d",
        "attention to itself",
        "causal attention of slices",
    ];
    for name in none {
        let case = cases().into_iter().find(|c| c.name == name).unwrap();
        let mut c = between_layers(&case).unwrap();
        let x = c.wrt[0].1;
        let d = c.graph.input("cot", c.graph.shape(c.y)).unwrap();
        let t = c.graph.input("direction", c.graph.shape(x)).unwrap();
        let gradient = c.graph.vjp(&[(c.y, d)], &[x]).unwrap();
        let second = c.graph.jvp(&[(x, t)], &gradient);
        assert!(matches!(second, Err(GraphError::NotDifferentiable { .. })), "{name}");
    }
}

/// Through a stopped gradient nothing flows: it is as an input that happens to hold the value.
#[test]
fn a_stopped_gradient_is_an_input() {
    let build = |g: &mut Graph, frozen: Option<Value>| -> Result<(Value, Value)> {
        let x = g.input("x", m(4, 3))?;
        let h = g.map(Activation::Tanh, x)?;
        let target = match frozen {
            Some(v) => v,
            None => g.stop_gradient(h)?,
        };
        let product = g.mul(h, target)?;
        Ok((x, g.row_sum(product, 1.0)?))
    };
    let mut g = Graph::new();
    let (x, y) = build(&mut g, None).unwrap();
    let d = g.constant(g.shape(y), vec![1.0; 4]).unwrap();
    let stopped = g.vjp(&[(y, d)], &[x]).unwrap();
    let t = g.constant(g.shape(x), vec![1.0; 12]).unwrap();
    let tangent = g.jvp(&[(x, t)], &[y]).unwrap();
    let leaves = leaves(&g, 2);
    let got = run(&cpu(), &g, &leaves, &[stopped[0], tangent[0]]);

    let mut g = Graph::new();
    let frozen = g.input("frozen", m(4, 3)).unwrap();
    let (x, y) = build(&mut g, Some(frozen)).unwrap();
    let d = g.constant(g.shape(y), vec![1.0; 4]).unwrap();
    let gradient = g.vjp(&[(y, d)], &[x]).unwrap();
    let mut with = leaves.clone();
    with.insert("frozen".into(), leaves["x"].iter().map(|v| v.tanh()).collect());
    let want = evaluate(&g, &with).swap_remove(index(gradient[0]));
    assert!(distance(&got[0], &want) < 1e-5);
    let sums: Vec<f64> = want.chunks(3).map(|row| row.iter().sum()).collect();
    assert!(distance(&got[1], &sums) < 1e-5);
}
