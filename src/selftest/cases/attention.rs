//! Cases of the attention kernels: full, causal and cross, one head and several, tokens beyond a tile, heads wider than one,
//! keys shared between batch entries, keys and values as column slices of one product, scores far apart.

use super::{id, values};
use crate::kernel::attention::{self, AttentionShape, Place, Sizes};
use crate::kernel::attention_grad_q::Operands;
use crate::kernel::case::Case;
use crate::kernel::{Command, Target, View, attention_grad_kv, attention_grad_q, attention_jvp};

/// batch, k_batch_div, heads, queries, keys, columns of a head, causal.
type Shape = (usize, usize, usize, usize, usize, usize, bool);

const SHAPES: [Shape; 14] = [
    (1, 1, 1, 1, 1, 1, false),
    (2, 1, 3, 7, 7, 5, false),
    (1, 1, 2, 31, 33, 8, false),
    (1, 1, 1, 33, 31, 7, true),
    (2, 1, 2, 16, 16, 64, false),
    (1, 1, 2, 65, 65, 12, true),
    (1, 1, 1, 9, 129, 16, false),
    (6, 3, 2, 5, 4, 6, false),
    (4, 4, 2, 16, 2, 33, false),
    (4, 2, 1, 7, 9, 16, true),
    (1, 1, 1, 3, 5, 128, false),
    (1, 1, 2, 3, 5, 131, true),
    (3, 1, 1, 1, 65, 4, false),
    (1, 1, 1, 70, 1, 4, false),
];

/// The operands of a case: each in a buffer of its own, with gaps between the rows.
struct Setting {
    sizes: Sizes,
    operands: Vec<Vec<f32>>,
    views: Vec<View>,
    /// Log-sum-exp of each query and head, weight of each of its keys, and result.
    lse: Vec<f64>,
    weights: Vec<f64>,
    results: Vec<f64>,
}

/// What an operand's rows are: queries, keys, or results.
#[derive(Clone, Copy)]
enum Rows {
    Queries,
    Keys,
    Results,
}

impl Setting {
    /// Operands of these kinds with values of about `scale`, their rows at multiples of `unit` elements.
    fn new(
        &(batch, k_batch_div, heads, q_tokens, k_tokens, dim, causal): &Shape,
        kinds: &[Rows],
        scale: f32,
        unit: usize,
    ) -> Setting {
        let shape = AttentionShape { heads, q_tokens, k_tokens, causal };
        let sizes = Sizes { shape, batch, k_batch_div, dim };
        let (mut operands, mut views) = (Vec::new(), Vec::new());
        for (n, kind) in kinds.iter().enumerate() {
            let (rows, cols) = match kind {
                Rows::Queries => (batch * q_tokens, heads * dim),
                Rows::Keys => (batch / k_batch_div * k_tokens, heads * dim),
                Rows::Results => (batch * q_tokens, heads * dim + heads),
            };
            let view = View::strided(unit * n, cols.next_multiple_of(unit) + unit * (n % 3));
            let mut data = values(view.at(rows - 1, cols - 1) + 1, 7 * n as u64 + 1);
            data.iter_mut().for_each(|v| *v *= scale);
            operands.push(data);
            views.push(view);
        }
        let mut s =
            Setting { sizes, operands, views, lse: Vec::new(), weights: Vec::new(), results: Vec::new() };
        s.solve();
        s
    }

    /// Computes the result from the operands 0, 1 and 2.
    fn solve(&mut self) {
        let Sizes { shape, batch, dim, .. } = self.sizes;
        let (mut lse, mut weights, mut results) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..batch * shape.q_tokens {
            for h in 0..shape.heads {
                let score = |j| self.dot((0, i), (1, j), h) / (dim as f64).sqrt();
                let scores: Vec<f64> = self.keys(i).map(score).collect();
                let top = scores.iter().copied().fold(f64::MIN, f64::max);
                lse.push(top + scores.iter().map(|s| (s - top).exp()).sum::<f64>().ln());
                let own = scores.iter().map(|s| (s - lse[lse.len() - 1]).exp());
                weights.extend(own.chain(std::iter::repeat(0.0)).take(shape.k_tokens));
                let own = &weights[weights.len() - shape.k_tokens..];
                results.extend(
                    (0..dim)
                        .map(|c| self.keys(i).zip(own).map(|(j, w)| w * self.at(2, j, h, c)).sum::<f64>()),
                );
            }
        }
        (self.lse, self.weights, self.results) = (lse, weights, results);
    }

    fn place(&self, n: usize) -> Place {
        (id(n as u32), self.views[n])
    }

    /// Element c of head h in row i of operand n.
    fn at(&self, n: usize, i: usize, h: usize, c: usize) -> f64 {
        f64::from(self.operands[n][self.views[n].at(i, h * self.sizes.dim + c)])
    }

    /// sum over the columns of a head of operand n's row i times operand m's row j.
    fn dot(&self, (n, i): (usize, usize), (m, j): (usize, usize), h: usize) -> f64 {
        (0..self.sizes.dim).map(|c| self.at(n, i, h, c) * self.at(m, j, h, c)).sum()
    }

