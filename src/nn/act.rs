//! ACT, the action chunking transformer (Zhao 2023), with LeRobot 0.4's parameter names: a conditional variational
//! auto-encoder whose decoder is a transformer over the tokens [latent, state, environment] and learned queries.
//! Dropout, images and masks of padded actions are not part of it.

use super::attention::Heads;
use super::{Builder, Init};
use crate::graph::{Result, Shape, Value};
use crate::kernel::math::Activation;
use serde::{Deserialize, Serialize};

/// Sizes of an ACT network, post-norm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// Actions in a chunk.
    pub chunk: usize,
    /// Values of an action.
    pub action_dim: usize,
    /// Columns of a token.
    pub width: usize,
    /// Heads of every attention.
    pub heads: usize,
    /// Columns between the two linear layers behind an attention.
    pub feedforward: usize,
    /// Layers of the transformer's encoder.
    pub encoder_layers: usize,
    /// Layers of its decoder.
    pub decoder_layers: usize,
    /// Layers of the encoder of the posterior.
    pub vae_encoder_layers: usize,
    /// Columns of the latent.
    pub latent_dim: usize,
    /// Between the two linear layers.
    pub activation: Activation,
}

/// Positions of tokens, one after the other in one row.
type Positions = Value;

impl Act {
    /// Mean and logarithm of the variance of the latent's posterior, each [rows, latent_dim], given states [rows, S] and action
    /// chunks [rows, chunk * action_dim].
    pub fn posterior(&self, b: &mut Builder<'_>, state: Value, actions: Value) -> Result<[Value; 2]> {
        let (rows, width) = (b.graph.shape(state).rows(), self.width);
        let cls = b.param("vae_encoder_cls_embed.weight".into(), &[1, width], Init::Normal(1.0))?;
        let cls = b.rows(cls, rows)?;
        let state = b.linear("vae_encoder_robot_state_input_proj", state, width)?;
        let actions = b.graph.reshape(actions, Shape::matrix(rows * self.chunk, self.action_dim))?;
        let actions = b.linear("vae_encoder_action_input_proj", actions, width)?;
        let actions = b.graph.reshape(actions, Shape::matrix(rows, self.chunk * width))?;
        let all = b.concat(&[cls, state, actions])?;
        let tokens = self.chunk + 2;
        let mut x = b.graph.reshape(all, Shape::matrix(rows * tokens, width))?;
        let positions = b.graph.constant(Shape::matrix(1, tokens * width), sinusoids(tokens, width))?;
        for i in 0..self.vae_encoder_layers {
            x = self.encoder_layer(b, &format!("vae_encoder.layers.{i}"), x, positions)?;
        }
        let x = b.graph.reshape(x, Shape::matrix(rows, tokens * width))?;
        let first = b.graph.slice(x, 0, width)?;
        let both = b.linear("vae_encoder_latent_output_proj", first, 2 * self.latent_dim)?;
        let (mean, log_variance) = (
            b.graph.slice(both, 0, self.latent_dim)?,
            b.graph.slice(both, self.latent_dim, self.latent_dim)?,
        );
        Ok([mean, log_variance])
    }

