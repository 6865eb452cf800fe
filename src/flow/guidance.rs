//! Guidance of a flow towards a known end, as real-time chunking uses it (Black, Galliker and Levine 2025, after
//! Pokle 2023): the velocity is pulled so that the denoised estimate x1_hat = x + (1 - t) v meets a previous chunk y where
//! the weights w say so:
//!
//! v + k(t) g, g = (d x1_hat / d x)ᵀ [(y - x1_hat) w], k(t) = min(beta, (1 - t) / t (t² + (1 - t)²) / (1 - t)²).

use super::field::Field;
use super::{FlowError, Result};
use crate::graph::{self, Graph, Value};
use crate::kernel::math::Activation;

/// Name of the request input y, [requests, dim].
pub const PREVIOUS: &str = "previous";
/// Name of the request input w, [requests, dim]: 0 where the flow is free.
pub const WEIGHTS: &str = "guidance weights";

/// The Jacobian d x1_hat / d x of the guidance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jacobian {
    /// Through the network, by the graph's reverse mode: what the paper says.
    #[default]
    Network,
    /// The identity: what a port computes that detaches the network. Cheaper, and a blunter pull.
    Identity,
}

/// A field that is guided towards a previous chunk; its request inputs are the inner field's, then [`PREVIOUS`] and
/// [`WEIGHTS`].
pub struct Guided<'a> {
    field: &'a dyn Field,
    beta: f32,
    jacobian: Jacobian,
}

impl<'a> Guided<'a> {
    /// Guides `field` with weights of at most `beta` (the paper's is 5).
    ///
    /// # Errors
    /// [`FlowError::Range`] unless `beta` is a positive, finite number.
    pub fn new(field: &'a dyn Field, beta: f32, jacobian: Jacobian) -> Result<Guided<'a>> {
        match beta.is_finite() && beta > 0.0 {
            true => Ok(Guided { field, beta, jacobian }),
            false => Err(FlowError::Range {
                what: "guidance beta",
                found: beta.into(),
                needed: "a positive, finite number",
            }),
        }
    }

    /// k of the time t and 1 - t. With n = t² + (1 - t)² it is min(beta, n / (t (1 - t))) = n / max(t (1 - t), n / beta), which is
    /// finite at both ends. It depends on the time alone, so that a plan computes it once for all solver steps.
    fn weight(&self, g: &mut Graph, t: Value, rest: Value) -> graph::Result<Value> {
        let (tt, rr) = (g.mul(t, t)?, g.mul(rest, rest)?);
        let n = g.add(tt, rr)?;
        let product = g.mul(t, rest)?;
        let least = g.affine(n, 1.0 / self.beta, 0.0)?;
        let above = g.sub(product, least)?;
        let above = g.map(Activation::Relu, above)?;
        let divisor = g.add(least, above)?;
        g.div(n, divisor)
    }
}

impl Field for Guided<'_> {
    fn dim(&self) -> usize {
        self.field.dim()
    }

    fn request(&self) -> Vec<(&'static str, usize)> {
        let mut inputs = self.field.request();
        inputs.extend([(PREVIOUS, self.dim()), (WEIGHTS, self.dim())]);
        inputs
    }

    fn velocity(&self, g: &mut Graph, x: Value, t: Value, request: &[Value]) -> graph::Result<Value> {
        let [inner @ .., previous, weights] = request else {
            return Err(graph::error::shape_error("guidance", &[], "a previous chunk and its weights"));
        };
        let v = self.field.velocity(g, x, t, inner)?;
        let rest = g.affine(t, -1.0, 1.0)?;
        let estimate = g.fma(v, rest, x)?;
        // (y - x1_hat) w as w y - w x1_hat: w y and -w belong to the request, so that one operation is left per step.
        let wanted = g.mul(*weights, *previous)?;
        let minus = g.affine(*weights, -1.0, 0.0)?;
        let error = g.fma(estimate, minus, wanted)?;
        let pull = match self.jacobian {
            Jacobian::Network => g.vjp(&[(estimate, error)], &[x])?[0],
            Jacobian::Identity => error,
        };
        let k = self.weight(g, t, rest)?;
        g.fma(pull, k, v)
    }
}

/// The soft mask of real-time chunking: `out[i]` is the weight of action i of the previous chunk. 1 for the first `delay`
/// actions, which will have been executed before the new chunk takes over; from there it falls to 0 at `end`, where the
/// previous chunk says nothing: u = clip((delay - 1 - i) / (end - delay + 1) + 1, 0, 1), w = u (eᵘ - 1) / (e - 1). With `end` below
/// `delay` only the first `end` actions have a weight, of 1.
pub fn soft_mask(delay: usize, end: usize, out: &mut [f32]) {
    let delay = delay.min(end) as f64;
    for (i, w) in out.iter_mut().enumerate() {
        let u = ((delay - 1.0 - i as f64) / (end as f64 - delay + 1.0) + 1.0).clamp(0.0, 1.0);
        *w = if i < end { (u * u.exp_m1() / (std::f64::consts::E - 1.0)) as f32 } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_one_then_fall_to_nothing() {
        let mut w = [9.0; 10];
        soft_mask(2, 7, &mut w);
        assert_eq!(w[..2], [1.0, 1.0]);
        assert!(w[1..7].windows(2).all(|p| p[0] > p[1]), "{w:?}");
        assert!(w[6] > 0.0 && w[7..].iter().all(|w| *w == 0.0), "{w:?}");
        for (delay, end, want) in [(0, 0, 0), (5, 5, 5), (5, 3, 3), (10, 10, 10)] {
            soft_mask(delay, end, &mut w);
            assert!(w[..want].iter().all(|w| *w == 1.0) && w[want..].iter().all(|w| *w == 0.0), "{w:?}");
        }
        // Without a delay the first action already counts for less than 1.
        soft_mask(0, 4, &mut w);
        assert!(w[0] < 1.0 && w[0] > w[1]);
    }

    #[test]
    fn beta_is_checked() {
        let still = super::super::field::FnField::new(1, |g, x, _| g.affine(x, 0.0, 0.0));
        for beta in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(Guided::new(&still, beta, Jacobian::Network).is_err());
        }
    }
}
