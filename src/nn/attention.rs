//! Multi-head attention layers with the parameter names and layouts of PyTorch's nn.MultiheadAttention.
//!
//! Tokens are rows: [batch * tokens, width].

use super::{Builder, Init};
use crate::graph::{Result, Shape, Value};
use crate::kernel::attention::AttentionShape;

/// How a layer attends.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Number of heads; divides the width.
    pub count: usize,
    /// Query i sees keys 0 to i only.
    pub causal: bool,
    /// Base of the rotary embedding of queries and keys; none: no rotary embedding.
    pub rope: Option<f64>,
}

impl Heads {
    /// `count` heads over all keys, without positions.
    pub fn plain(count: usize) -> Heads {
        Heads { count, causal: false, rope: None }
    }
}

impl Builder<'_> {
    /// PyTorch's MultiheadAttention of queries [batch * tokens\[0\], width] over keys and values [k_batch * tokens\[1\], width]:
    /// `name.in_proj_weight` \[3 width, width\] and `name.in_proj_bias` (queries, keys, values), `name.out_proj`. Operands that
    /// are one value are projected by one product.
    pub fn attention(
        &mut self,
        name: &str,
        [q, k, v]: [Value; 3],
        tokens: [usize; 2],
        heads: Heads,
    ) -> Result<Value> {
        let y = self.heads(name, [q, k, v], tokens, heads)?;
        let width = self.graph.shape(q).cols();
        self.out_proj(name, y, width)
    }

    /// The layer's result before `name.out_proj`.
    pub(super) fn heads(
        &mut self,
        name: &str,
        [q, k, v]: [Value; 3],
        tokens: [usize; 2],
        heads: Heads,
    ) -> Result<Value> {
        let width = self.graph.shape(q).cols();
        // Xavier, as the reference: sqrt(6 / (in + out)) of the three together.
        let bound = (6.0 / (4 * width) as f32).sqrt();
        let w = self.param(format!("{name}.in_proj_weight"), &[3 * width, width], Init::Uniform(bound))?;
        let b = self.param(format!("{name}.in_proj_bias"), &[3 * width], Init::Zeros)?;
        // Neighbours that project the same tokens share a product.
        let groups: &[(Value, usize, usize)] = match (q == k, k == v) {
            (true, true) => &[(q, 0, 3)],
            (true, false) => &[(q, 0, 2), (v, 2, 1)],
            (false, true) => &[(q, 0, 1), (k, 1, 2)],
            (false, false) => &[(q, 0, 1), (k, 1, 1), (v, 2, 1)],
        };
        let mut projected = Vec::new();
        for &(x, first, count) in groups {
            let w = self.parts(w, first, count)?;
            let b = self.graph.slice(b, first * width, count * width)?;
            let y = self.graph.linear(x, w, Some(b))?;
            // Of queries and keys in one product all columns turn at once.
            let turn = (2 - first.min(2)).min(count);
            let turned = match heads.rope {
                Some(base) if turn > 0 => {
                    let x = self.graph.slice(y, 0, turn * width)?;
                    self.graph.rope(x, turn * heads.count, tokens[first], base)?
                }
                _ => y,
            };
            for i in 0..count {
                let from = if i < turn { turned } else { y };
                projected.push(self.graph.slice(from, i * width, width)?);
            }
        }
        let [q, k, v] = [projected[0], projected[1], projected[2]];
        let [q_tokens, k_tokens] = tokens;
        let shape = AttentionShape { heads: heads.count, q_tokens, k_tokens, causal: heads.causal };
        self.graph.attention(q, k, v, shape)
    }

    /// `name.out_proj`, its bias zero at the start.
    pub(super) fn out_proj(&mut self, name: &str, x: Value, out: usize) -> Result<Value> {
        let cols = self.graph.shape(x).cols();
        let bound = 1.0 / (cols as f32).sqrt();
        let w = self.param(format!("{name}.out_proj.weight"), &[out, cols], Init::Uniform(bound))?;
        let b = self.param(format!("{name}.out_proj.bias"), &[out], Init::Zeros)?;
        self.graph.linear(x, w, Some(b))
    }

    /// Rows `first * width ..` of the joint projection, `count * width` of them: a view.
    fn parts(&mut self, w: Value, first: usize, count: usize) -> Result<Value> {
        let (rows, width) = (self.graph.shape(w).rows(), self.graph.shape(w).cols());
        if count * width == rows {
            return Ok(w);
        }
        let flat = self.graph.reshape(w, Shape::matrix(1, rows * width))?;
        let part = self.graph.slice(flat, first * width * width, count * width * width)?;
        self.graph.reshape(part, Shape::matrix(count * width, width))
    }
}
