//! Fused plans compute what unfused ones do: keeping every value as an output leaves nothing to fuse.

use super::engine::{agree, cpu, distance, leaves, plan, run};
use super::oracle::{evaluate, index};
use advect::graph::{Graph, Op, Result, Shape, Value};
use advect::kernel::math::Activation;
use proptest::prelude::*;

fn m(rows: usize, cols: usize) -> Shape {
    Shape::matrix(rows, cols)
}

type Build = fn(&mut Graph, Value) -> Result<Value>;

/// Chains on x [6, 8] and how many commands their fused plan takes.
const CHAINS: &[(&str, usize, Build)] = &[
    ("linear and activation", 1, |g, x| {
        let (w, b) = (g.param("w", m(5, 8))?, g.param("b", m(1, 5))?);
        let y = g.linear(x, w, Some(b))?;
        g.map(Activation::Silu, y)
    }),
    ("linear, residual, activation", 1, |g, x| {
        let (w, b, r) = (g.param("w", m(5, 8))?, g.param("b", m(1, 5))?, g.input("r", m(6, 5))?);
        let y = g.linear(x, w, Some(b))?;
        let y = g.axpby(0.5, r, -2.0, y)?;
        g.map(Activation::Tanh, y)
    }),
    ("scaled product and bias", 1, |g, x| {
        let (w, b) = (g.param("w", m(5, 8))?, g.param("b", m(1, 5))?);
        let y = g.matmul_nt(x, w)?;
        let y = g.affine(y, -0.5, 0.0)?;
        g.add(y, b)
    }),
    ("linear, then scaled", 1, |g, x| {
        let (w, b) = (g.param("w", m(5, 8))?, g.param("b", m(1, 5))?);
        let y = g.linear(x, w, Some(b))?;
        let y = g.affine(y, -0.5, 0.0)?;
        g.map(Activation::Gelu, y)
    }),
    ("residual, then scaled", 1, |g, x| {
        let (w, r) = (g.param("w", m(5, 8))?, g.input("r", m(6, 5))?);
        let y = g.matmul_nt(x, w)?;
        let y = g.axpby(3.0, y, 2.0, r)?;
        g.affine(y, -0.5, 0.0)
    }),
    ("weighted bias", 1, |g, x| {
        let (w, b) = (g.param("w", m(5, 8))?, g.param("b", m(1, 5))?);
        let y = g.matmul_nt(x, w)?;
        g.axpby(0.3, y, -0.7, b)
    }),
    ("a column as residual", 1, |g, x| {
        let (w, c) = (g.param("w", m(5, 8))?, g.input("c", m(6, 1))?);
        let y = g.matmul_nt(x, w)?;
        g.add(y, c)
    }),
    ("repeated rows as residual", 1, |g, x| {
        let (w, r) = (g.param("w", m(5, 8))?, g.input("r", m(2, 5))?);
        let y = g.matmul_nt(x, w)?;
        let r = g.repeat_rows(r, 3)?;
        g.add(y, r)
    }),
    ("part of a row as bias", 1, |g, x| {
        let (w, b) = (g.param("w", m(5, 8))?, g.param("b", m(1, 11))?);
        let y = g.matmul_nt(x, w)?;
        let b = g.slice(b, 3, 5)?;
        g.add(y, b)
    }),
    ("product times an activation's slope", 1, |g, x| {
        let (w, r) = (g.param("w", m(5, 8))?, g.input("r", m(6, 5))?);
        let y = g.matmul_nt(x, w)?;
        let y = g.affine(y, 0.25, 0.0)?;
        g.map_mul(Activation::Silu, 1, r, y)
    }),
    ("sum of two products", 2, |g, x| {
        let (v, w) = (g.param("v", m(5, 8))?, g.param("w", m(8, 5))?);
        let (a, b) = (g.matmul_nt(x, v)?, g.matmul(x, w)?);
        g.add(a, b)
    }),
    ("sum of three products, with bias and activation", 3, |g, x| {
        let [u, v, w] = ["u", "v", "w"].map(|n| g.param(n, m(5, 8)));
        let b = g.param("b", m(1, 5))?;
        let (p, q) = (g.matmul_nt(x, u?)?, g.matmul_nt(x, v?)?);
        let sum = g.add(p, q)?;
        let r = g.linear(x, w?, Some(b))?;
        let sum = g.add(r, sum)?;
        g.map(Activation::Relu, sum)
    }),
    ("a product added to itself", 2, |g, x| {
        let w = g.param("w", m(5, 8))?;
        let y = g.matmul_nt(x, w)?;
        g.axpby(0.5, y, 2.0, y)
    }),
    ("layer norm", 1, |g, x| {
        let (w, b) = (g.param("w", m(1, 8))?, g.param("b", m(1, 8))?);
        g.layer_norm(x, Some(w), Some(b), 1e-5)
    }),
    ("rms norm of a linear layer", 2, |g, x| {
        let (v, w) = (g.param("v", m(5, 8))?, g.param("w", m(1, 5))?);
        let y = g.matmul_nt(x, v)?;
        g.rms_norm(y, Some(w), 1e-6)
    }),
    ("a norm of columns stretched by its weight", 2, |g, x| {
        let (w, b) = (g.param("w", m(1, 8))?, g.param("b", m(1, 8))?);
        let column = g.slice(x, 1, 1)?;
        g.layer_norm(column, Some(w), Some(b), 0.1)
    }),
    ("the weight before the norm", 2, |g, x| {
        let w = g.param("w", m(1, 8))?;
        let y = g.layer_norm(x, None, None, 1e-5)?;
        g.mul(w, y)
    }),
];

