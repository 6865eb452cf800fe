//! Graphs evaluated node by node in f64, without a kernel of the engine: what the engine's results are held against.

use advect::graph::op::group_norm::GroupNorm;
use advect::graph::{Graph, Op, Shape, Value};
use advect::kernel::binary::BinaryOp;
use advect::kernel::manifold::PartKind;
use advect::kernel::math::Activation;
use advect::kernel::matmul::Form;
use advect::kernel::norm::NormKind;
use advect::kernel::time_embed::frequencies;
use std::collections::HashMap;

mod attention;
mod plane;

/// Values by name of the inputs and parameters.
pub type Leaves = HashMap<String, Vec<f64>>;

/// All values of a graph.
pub fn evaluate(g: &Graph, leaves: &Leaves) -> Vec<Vec<f64>> {
    let mut all: Vec<Vec<f64>> = Vec::new();
    for v in g.values() {
        let node = g.node(v);
        let x: Vec<(&[f64], Shape)> =
            node.inputs.iter().map(|i| (all[index(*i)].as_slice(), g.shape(*i))).collect();
        let y = node_value(&node.op, node.shape, &x, leaves);
        assert_eq!(y.len(), node.shape.len(), "{}", node.op.name());
        all.push(y);
    }
    all
}

/// A value's place among all of a graph's.
pub fn index(v: Value) -> usize {
    format!("{v:?}").trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

fn node_value(op: &Op, shape: Shape, x: &[(&[f64], Shape)], leaves: &Leaves) -> Vec<f64> {
    let (rows, cols) = (shape.rows(), shape.cols());
    // Element (i, j) of operand n, a single row or column repeated.
    let at = |n: usize, i: usize, j: usize| {
        let (data, s) = x[n];
        let i = if s.rows() == 1 { 0 } else { i };
        let j = if s.cols() == 1 { 0 } else { j };
        data[i * s.cols() + j]
    };
    let each = |f: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
        (0..rows * cols).map(|e| f(e / cols, e % cols)).collect()
    };
    match op {
        Op::Input(i) => leaves[&*i.name].clone(),
        Op::Param(p) => leaves[&*p.name].clone(),
        Op::Constant(c) => c.data.iter().map(|v| f64::from(*v)).collect(),
        Op::MatMul(m) => {
            let k = if m.form == Form::TN { x[0].1.rows() } else { x[0].1.cols() };
            each(&|i, j| {
                (0..k)
                    .map(|l| match m.form {
                        Form::NN => at2(x, 0, i, l) * at2(x, 1, l, j),
                        Form::NT => at2(x, 0, i, l) * at2(x, 1, j, l),
                        Form::TN => at2(x, 0, l, i) * at2(x, 1, l, j),
                    })
                    .sum()
            })
        }
        Op::Map(m) => each(&|i, j| derivative(m.act, m.order, at(0, i, j))),
        Op::MapMul(m) => each(&|i, j| derivative(m.act, m.order, at(0, i, j)) * at(1, i, j)),
        Op::Binary(b) => {
            let (alpha, beta) = (f64::from(b.alpha), f64::from(b.beta));
            each(&|i, j| match b.op {
                BinaryOp::Add => alpha * at(0, i, j) + beta * at(1, i, j),
                BinaryOp::Mul => alpha * at(0, i, j) * at(1, i, j),
                BinaryOp::Div => alpha * at(0, i, j) / at(1, i, j),
                BinaryOp::Clip => (alpha * at(0, i, j)).clamp(-at(1, i, j), at(1, i, j)),
                BinaryOp::Inside => f64::from((alpha * at(0, i, j)).abs() <= at(1, i, j)) * alpha,
            })
        }
        Op::Affine(a) => each(&|i, j| f64::from(a.scale) * at(0, i, j) + f64::from(a.shift)),
        Op::Broadcast(_) => each(&|i, j| at(0, i, j)),
        Op::Fma(_) => each(&|i, j| at(0, i, j) * at(1, i, j) + at(2, i, j)),
        Op::RowSum(r) => {
            each(&|i, _| f64::from(r.scale) * (0..x[0].1.cols()).map(|j| at2(x, 0, i, j)).sum::<f64>())
        }
        Op::ColSum(c) => each(&|i, j| {
            f64::from(c.scale) * (0..c.per_group).map(|r| at2(x, 0, i * c.per_group + r, j)).sum::<f64>()
        }),
        Op::Norm(n) => each(&|i, j| {
            let (mean, inv) = moments(n.kind, n.eps.into(), x[0], i);
            (at2(x, 0, i, j) - mean) * inv
        }),
        Op::NormGrad(n) => each(&|i, j| {
            let (mean, inv) = moments(n.kind, n.eps.into(), x[0], i);
            let hat = |j: usize| (at2(x, 0, i, j) - mean) * inv;
            let d = |j: usize| at2(x, 1, i, j);
            let average = |f: &dyn Fn(usize) -> f64| (0..cols).map(f).sum::<f64>() / cols as f64;
            let shift = if n.kind == NormKind::Layer { average(&d) } else { 0.0 };
            inv * (d(j) - shift - hat(j) * average(&|j| d(j) * hat(j)))
        }),
        Op::Softmax(_) => each(&|i, j| {
            let top = (0..cols).map(|j| at(0, i, j)).fold(f64::MIN, f64::max);
            (at(0, i, j) - top).exp() / (0..cols).map(|j| (at(0, i, j) - top).exp()).sum::<f64>()
        }),
        Op::OneHot(_) => each(&|i, j| {
            let best = (1..cols).fold(0, |b, k| if at(0, i, k) > at(0, i, b) { k } else { b });
            f64::from(u8::from(j == best))
        }),
        Op::SoftmaxGrad(_) => each(&|i, j| {
            let s: f64 = (0..cols).map(|j| at(0, i, j) * at(1, i, j)).sum();
            at(0, i, j) * (at(1, i, j) - s)
        }),
        Op::Attention(a) => attention::result(&a.shape, x),
        Op::AttentionGrad(a) => attention::gradient(&a.shape, a.of_queries, x),
        Op::AttentionJvp(a) => attention::tangent(&a.shape, a.tangents, x),
        Op::Rope(r) => each(&|i, j| {
            let dim = cols / r.heads;
            let (c, half) = (j % dim, dim / 2);
            let angle = (i % r.tokens) as f64 * r.base.powf(-2.0 * (c % half) as f64 / dim as f64);
            let angle = if r.back { -angle } else { angle };
            match c < half {
                true => at(0, i, j) * angle.cos() - at(0, i, j + half) * angle.sin(),
                false => at(0, i, j) * angle.cos() + at(0, i, j - half) * angle.sin(),
            }
        }),
        Op::ManifoldDot(d) => each(&|i, j| {
            let action = j / d.parts.dim() * d.parts.dim();
            match d.parts.iter().find(|p| (p.start..p.start + p.len).contains(&(j - action))) {
                Some(p) if p.kind != PartKind::Flat => {
                    let inner = |k| at(0, i, action + k) * at(1, i, action + k);
                    (p.start..p.start + p.len).map(inner).sum::<f64>() * at(2, i, j)
                }
                _ => 0.0,
            }
        }),
        Op::ManifoldExp(_) => panic!("no graph test steps on a manifold: tests/flow/manifold.rs does"),
        Op::Concat(_) => each(&|i, j| {
            let mut j = j;
            let mut n = 0;
            while j >= x[n].1.cols() {
                j -= x[n].1.cols();
                n += 1;
            }
            at2(x, n, i, j)
        }),
        Op::Slice(s) => each(&|i, j| at2(x, 0, i, s.start + j)),
        Op::Pad(p) => each(&|i, j| match j.checked_sub(p.start) {
            Some(j) if j < x[0].1.cols() => at2(x, 0, i, j),
            _ => 0.0,
        }),
        Op::Reshape(_) | Op::StopGradient(_) => x[0].0.to_vec(),
        Op::RepeatRows(r) => each(&|i, j| at2(x, 0, i / r.times, j)),
        Op::TimeEmbed(e) => {
            let freq = frequencies(e.kind);
            let dim = 2 * freq.len();
            each(&|i, j| {
                let (n, j) = (j / dim, j % dim);
                let f = f64::from(freq[j % freq.len()]);
                let quarter = std::f64::consts::FRAC_PI_2 * f64::from(e.order);
                let angle = at2(x, 0, i, n) * f + quarter;
                f.powi(e.order as i32) * if j < freq.len() { angle.sin() } else { angle.cos() }
            })
        }
        Op::Unfold1d(u) => {
            let w = u.windows;
            each(&|i, j| {
                let (sample, at) = (i / w.count(), (i % w.count()) * w.stride + j % w.kernel);
                match at.checked_sub(w.padding) {
                    Some(t) if t < w.steps => at2(x, 0, sample * w.steps + t, j / w.kernel),
                    _ => 0.0,
                }
            })
        }
        Op::Fold1d(f) => {
            let w = f.windows;
            let mut y = vec![0.0; rows * cols];
            for i in 0..x[0].1.rows() {
                for j in 0..x[0].1.cols() {
                    let (sample, at) = (i / w.count(), (i % w.count()) * w.stride + j % w.kernel);
                    if (w.padding..w.padding + w.steps).contains(&at) {
                        y[(sample * w.steps + at - w.padding) * cols + j / w.kernel] += at2(x, 0, i, j);
                    }
                }
            }
            y
        }
        Op::Unfold2d(u) => plane::unfold(&u.windows, shape, x[0]),
        Op::Fold2d(f) => plane::fold(&f.windows, shape, x[0]),
        Op::MaxPool2d(p) => plane::pool(&p.windows, shape, x[0], x[0].0),
        Op::MaxPool2dJvp(p) => plane::pool(&p.windows, shape, x[0], x[1].0),
        Op::MaxPool2dGrad(p) => plane::pool_gradient(&p.windows, x[0], x[1]),
        Op::GroupNorm(n) => each(&|i, j| {
            let (_, mean, inv) = group(n, x[0], i, j);
            (at2(x, 0, i, j) - mean) * inv
        }),
        Op::GroupNormGrad(n) => each(&|i, j| {
            let (all, mean, inv) = group(&n.0, x[0], i, j);
            let hat = |i: usize, j: usize| (at2(x, 0, i, j) - mean) * inv;
            let average = |f: &dyn Fn(usize, usize) -> f64| {
                all.iter().map(|(i, j)| f(*i, *j)).sum::<f64>() / all.len() as f64
            };
            let d = |i: usize, j: usize| at2(x, 1, i, j);
            inv * (d(i, j) - average(&d) - hat(i, j) * average(&|i, j| d(i, j) * hat(i, j)))
        }),
        Op::Mse(_) => {
            let square: f64 = x[0].0.iter().zip(x[1].0).map(|(a, b)| (a - b).powi(2)).sum();
            vec![square / x[0].0.len() as f64]
        }
    }
}

