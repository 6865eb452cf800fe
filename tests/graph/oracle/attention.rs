//! Attention and its derivatives from their definitions: the probabilities as a matrix.

use advect::graph::Shape;
use advect::kernel::attention::AttentionShape;

type Operands<'a> = [(&'a [f64], Shape)];

/// Element c of head h in row i of an operand.
fn at(x: &Operands<'_>, n: usize, i: usize, h: usize, c: usize, dim: usize) -> f64 {
    x[n].0[i * x[n].1.cols() + h * dim + c]
}

struct Sizes {
    rows: usize,
    dim: usize,
    shape: AttentionShape,
    div: usize,
}

fn sizes(shape: &AttentionShape, x: &Operands<'_>) -> Sizes {
    let rows = x[0].1.rows();
    let (batch, k_batch) = (rows / shape.q_tokens, x[1].1.rows() / shape.k_tokens);
    Sizes { rows, dim: x[0].1.cols() / shape.heads, shape: *shape, div: batch / k_batch }
}

impl Sizes {
    fn keys(&self, i: usize) -> std::ops::Range<usize> {
        let first = i / self.shape.q_tokens / self.div * self.shape.k_tokens;
        let all = self.shape.k_tokens;
        first..first + if self.shape.causal { all.min(i % self.shape.q_tokens + 1) } else { all }
    }

    fn dot(&self, x: &Operands<'_>, (n, i): (usize, usize), (m, j): (usize, usize), h: usize) -> f64 {
        (0..self.dim).map(|c| at(x, n, i, h, c, self.dim) * at(x, m, j, h, c, self.dim)).sum()
    }

    fn scale(&self) -> f64 {
        1.0 / (self.dim as f64).sqrt()
    }

    fn lse(&self, x: &Operands<'_>, i: usize, h: usize) -> f64 {
        let scores: Vec<f64> = self.keys(i).map(|j| self.scale() * self.dot(x, (0, i), (1, j), h)).collect();
        let top = scores.iter().copied().fold(f64::MIN, f64::max);
        top + scores.iter().map(|s| (s - top).exp()).sum::<f64>().ln()
    }

    fn weight(&self, x: &Operands<'_>, i: usize, j: usize, h: usize) -> f64 {
        (self.scale() * self.dot(x, (0, i), (1, j), h) - self.lse(x, i, h)).exp()
    }

    /// Rows of values of every head, then one value per head.
    fn results(
        &self,
        value: impl Fn(usize, usize, usize) -> f64,
        last: impl Fn(usize, usize) -> f64,
    ) -> Vec<f64> {
        let mut out = Vec::new();
        for i in 0..self.rows {
            for h in 0..self.shape.heads {
                out.extend((0..self.dim).map(|c| value(i, h, c)));
            }
            out.extend((0..self.shape.heads).map(|h| last(i, h)));
        }
        out
    }
}

/// [o | lse] of q, k and v.
pub fn result(shape: &AttentionShape, x: &Operands<'_>) -> Vec<f64> {
    let s = sizes(shape, x);
    let value = |i, h, c| s.keys(i).map(|j| s.weight(x, i, j, h) * at(x, 2, j, h, c, s.dim)).sum();
    s.results(value, |i, h| s.lse(x, i, h))
}

/// dq, or [dk | dv], of q, k, v, [o | lse] (recomputed here) and its cotangent.
pub fn gradient(shape: &AttentionShape, of_queries: bool, x: &Operands<'_>) -> Vec<f64> {
    let s = sizes(shape, x);
    let o = result(shape, x);
    let width = s.shape.heads * s.dim;
    let cols = width + s.shape.heads;
    // The cotangent of score i, j before the scale.
    let slope = |i: usize, j: usize, h: usize| {
        let d = |c| at(x, 4, i, h, c, s.dim);
        let along: f64 =
            (0..s.dim).map(|c| d(c) * (at(x, 2, j, h, c, s.dim) - o[i * cols + h * s.dim + c])).sum();
        s.weight(x, i, j, h) * (along + x[4].0[i * cols + width + h])
    };
    let k_rows = x[1].1.rows();
    let mut dq = vec![0.0; s.rows * width];
    let mut dkv = vec![0.0; k_rows * 2 * width];
    for i in 0..s.rows {
        for j in s.keys(i) {
            for h in 0..s.shape.heads {
                for c in 0..s.dim {
                    let e = h * s.dim + c;
                    dq[i * width + e] += s.scale() * slope(i, j, h) * at(x, 1, j, h, c, s.dim);
                    dkv[j * 2 * width + e] += s.scale() * slope(i, j, h) * at(x, 0, i, h, c, s.dim);
                    dkv[j * 2 * width + width + e] += s.weight(x, i, j, h) * at(x, 4, i, h, c, s.dim);
                }
            }
        }
    }
    if of_queries { dq } else { dkv }
}

/// The tangent of [o | lse] from q, k, v, the result and the tangents that there are.
pub fn tangent(shape: &AttentionShape, has: [bool; 3], x: &Operands<'_>) -> Vec<f64> {
    let s = sizes(shape, x);
    let place = |n: usize| has[n].then(|| 4 + has[..n].iter().filter(|t| **t).count());
    let slope = |i: usize, j: usize, h: usize| {
        let q = place(0).map_or(0.0, |n| s.dot(x, (n, i), (1, j), h));
        let k = place(1).map_or(0.0, |n| s.dot(x, (0, i), (n, j), h));
        s.scale() * (q + k)
    };
    let mean = |i: usize, h: usize| s.keys(i).map(|j| s.weight(x, i, j, h) * slope(i, j, h)).sum::<f64>();
    let value = |i: usize, h: usize, c: usize| {
        let average = mean(i, h);
        let term = |j: usize| {
            let tv = place(2).map_or(0.0, |n| at(x, n, j, h, c, s.dim));
            s.weight(x, i, j, h) * ((slope(i, j, h) - average) * at(x, 2, j, h, c, s.dim) + tv)
        };
        s.keys(i).map(term).sum()
    };
    s.results(value, mean)
}