#[test]
fn chains_are_fused_and_right() {
    for (name, commands, build) in CHAINS {
        let mut g = Graph::new();
        let x = g.input("x", m(6, 8)).unwrap();
        let y = build(&mut g, x).unwrap();
        let leaves = leaves(&g, 4);
        agree(name, &g, &leaves, &[y], 2e-6);
        // With the product kept for someone else there is nothing to absorb.
        let all: Vec<Value> = computed(&g);
        agree(name, &g, &leaves, &all, 2e-6);
        let count = plan(&cpu(), &g, &[y]).commands.len();
        assert_eq!(count, *commands, "{name}");
    }
}

/// Everything that is no leaf.
fn computed(g: &Graph) -> Vec<Value> {
    let leaf = |v: &Value| matches!(g.node(*v).op, Op::Input(_) | Op::Param(_) | Op::Constant(_));
    g.values().filter(|v| !leaf(v)).collect()
}

#[test]
fn outputs_that_are_leaves_views_or_equal() {
    let mut g = Graph::new();
    let x = g.input("x", m(6, 8)).unwrap();
    let p = g.param("p", m(2, 3)).unwrap();
    let c = g.constant(m(1, 2), vec![3.0, 4.0]).unwrap();
    let s = g.slice(x, 2, 3).unwrap();
    let r = g.repeat_rows(p, 4).unwrap();
    let e = g.repeat_rows(c, 3).unwrap();
    let t = g.reshape(s, m(3, 6)).unwrap();
    let f = g.stop_gradient(t).unwrap();
    let leaves = leaves(&g, 9);
    for outputs in [vec![x], vec![p], vec![c], vec![s], vec![r], vec![e], vec![t], vec![f]] {
        agree("alone", &g, &leaves, &outputs, 0.0);
    }
    agree("together", &g, &leaves, &[x, p, c, s, r, e, t, f, x, s, f], 0.0);
}

#[test]
fn gradients_by_what_does_not_matter_are_zero() {
    let mut g = Graph::new();
    let (x, z) = (g.input("x", m(6, 8)).unwrap(), g.input("z", m(2, 3)).unwrap());
    let y = g.row_sum(x, 1.0).unwrap();
    let d = g.constant(m(6, 1), vec![2.0; 6]).unwrap();
    let grads = g.vjp(&[(y, d)], &[x, z]).unwrap();
    let leaves = leaves(&g, 9);
    let got = run(&cpu(), &g, &leaves, &grads);
    assert_eq!(got, [vec![2.0; 48], vec![0.0; 6]]);
}

/// One random operation on values picked by number.
#[derive(Clone, Debug)]
struct Step {
    op: u8,
    picks: [usize; 3],
    number: usize,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0u8..20, any::<[u16; 3]>(), 0usize..1000).prop_map(|(op, picks, number)| Step {
        op,
        picks: picks.map(usize::from),
        number,
    });
    prop::collection::vec(step, 1..24)
}

