//! The epilogue of a product on the CPU: bias, residual and activation over a segment of one row of C.

use super::{HAS_BIAS, HAS_RESIDUAL, MUL_DERIVATIVE, Params};
use crate::kernel::math::{self, Activation};

/// Columns that a broadcast residual is expanded to at a time.
const CHUNK: usize = 128;

/// What the epilogue of a call needs, resolved once.
pub(super) struct Finish<'a> {
    p: &'a Params,
    act: Activation,
    bias: Option<&'a [f32]>,
    residual: Option<&'a [f32]>,
    nothing: bool,
}

impl<'a> Finish<'a> {
    pub(super) fn new(p: &'a Params, bias: &'a [f32], residual: &'a [f32]) -> Self {
        let act = Activation::from_code(p.act).unwrap_or(Activation::Identity);
        let bias =
            p.has(HAS_BIAS).then(|| &bias[p.bias_offset as usize..p.bias_offset as usize + p.n as usize]);
        let residual = p.has(HAS_RESIDUAL).then_some(residual);
        let nothing = act == Activation::Identity && bias.is_none() && p.alpha == 1.0 && residual.is_none();
        Finish { p, act, bias, residual, nothing }
    }

    /// Finishes columns `j0..j0 + c.len()` of row `i`, which hold the bare product.
    #[inline]
    pub(super) fn row(&self, i: usize, j0: usize, c: &mut [f32]) {
        if self.nothing {
            return;
        }
        let Some(residual) = self.residual else {
            return self.segment(j0, c, None);
        };
        let view = &self.p.residual;
        let start = view.at(i, j0);
        if view.col_stride == 1 {
            return self.segment(j0, c, Some(&residual[start..start + c.len()]));
        }
        let mut expanded = [0.0; CHUNK];
        for (piece, c) in c.chunks_mut(CHUNK).enumerate() {
            let j = j0 + piece * CHUNK;
            for (e, slot) in expanded[..c.len()].iter_mut().enumerate() {
                *slot = residual[view.at(i, j + e)];
            }
            self.segment(j, c, Some(&expanded[..c.len()]));
        }
    }

    #[inline]
    fn segment(&self, j0: usize, c: &mut [f32], residual: Option<&[f32]>) {
        let p = self.p;
        if p.has(MUL_DERIVATIVE) {
            let mut scaled = [0.0; CHUNK];
            for (piece, c) in c.chunks_mut(CHUNK).enumerate() {
                // Without a pre-activation it counts as 0, as in the shader.
                let pre = residual.map_or(&[0.0; CHUNK][..c.len()], |r| &r[piece * CHUNK..][..c.len()]);
                let scaled = &mut scaled[..c.len()];
                scaled.iter_mut().zip(&*c).for_each(|(s, c)| *s = p.alpha * c);
                math::apply_mul(self.act, 1, pre, scaled, c);
            }
            return;
        }
        let bias = self.bias.map(|b| &b[j0..j0 + c.len()]);
        math::epilogue(self.act, c, p.alpha, bias, p.beta, residual);
    }
}