    /// The chunk [rows, chunk * action_dim] of a latent [rows, latent_dim] (zeros when sampling), states [rows, S] and, if
    /// there is one, the environment's state [rows, E].
    pub fn decode(
        &self,
        b: &mut Builder<'_>,
        latent: Value,
        state: Value,
        environment: Option<Value>,
    ) -> Result<Value> {
        let (rows, width) = (b.graph.shape(latent).rows(), self.width);
        let mut parts = vec![
            b.linear("encoder_latent_input_proj", latent, width)?,
            b.linear("encoder_robot_state_input_proj", state, width)?,
        ];
        if let Some(environment) = environment {
            parts.push(b.linear("encoder_env_state_input_proj", environment, width)?);
        }
        let tokens = parts.len();
        let all = b.concat(&parts)?;
        let mut memory = b.graph.reshape(all, Shape::matrix(rows * tokens, width))?;
        let embed = |b: &mut Builder<'_>, name: &str, tokens: usize| -> Result<Positions> {
            let p = b.param(format!("{name}.weight"), &[tokens, width], Init::Normal(1.0))?;
            b.graph.reshape(p, Shape::matrix(1, tokens * width))
        };
        let positions = embed(b, "encoder_1d_feature_pos_embed", tokens)?;
        for i in 0..self.encoder_layers {
            memory = self.encoder_layer(b, &format!("encoder.layers.{i}"), memory, positions)?;
        }
        let keys = placed(b, memory, positions)?;
        let queries = embed(b, "decoder_pos_embed", self.chunk)?;
        let mut x = b.graph.zeros(Shape::matrix(rows * self.chunk, width))?;
        for i in 0..self.decoder_layers {
            let name = format!("decoder.layers.{i}");
            x = self.attend(b, &name, x, queries)?;
            let q = placed(b, x, queries)?;
            let across = [self.chunk, tokens];
            let heads = Heads::plain(self.heads);
            let y = b.attention(&format!("{name}.multihead_attn"), [q, keys, memory], across, heads)?;
            let y = b.graph.add(x, y)?;
            x = b.layer_norm(&format!("{name}.norm2"), y)?;
            x = self.feed_forward(b, &name, x, "norm3")?;
        }
        let x = b.layer_norm("decoder.norm", x)?;
        let y = b.linear("action_head", x, self.action_dim)?;
        b.graph.reshape(y, Shape::matrix(rows, self.chunk * self.action_dim))
    }

    fn encoder_layer(
        &self,
        b: &mut Builder<'_>,
        name: &str,
        x: Value,
        positions: Positions,
    ) -> Result<Value> {
        let x = self.attend(b, name, x, positions)?;
        self.feed_forward(b, name, x, "norm2")
    }

    /// norm1(x + attention of x to itself).
    fn attend(&self, b: &mut Builder<'_>, name: &str, x: Value, positions: Positions) -> Result<Value> {
        let tokens = b.graph.shape(positions).cols() / self.width;
        let q = placed(b, x, positions)?;
        let heads = Heads::plain(self.heads);
        let y = b.attention(&format!("{name}.self_attn"), [q, q, x], [tokens; 2], heads)?;
        let y = b.graph.add(x, y)?;
        b.layer_norm(&format!("{name}.norm1"), y)
    }

    /// norm(x + linear2(act(linear1(x)))).
    fn feed_forward(&self, b: &mut Builder<'_>, name: &str, x: Value, norm: &str) -> Result<Value> {
        let y = b.linear(&format!("{name}.linear1"), x, self.feedforward)?;
        let y = b.activate(self.activation, y)?;
        let y = b.linear(&format!("{name}.linear2"), y, self.width)?;
        let y = b.graph.add(x, y)?;
        b.layer_norm(&format!("{name}.{norm}"), y)
    }
}

/// Tokens with their positions added.
fn placed(b: &mut Builder<'_>, x: Value, positions: Positions) -> Result<Value> {
    let (shape, all) = (b.graph.shape(x), b.graph.shape(positions).cols());
    let flat = b.graph.reshape(x, Shape::matrix(shape.len() / all, all))?;
    let sum = b.graph.add(flat, positions)?;
    b.graph.reshape(sum, Shape::matrix(shape.rows(), shape.cols()))
}

/// Sines (even columns) and cosines of position / 10000^(2 (c / 2) / width) (Vaswani 2017).
fn sinusoids(tokens: usize, width: usize) -> Vec<f32> {
    let angle = |i: usize, c: usize| i as f64 / 1e4f64.powf((c - c % 2) as f64 / width as f64);
    let value = |i: usize, c: usize| if c.is_multiple_of(2) { angle(i, c).sin() } else { angle(i, c).cos() };
    (0..tokens * width).map(|e| value(e / width, e % width) as f32).collect()
}
