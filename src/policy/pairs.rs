//! Noise and what a flow makes of it: the pairs that a rectified flow is retrained on (Liu 2023).

use super::checkpoint::{Policy, Weights};
use super::sampler::{expect, finite};
use super::spec::PolicyField;
use super::{PolicyError, Result};
use crate::device::Device;
use crate::flow::integrator::Start;
use crate::flow::{Batch, IntegrateOptions, Integrator, Solver};
use crate::kernel::philox;

/// Observations that are integrated at once.
const ROWS: usize = 4096;
/// Stream of the pairs' noise.
const STREAM: u32 = 0x20;

/// Pairs of noise and sample in model space, each [observations, horizon * action_dim].
#[derive(Clone, Debug, PartialEq)]
pub struct Pairs {
    /// Standard normal, the start of each flow.
    pub noise: Vec<f32>,
    /// Where it leads.
    pub end: Vec<f32>,
}

impl Policy {
    /// One pair for each raw observation of [observations, history, obs_dim], by the moving average of the weights. The noise is
    /// named by `seed`.
    ///
    /// # Errors
    /// [`PolicyError::Objective`] without a flow; observations of another length or not finite; a flow that is not finite; a failing
    /// device.
    pub fn pairs(&self, device: &Device, obs: &[f32], solver: Solver, seed: u64) -> Result<Pairs> {
        let spec = &self.spec;
        spec.needs_flow("pairs of noise and sample")?;
        let (request, chunk) = (spec.request(), spec.chunk());
        let count = obs.len() / request;
        expect("observations", obs.len(), count * request)?;
        finite("observations", obs)?;
        let mut noise = vec![0.0; count * chunk];
        philox::fill_normal(seed, STREAM, 0, 0, &mut noise);
        let mut end = vec![0.0; count * chunk];
        let params = self.params(Weights::Ema);
        let field = PolicyField(spec);
        let mut compiled: Option<(usize, Integrator)> = None;
        for first in (0..count).step_by(ROWS) {
            let n = ROWS.min(count - first);
            let mut integrator = match compiled.take() {
                Some((rows, integrator)) if rows == n => integrator,
                _ => {
                    let batch = Batch { requests: n, samples: 1 };
                    let options = IntegrateOptions::default();
                    let mut new = Integrator::new(device, &field, &params.layout, solver, batch, &options)?;
                    new.set_params(&params.values)?;
                    new
                }
            };
            let (rows, values) = (first * request..(first + n) * request, first * chunk..(first + n) * chunk);
            integrator.run(Start::Given(&noise[values.clone()]), &[&obs[rows]], &mut end[values], None)?;
            compiled = Some((n, integrator));
        }
        match end.iter().position(|v| !v.is_finite()) {
            Some(element) => {
                Err(PolicyError::NonFinite { what: "a pair's end", value: end[element], element })
            }
            None => Ok(Pairs { noise, end }),
        }
    }
}