/// A graph of random operations; steps that do not fit their operands are left out.
fn random_graph(steps: &[Step]) -> Graph {
    let mut g = Graph::new();
    let mut values = Vec::new();
    for (i, (rows, cols)) in [(6, 8), (6, 5), (2, 8), (1, 8), (6, 1), (1, 1)].into_iter().enumerate() {
        values.push(g.input(&format!("x{i}"), m(rows, cols)).unwrap());
    }
    for (i, (rows, cols)) in [(5, 8), (8, 8), (1, 5), (1, 8)].into_iter().enumerate() {
        values.push(g.param(&format!("p{i}"), m(rows, cols)).unwrap());
    }
    for s in steps {
        let [a, b, c] = s.picks.map(|p| values[p % values.len()]);
        let (rows, cols) = (g.shape(a).rows(), g.shape(a).cols());
        let factor = [1.0, -0.5, 1.0, 2.0][s.number % 4];
        let act = [Activation::Silu, Activation::Tanh, Activation::Sin, Activation::Sigmoid][s.number % 4];
        let new = match s.op {
            0 | 1 => g.matmul_nt(a, b),
            2 => g.matmul(a, b),
            3 => g.matmul_tn(a, b),
            4 | 5 => g.axpby(factor, a, 1.0, b),
            6 => g.axpby(1.0, a, factor, b),
            7 => g.mul(a, b),
            8 => g.affine(a, factor, 0.0),
            9 => g.map(act, a),
            10 => g.map_mul(act, 1, a, b),
            11 => g.fma(a, b, c),
            12 => g.layer_norm(a, None, None, 0.1),
            13 => g.layer_norm(a, Some(b), Some(c), 0.1),
            14 => g.slice(a, s.number % cols, 1 + s.number / 7 % cols),
            15 => g.concat(&[a, b]),
            16 => g.repeat_rows(a, [1, 2, 3, 6][s.number % 4]),
            17 => g.col_sum(a, [1, 2, 3, rows][s.number % 4], 0.5),
            18 => g.row_sum(a, 0.5),
            _ => g.softmax(a),
        };
        if let Ok(v) = new
            && g.shape(v).len() <= 200
        {
            // Keeps values near 1, whatever is multiplied.
            let v = if matches!(s.op, 0..=3 | 7 | 11) { g.map(Activation::Tanh, v).unwrap() } else { v };
            values.push(v);
        }
    }
    g
}

proptest! {
    #![proptest_config(super::engine::cases(400))]

    /// Any graph, with any outputs: the oracle's values, fused or not.
    #[test]
    fn random_graphs_are_right(steps in steps(), kept in any::<u32>(), seed in 0u64..1000) {
        let g = random_graph(&steps);
        let leaves = leaves(&g, seed);
        let want = evaluate(&g, &leaves);
        let all = computed(&g);
        let Some(last) = all.last() else { return Ok(()) };
        let mut some: Vec<Value> =
            all.iter().enumerate().filter(|(i, _)| kept >> (i % 32) & 7 == 0).map(|(_, v)| *v).collect();
        if !some.contains(last) {
            some.push(*last);
        }
        for outputs in [vec![*last], some, all] {
            for (got, v) in run(&cpu(), &g, &leaves, &outputs).iter().zip(&outputs) {
                let want = &want[index(*v)];
                let norm = want.iter().map(|v| v * v).sum::<f64>().sqrt();
                let off = distance(got, want) * if norm > 0.0 { norm } else { 1.0 };
                prop_assert!(off <= 5e-5 * norm.max(1.0), "{:?} off by {off:.2e} of {norm:.2e}", g.node(*v).op);
            }
        }
    }

    /// Any graph: forward mode is the transpose of reverse mode.
    #[test]
    fn random_graphs_transpose(steps in steps(), seed in 0u64..1000) {
        let mut g = random_graph(&steps);
        let Some(y) = computed(&g).last().copied() else { return Ok(()) };
        let (mut wrt, mut tangents) = (Vec::new(), Vec::new());
        for v in g.values().filter(|v| matches!(g.node(*v).op, Op::Input(_) | Op::Param(_))).collect::<Vec<_>>() {
            wrt.push(v);
            tangents.push((v, g.input(&format!("t{}", wrt.len()), g.shape(v)).unwrap()));
        }
        let d = g.input("cot", g.shape(y)).unwrap();
        let mut outputs = g.jvp(&tangents, &[y]).unwrap();
        outputs.extend(g.vjp(&[(y, d)], &wrt).unwrap());
        let leaves = leaves(&g, seed);
        let got = run(&cpu(), &g, &leaves, &outputs);
        let dot = |a: &[f32], b: &[f64]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * b).sum::<f64>();
        let size = |a: &[f32], b: &[f64]| a.iter().zip(b).map(|(a, b)| (f64::from(*a) * b).abs()).sum::<f64>();
        let left = dot(&got[0], &leaves["cot"]);
        let mut scale = size(&got[0], &leaves["cot"]);
        let mut right = 0.0;
        for (i, grad) in got[1..].iter().enumerate() {
            let t = &leaves[&format!("t{}", i + 1)];
            right += dot(grad, t);
            scale = f64::max(scale, size(grad, t));
        }
        prop_assert!((left - right).abs() <= 1e-4 * scale.max(0.1), "{left} forward, {right} reverse, of {scale}");
    }
}