    /// The key rows that query row i sees.
    fn keys(&self, i: usize) -> std::ops::Range<usize> {
        let Sizes { shape, k_batch_div, .. } = self.sizes;
        let first = i / shape.q_tokens / k_batch_div * shape.k_tokens;
        let seen = if shape.causal { shape.k_tokens.min(i % shape.q_tokens + 1) } else { shape.k_tokens };
        first..first + seen
    }

    fn lse(&self, i: usize, h: usize) -> f64 {
        self.lse[i * self.sizes.shape.heads + h]
    }

    fn weight(&self, i: usize, j: usize, h: usize) -> f64 {
        let shape = self.sizes.shape;
        self.weights[(i * shape.heads + h) * shape.k_tokens + j - self.keys(i).start]
    }

    fn result(&self, i: usize, h: usize, c: usize) -> f64 {
        self.results[(i * self.sizes.shape.heads + h) * self.sizes.dim + c]
    }

    /// Writes the oracle's results, rounded, over operand n.
    fn set_results(&mut self, n: usize) {
        let Sizes { shape, batch, dim, .. } = self.sizes;
        for i in 0..batch * shape.q_tokens {
            for h in 0..shape.heads {
                for c in 0..dim {
                    let value = self.result(i, h, c) as f32;
                    let at = self.views[n].at(i, h * dim + c);
                    self.operands[n][at] = value;
                }
                let at = self.views[n].at(i, shape.heads * dim + h);
                self.operands[n][at] = self.lse(i, h) as f32;
            }
        }
    }

    /// d p_ij . (v_j - o_i) + d lse_i: the cotangent of score i, j over its weight; the cotangent is operand n.
    fn slope(&self, n: usize, i: usize, j: usize, h: usize) -> f64 {
        let dim = self.sizes.dim;
        let last = f64::from(self.operands[n][self.views[n].at(i, self.sizes.shape.heads * dim + h)]);
        let along: f64 =
            (0..dim).map(|c| self.at(n, i, h, c) * (self.at(2, j, h, c) - self.result(i, h, c))).sum();
        along + last
    }

    /// The cases of `commands` with an output [rows, cols] whose element in a row and column is `want`.
    fn cases(
        &self,
        name: &str,
        commands: impl Fn(Place) -> Vec<Command>,
        [rows, cols]: [usize; 2],
        want: impl Fn(usize, usize) -> f64,
    ) -> Vec<Case> {
        let (view, want) = super::output([rows, cols], self.sizes.shape.q_tokens, want);
        let n = self.operands.len();
        let mut buffers = self.operands.clone();
        buffers.push(vec![0.0; want.len()]);
        let commands = commands((id(n as u32), view));
        let case = |command: Command| Case {
            label: format!("{name} {:?} {}", self.sizes, command.variant.name),
            command,
            buffers: buffers.clone(),
            expect: vec![(n, want.clone())],
            exact: false,
            tolerance: 1e-5,
        };
        commands.into_iter().map(case).collect()
    }
}

/// Every shape with moderate scores, some with scores far apart, and those by fours that can be.
fn settings(kinds: &[Rows]) -> Vec<Setting> {
    let moderate = SHAPES.iter().map(|s| Setting::new(s, kinds, 1.0, 1));
    let far = SHAPES[2..6].iter().map(|s| Setting::new(s, kinds, 5.0, 1));
    let fours = SHAPES.iter().filter(|(.., dim, _)| dim.is_multiple_of(4));
    moderate.chain(far).chain(fours.map(|s| Setting::new(s, kinds, 3.0, 4))).collect()
}

/// The cases of `attention`, and one whose operands are column slices of one buffer.
pub fn forward(target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for s in settings(&[Rows::Queries, Rows::Keys, Rows::Keys]) {
        let Sizes { shape, batch, dim, .. } = s.sizes;
        let [q, k, v] = [0, 1, 2].map(|n| s.place(n));
        let want = |i: usize, c: usize| match c.checked_sub(shape.heads * dim) {
            Some(h) => s.lse(i, h),
            None => s.result(i, c / dim, c % dim),
        };
        let size = [batch * shape.q_tokens, shape.heads * dim + shape.heads];
        let commands = |to| attention::commands(&s.sizes, q, k, v, to, target).collect();
        out.extend(s.cases("attention", commands, size, want));
    }
    // q, k and v side by side in the rows of one buffer.
    let mut s = Setting::new(&(2, 1, 2, 9, 9, 8, false), &[Rows::Queries, Rows::Keys, Rows::Keys], 1.0, 1);
    let joint = values(18 * 48, 5);
    s.operands = vec![joint.clone(), joint.clone(), joint];
    s.views = [0, 16, 32].map(|c| View::strided(c, 48)).to_vec();
    s.solve();
    let size = [18, 18];
    let want = |i: usize, c: usize| match c.checked_sub(16) {
        Some(h) => s.lse(i, h),
        None => s.result(i, c / 8, c % 8),
    };
    let commands = |to| {
        let [q, k, v] = [0, 1, 2].map(|n| (id(0), s.views[n]));
        attention::commands(&s.sizes, q, k, v, to, target).collect()
    };
    out.extend(s.cases("attention of slices", commands, size, want));
    out
}