fn at2(x: &[(&[f64], Shape)], n: usize, i: usize, j: usize) -> f64 {
    x[n].0[i * x[n].1.cols() + j]
}

/// Mean (zero for RMS) and inverse deviation of row i.
fn moments(kind: NormKind, eps: f64, (x, s): (&[f64], Shape), i: usize) -> (f64, f64) {
    let row = &x[i * s.cols()..(i + 1) * s.cols()];
    let n = row.len() as f64;
    let mean = if kind == NormKind::Layer { row.iter().sum::<f64>() / n } else { 0.0 };
    let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    (mean, 1.0 / (variance + eps).sqrt())
}

/// The elements of the group of (i, j), their mean and inverse deviation.
fn group(n: &GroupNorm, x: (&[f64], Shape), i: usize, j: usize) -> (Vec<(usize, usize)>, f64, f64) {
    let width = x.1.cols() / n.groups;
    let (first, channel) = (i / n.steps * n.steps, j / width * width);
    let all: Vec<_> =
        (first..first + n.steps).flat_map(|i| (channel..channel + width).map(move |j| (i, j))).collect();
    let count = all.len() as f64;
    let value = |&(i, j): &(usize, usize)| x.0[i * x.1.cols() + j];
    let mean = all.iter().map(value).sum::<f64>() / count;
    let variance = all.iter().map(|e| (value(e) - mean).powi(2)).sum::<f64>() / count;
    (all, mean, 1.0 / (variance + f64::from(n.eps)).sqrt())
}

