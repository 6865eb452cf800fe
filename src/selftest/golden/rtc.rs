//! Real-time chunking: the guided velocity of a network, and the weights of the previous chunk.

use super::solve::Network;
use super::{GoldenFile, Result, Score};
use crate::device::Device;
use crate::flow::guidance::soft_mask;
use crate::flow::integrator::Start;
use crate::flow::{Batch, Field, Guided, IntegrateOptions, Integrator, Jacobian, Solver};

pub(super) fn guided_velocity(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    file.expect("schedule", "exp")?;
    let count = |key: &str| file.number(key).map(|n| n as usize);
    let (network, store) = Network::of(file, "in.x")?;
    let (horizon, dim) = (count("horizon")?, count("action_dim")?);
    let mut mask = vec![0.0; horizon];
    soft_mask(count("delay")?, count("prefix_horizon")?, &mut mask);
    score.close(file, "out.weights", &mask)?;

    let field = Guided::new(&network, file.number("beta")? as f32, Jacobian::Network)?;
    let (x, z, previous) = (file.f32("in.x")?, file.f32("in.z")?, file.f32("in.previous")?);
    let batch = Batch { requests: x.len() / field.dim(), samples: 1 };
    let weights: Vec<f32> = (0..x.len()).map(|e| mask[e % (horizon * dim) / dim]).collect();
    // One Euler step of length 1 from tau goes to x + v; as a sampler computes it, and with all of it at the step.
    let tau = file.number("tau")?;
    for staging in [true, false] {
        let options = IntegrateOptions { times: Some(&[tau, tau + 1.0]), staging, ..Default::default() };
        let mut flow = Integrator::new(device, &field, &store.layout, Solver::euler(1), batch, &options)?;
        flow.set_params(&store.values)?;
        let mut end = vec![0.0; x.len()];
        flow.run(Start::Given(&x), &[&z, &previous, &weights], &mut end, None)?;
        let v: Vec<f32> = end.iter().zip(&x).map(|(end, x)| end - x).collect();
        score.close(file, "out.v", &v)?;
    }
    Ok(())
}
