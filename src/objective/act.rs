//! ACT, the action chunking transformer (Zhao 2023): a conditional variational auto-encoder with a network of its own
//! ([`crate::nn::act`]). The loss is the mean absolute error plus `kl_weight` times the divergence of the latent's posterior from the
//! standard normal (summed over the latent, mean over the batch). A chunk is the decoder's answer to the latent 0.

use super::error::{count, positive};
use super::task::streams;
use super::{Loss, Method, Net, ObjectiveError, Preparation, Sampling, State, Steps, Task, ops};
use crate::flow::Solver;
use crate::graph::{Graph, Result, Shape, Value};
use crate::kernel::draw::Law;
use crate::kernel::math::Activation;
use crate::nn::Builder;
use crate::nn::act::Act;
use serde::{Deserialize, Serialize};

/// The objective and the sizes of its network; `network` of the run is not used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ActObjective {
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
    /// Weight of the divergence.
    pub kl_weight: f32,
}

impl Default for ActObjective {
    /// LeRobot's.
    fn default() -> ActObjective {
        ActObjective {
            width: 512,
            heads: 8,
            feedforward: 3200,
            encoder_layers: 4,
            decoder_layers: 1,
            vae_encoder_layers: 4,
            latent_dim: 32,
            kl_weight: 10.0,
        }
    }
}

impl ActObjective {
    fn network(&self, task: &Task) -> Act {
        Act {
            chunk: task.horizon,
            action_dim: task.action_dim,
            width: self.width,
            heads: self.heads,
            feedforward: self.feedforward,
            encoder_layers: self.encoder_layers,
            decoder_layers: self.decoder_layers,
            vae_encoder_layers: self.vae_encoder_layers,
            latent_dim: self.latent_dim,
            activation: Activation::Relu,
        }
    }
}

/// The divergence of N(mean, e^log_variance) from the standard normal: summed over the columns, mean over the rows, [1, 1].
pub(crate) fn divergence(g: &mut Graph, mean: Value, log_variance: Value) -> Result<Value> {
    let rows = g.shape(mean).rows();
    let squares = g.map(Activation::Square, mean)?;
    let variance = g.map(Activation::Exp, log_variance)?;
    let both = g.add(squares, variance)?;
    let all = g.sub(both, log_variance)?;
    let all = g.affine(all, 0.5, -0.5)?;
    let sums = g.row_sum(all, 1.0 / rows as f32)?;
    g.col_sum(sums, rows, 1.0)
}

impl Method for ActObjective {
    fn check(&self) -> std::result::Result<(), ObjectiveError> {
        for (what, n) in [
            ("objective.act.width", self.width),
            ("objective.act.heads", self.heads),
            ("objective.act.feedforward", self.feedforward),
            ("objective.act.latent_dim", self.latent_dim),
        ] {
            count(what, n, [1, 1 << 16], "1 to 65,536")?;
        }
        for (what, n) in [
            ("objective.act.encoder_layers", self.encoder_layers),
            ("objective.act.decoder_layers", self.decoder_layers),
            ("objective.act.vae_encoder_layers", self.vae_encoder_layers),
        ] {
            count(what, n, [0, 1024], "0 to 1024")?;
        }
        if !self.width.is_multiple_of(self.heads) {
            let found = format!("{} for {} heads", self.width, self.heads);
            return Err(ObjectiveError::setting("objective.act.width", found, "a multiple of the heads"));
        }
        positive("objective.act.kl_weight", self.kl_weight.into())
    }

    fn starts_from_noise(&self) -> bool {
        false
    }

    fn prepare(&self, p: &mut Preparation<'_>) -> Result<()> {
        let eps = p.draw(Law::Normal, self.latent_dim, streams::LATENT)?;
        p.bind("eps", eps);
        Ok(())
    }

    fn loss(&self, b: &mut Builder<'_>, _: &dyn Net, task: &Task) -> Result<Loss> {
        let net = self.network(task);
        let (x1, obs) = (task.x1(b.graph)?, task.obs(b.graph)?);
        let eps = task.columns(b.graph, "eps", self.latent_dim)?;
        let [mean, log_variance] = net.posterior(b, obs, x1)?;
        let g = &mut *b.graph;
        let half = g.affine(log_variance, 0.5, 0.0)?;
        let sd = g.map(Activation::Exp, half)?;
        let spread = g.mul(sd, eps)?;
        let latent = g.add(mean, spread)?;
        let y = net.decode(b, latent, obs, None)?;
        let g = &mut *b.graph;
        let error = g.sub(y, x1)?;
        let error = g.map(Activation::Abs, error)?;
        let counts = task.counts(g)?;
        let error = ops::counted(g, error, counts)?;
        let error = ops::mean(g, error)?;
        // A value counts by the root of its weight, which is right for squares; here it is to count by the weight itself.
        let error = g.affine(error, task.masked.unwrap_or(1.0), 0.0)?;
        let kl = divergence(g, mean, log_variance)?;
        let value = g.axpby(1.0, error, self.kl_weight, kl)?;
        Ok(Loss { value, parts: vec![("l1", error), ("kl", kl)] })
    }

    /// Evaluated once, whatever is asked for.
    fn sampling(&self, _: Solver, _: &Task) -> std::result::Result<Sampling, ObjectiveError> {
        let clock = vec![vec![0.0]];
        Ok(Sampling::Steps(Steps { solver: Solver::euler(1), clock, noise: 0 }))
    }

    fn step(&self, b: &mut Builder<'_>, _: &dyn Net, task: &Task, s: &State) -> Result<Value> {
        let rows = b.graph.shape(s.x).rows();
        let latent = b.graph.zeros(Shape::matrix(rows, self.latent_dim))?;
        self.network(task).decode(b, latent, s.obs, None)
    }
}