/// f and its derivatives, these by central differences of f.
fn derivative(act: Activation, order: u32, x: f64) -> f64 {
    let h = 1e-3;
    let f = |x: f64| function(act, x);
    match order {
        0 => f(x),
        1 => (8.0 * (f(x + h) - f(x - h)) - (f(x + 2.0 * h) - f(x - 2.0 * h))) / (12.0 * h),
        _ => {
            (16.0 * (f(x + h) + f(x - h)) - (f(x + 2.0 * h) + f(x - 2.0 * h)) - 30.0 * f(x)) / (12.0 * h * h)
        }
    }
}

fn function(act: Activation, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    match act {
        Activation::Identity => x,
        Activation::Relu => x.max(0.0),
        Activation::Silu => x * sigmoid(x),
        Activation::Gelu => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        Activation::GeluTanh => {
            let c = (2.0 / std::f64::consts::PI).sqrt();
            0.5 * x * (1.0 + (c * (x + 0.044715 * x.powi(3))).tanh())
        }
        Activation::Mish => x * softplus(x).tanh(),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => sigmoid(x),
        Activation::Softplus => softplus(x),
        Activation::Sin => x.sin(),
        Activation::Cos => x.cos(),
        Activation::Exp => x.exp(),
        Activation::Square => x * x,
        Activation::Abs => x.abs(),
        Activation::Sqrt => x.sqrt(),
        Activation::Reciprocal => 1.0 / x,
        Activation::Log => x.ln(),
        other => panic!("{other:?}: give the oracle its formula"),
    }
}

/// The error function by its power series; exact to 1e-12 for |x| < 4.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    2.0 / std::f64::consts::PI.sqrt() * sum
}
