//! Attention with its gradients, and a whole ACT policy made of the layers on it.

use super::graph_case::GraphCase;
use super::{GoldenFile, Result, Score};
use crate::device::Device;
use crate::graph::{Shape, Value};
use crate::kernel::attention::AttentionShape;
use crate::kernel::math::Activation;
use crate::nn::Builder;
use crate::nn::act::Act;

/// [batch, heads, tokens, dim] to [batch * tokens, heads * dim], or back.
fn permuted(data: &[f32], [batch, heads, tokens, dim]: [usize; 4], back: bool) -> Vec<f32> {
    let mut out = vec![0.0; data.len()];
    for b in 0..batch {
        for h in 0..heads {
            for t in 0..tokens {
                let theirs = ((b * heads + h) * tokens + t) * dim;
                let ours = ((b * tokens + t) * heads + h) * dim;
                let (from, to) = if back { (ours, theirs) } else { (theirs, ours) };
                out[to..to + dim].copy_from_slice(&data[from..from + dim]);
            }
        }
    }
    out
}

pub(super) fn attention(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    file.expect("layout", "batch, heads, tokens, dim")?;
    let mut c = GraphCase::new(file);
    let dims = |name: &str| -> Result<[usize; 4]> {
        let found = file.dims(name)?;
        found
            .try_into()
            .map_err(|d: Vec<usize>| file.bad(format!("{name}: found {d:?}, needed 4 dimensions")))
    };
    let input = |c: &mut GraphCase<'_>, name: &str| -> Result<Value> {
        let d = dims(name)?;
        let data = permuted(&file.f32(name)?, d, false);
        c.input_of(name, Shape::matrix(d[0] * d[2], d[1] * d[3]), data)
    };
    let (q, k, v) = (input(&mut c, "in.q")?, input(&mut c, "in.k")?, input(&mut c, "in.v")?);
    let cot = input(&mut c, "cot.y")?;
    let (d, keys) = (dims("in.q")?, dims("in.k")?);
    let causal = file.flag("causal")?;
    let shape = AttentionShape { heads: d[1], q_tokens: d[2], k_tokens: keys[2], causal };
    let y = c.graph.attention(q, k, v, shape)?;
    let grads = c.graph.vjp(&[(y, cot)], &[q, k, v])?;
    let names = ["out.y", "grad.q", "grad.k", "grad.v"].map(String::from);
    let outputs: Vec<(String, Value)> = names.into_iter().zip([y].into_iter().chain(grads)).collect();
    for ((name, _), got) in outputs.iter().zip(c.run(device, &outputs)?) {
        score.close(file, name, &permuted(&got, dims(name)?, true))?;
    }
    Ok(())
}

/// The posterior's parameters from state and actions, and the chunk from a latent of zeros.
pub(super) fn act(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    file.expect("pre_norm", false)?;
    file.expect("activation", "relu")?;
    file.expect("latent_at_inference", "zero")?;
    let size = |key: &str| -> Result<usize> { Ok(file.number(key)? as usize) };
    let chunk = file.dims("in.actions")?;
    let act = Act {
        chunk: size("chunk")?,
        action_dim: chunk[2],
        width: size("dim_model")?,
        heads: size("heads")?,
        feedforward: size("feedforward")?,
        encoder_layers: size("encoder_layers")?,
        decoder_layers: size("decoder_layers")?,
        vae_encoder_layers: size("vae_encoder_layers")?,
        latent_dim: size("latent_dim")?,
        activation: Activation::Relu,
    };
    let mut c = GraphCase::with_prefix(file, "param.");
    let state = c.input("in.state")?;
    let environment = c.input("in.environment")?;
    let rows = chunk[0];
    let actions = c.input_as("in.actions", Shape::matrix(rows, chunk[1] * chunk[2]))?;
    let latent = c.graph.zeros(Shape::matrix(rows, act.latent_dim))?;
    let mut b = Builder::new(&mut c.graph);
    let [mu, log_sigma_x2] = act.posterior(&mut b, state, actions)?;
    let y = act.decode(&mut b, latent, state, Some(environment))?;
    let names = ["out.mu", "out.log_sigma_x2", "out.actions"].map(String::from);
    let outputs: Vec<(String, Value)> = names.into_iter().zip([mu, log_sigma_x2, y]).collect();
    c.check(device, &outputs, score)
}