fn operands(s: &Setting) -> Operands {
    let [q, k, v, y, d] = [0, 1, 2, 3, 4].map(|n| s.place(n));
    Operands { q, k, v, y, d }
}

const GRADIENT: [Rows; 5] = [Rows::Queries, Rows::Keys, Rows::Keys, Rows::Results, Rows::Results];

/// The cases of `attention_grad_q`.
pub fn grad_q(target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for mut s in settings(&GRADIENT) {
        s.set_results(3);
        let Sizes { shape, batch, dim, .. } = s.sizes;
        let scale = 1.0 / (dim as f64).sqrt();
        let want = |i: usize, c: usize| {
            let (h, c) = (c / dim, c % dim);
            let term = |j| scale * s.weight(i, j, h) * s.slope(4, i, j, h) * s.at(1, j, h, c);
            s.keys(i).map(term).sum()
        };
        let size = [batch * shape.q_tokens, shape.heads * dim];
        let commands = |to| attention_grad_q::commands(&s.sizes, operands(&s), to, target).collect();
        out.extend(s.cases("attention_grad_q", commands, size, want));
    }
    tolerant(out)
}

/// The cases of `attention_grad_kv`.
pub fn grad_kv(target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for mut s in settings(&GRADIENT) {
        s.set_results(3);
        let Sizes { shape, batch, k_batch_div, dim } = s.sizes;
        let scale = 1.0 / (dim as f64).sqrt();
        let width = shape.heads * dim;
        let want = |j: usize, c: usize| {
            let (h, column) = (c % width / dim, c % dim);
            let sees = |i: &usize| s.keys(*i).contains(&j);
            let term = |i| {
                let weight = s.weight(i, j, h);
                match c < width {
                    true => scale * weight * s.slope(4, i, j, h) * s.at(0, i, h, column),
                    false => weight * s.at(4, i, h, column),
                }
            };
            (0..batch * shape.q_tokens).filter(sees).map(term).sum()
        };
        let size = [batch / k_batch_div * shape.k_tokens, 2 * width];
        let commands = |to| attention_grad_kv::commands(&s.sizes, operands(&s), to, target).collect();
        out.extend(s.cases("attention_grad_kv", commands, size, want));
    }
    tolerant(out)
}

/// The cases of `attention_jvp`: all tangents, and each one missing.
pub fn jvp(target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    let kinds = [Rows::Queries, Rows::Keys, Rows::Keys, Rows::Results, Rows::Queries, Rows::Keys, Rows::Keys];
    for (n, mut s) in settings(&kinds).into_iter().enumerate() {
        s.set_results(3);
        let Sizes { shape, batch, dim, .. } = s.sizes;
        let has = [n % 4 != 1, n % 4 != 2, n % 4 != 3];
        let scale = 1.0 / (dim as f64).sqrt();
        let tangent = |i: usize, j: usize, h: usize| {
            let q = if has[0] { s.dot((4, i), (1, j), h) } else { 0.0 };
            let k = if has[1] { s.dot((0, i), (5, j), h) } else { 0.0 };
            scale * (q + k)
        };
        let lse =
            |i: usize, h: usize| -> f64 { s.keys(i).map(|j| s.weight(i, j, h) * tangent(i, j, h)).sum() };
        let want = |i: usize, c: usize| match c.checked_sub(shape.heads * dim) {
            Some(h) => lse(i, h),
            None => {
                let (h, c) = (c / dim, c % dim);
                let mean = lse(i, h);
                let value = |j| if has[2] { s.at(6, j, h, c) } else { 0.0 };
                let term = |j| s.weight(i, j, h) * ((tangent(i, j, h) - mean) * s.at(2, j, h, c) + value(j));
                s.keys(i).map(term).sum()
            }
        };
        let size = [batch * shape.q_tokens, shape.heads * dim + shape.heads];
        let commands = |to| {
            let first = [0, 1, 2, 3].map(|n| s.place(n));
            let tangents = [0, 1, 2].map(|n| has[n].then(|| s.place(4 + n)));
            attention_jvp::commands(&s.sizes, first, tangents, to, id(0), target).collect()
        };
        out.extend(s.cases("attention_jvp", commands, size, want));
    }
    tolerant(out)
}

/// The results that the kernels are given are rounded: scores far apart make a rounded log-sum-exp of 30 a relative error of
/// 2e-6 in every weight, and the gradient of a single key is what rounding leaves of nothing.
fn tolerant(cases: Vec<Case>) -> Vec<Case> {
    let mut cases = cases;
    cases.iter_mut().for_each(|c| c.tolerance = 2e-5);
    cases
}
