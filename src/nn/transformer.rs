//! A diffusion transformer over action tokens: DiT's blocks with adaptive layer norm (Peebles & Xie 2022) and rotary positions,
//! as in LeRobot's multi_task_dit, whose parameter names it mostly keeps.

use super::attention::Heads;
use super::{Builder, Init, Inputs, SizeError, TimeInput};
use crate::graph::error::shape_error;
use crate::graph::{Result, Shape, Value};
use crate::kernel::math::Activation;
use serde::{Deserialize, Serialize};

/// How the observation enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// Projected and added to the time's embedding, from which the adaptive norms are computed.
    Conditioning,
    /// A token for each step of the history, to which every block attends.
    CrossAttention,
}

/// Blocks h += gate attention(modulated norm(h)), (cross-attention,) h += gate mlp(modulated norm(h)), where gates, shifts
/// and scales are linear in silu(c), and start at zero (adaLN-zero); c is the embedded time, with the observation or without.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Transformer {
    /// Columns of a token.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Heads of every attention; the width is an even multiple of them.
    pub heads: usize,
    /// Columns between the two layers of the MLP, as a multiple of the width.
    pub mlp_ratio: usize,
    /// The time's embedding.
    pub time: TimeInput,
    /// Base of the rotary embedding.
    pub rope_base: f64,
    /// How the observation enters.
    pub observation: Observation,
}

impl Default for Transformer {
    /// Width 512, 6 layers, 8 heads, MLP ratio 4, observation by conditioning.
    fn default() -> Transformer {
        Transformer {
            width: 512,
            layers: 6,
            heads: 8,
            mlp_ratio: 4,
            time: TimeInput::Sinusoidal { dim: 256, scale: 99.0, max_period: 1e4 },
            rope_base: 1e4,
            observation: Observation::Conditioning,
        }
    }
}

/// Added to the variance in every norm, as DiT does.
const EPS: f32 = 1e-6;

impl Transformer {
    /// Checks widths, heads and numbers of layers.
    pub(super) fn check(&self) -> std::result::Result<(), SizeError> {
        super::layers("network.width", &[self.width])?;
        super::size("network.layers", self.layers, 0, super::MOST_LAYERS)?;
        super::size("network.heads", self.heads, 1, (self.width / 2).max(1))?;
        let step = 2 * self.heads;
        let fitting = self.width.next_multiple_of(step);
        super::size("network.width as an even multiple of network.heads", self.width, fitting, fitting)?;
        let most = super::MOST_COLUMNS / self.width;
        super::size("network.mlp_ratio", self.mlp_ratio, 1, most.max(1))?;
        super::number("network.rope_base", self.rope_base, 1.0, 1e12)
    }

    /// v(a, t, z); shapes as [`super::NetworkSpec::velocity`].
    pub fn velocity(&self, b: &mut Builder<'_>, x: &Inputs) -> Result<Value> {
        let (rows, width) = (b.graph.shape(x.a).rows(), self.width);
        let tokens = rows * x.horizon;
        let a = b.graph.reshape(x.a, Shape::matrix(tokens, x.action_dim))?;
        let mut h = b.linear("input_proj", a, width)?;
        let mut c = self.time(b, x)?;
        let memory = match self.observation {
            Observation::Conditioning => {
                let z = b.linear("observation_proj", x.z, width)?;
                c = sum(b, c, z)?;
                None
            }
            Observation::CrossAttention => Some(self.memory(b, x)?),
        };
        let c = b.activate(Activation::Silu, c)?;
        let heads = Heads { count: self.heads, causal: false, rope: Some(self.rope_base) };
        for i in 0..self.layers {
            let name = format!("transformer_blocks.{i}");
            let parts = if memory.is_some() { 9 } else { 6 };
            let mut adaptive =
                Adaptive::new(b, &format!("{name}.adaLN_modulation.1"), [c, h], parts * width)?;
            let y = adaptive.norm(b, h)?;
            let y = b.attention(&format!("{name}.attn"), [y; 3], [x.horizon; 2], heads)?;
            h = adaptive.gated(b, y, h)?;
            if let Some(memory) = memory {
                let y = adaptive.norm(b, h)?;
                let across = [x.horizon, x.history];
                let heads = Heads::plain(self.heads);
                let y = b.attention(&format!("{name}.cross_attn"), [y, memory, memory], across, heads)?;
                h = adaptive.gated(b, y, h)?;
            }
            let y = adaptive.norm(b, h)?;
            let y = b.linear(&format!("{name}.mlp.0"), y, self.mlp_ratio * width)?;
            let y = b.activate(Activation::GeluTanh, y)?;
            let y = b.linear(&format!("{name}.mlp.2"), y, width)?;
            h = adaptive.gated(b, y, h)?;
        }
        let mut last = Adaptive::new(b, "final_layer.adaLN_modulation.1", [c, h], 2 * width)?;
        let h = last.norm(b, h)?;
        let v = b.linear("output_proj", h, x.action_dim)?;
        b.graph.reshape(v, Shape::matrix(rows, x.horizon * x.action_dim))
    }

    /// The embedded time: one row, one per sample, or one per action.
    fn time(&self, b: &mut Builder<'_>, x: &Inputs) -> Result<Value> {
        let (rows, shape) = (b.graph.shape(x.a).rows(), b.graph.shape(x.t));
        let t = match (shape.rows(), shape.cols()) {
            (1, 1) => x.t,
            (r, 1) if r == rows => x.t,
            (r, c) if r == rows && c == x.horizon => b.graph.reshape(x.t, Shape::matrix(rows * c, 1))?,
            _ => {
                return Err(shape_error(
                    "transformer",
                    &[shape],
                    "times [1, 1], [rows, 1] or [rows, horizon]",
                ));
            }
        };
        let e = self.time.apply(b, t)?;
        let e = self.time.with_interval(b, e, x.interval)?;
        let e = b.linear("time_mlp.0", e, self.width)?;
        let e = b.activate(Activation::Silu, e)?;
        b.linear("time_mlp.2", e, self.width)
    }

    /// The observation's tokens [rows of z * history, width].
    fn memory(&self, b: &mut Builder<'_>, x: &Inputs) -> Result<Value> {
        let (z, width) = (b.graph.shape(x.z), self.width);
        let tokens = z.rows() * x.history;
        let each = b.graph.reshape(x.z, Shape::matrix(tokens, z.cols() / x.history.max(1)))?;
        let each = b.linear("observation_proj", each, width)?;
        let positions = b.param("observation_pos".into(), &[x.history, width], Init::Normal(0.02))?;
        let positions = b.graph.reshape(positions, Shape::matrix(1, x.history * width))?;
        let together = b.graph.reshape(each, Shape::matrix(z.rows(), x.history * width))?;
        let together = b.graph.add(together, positions)?;
        b.graph.reshape(together, Shape::matrix(tokens, width))
    }
}

/// a + b, the one with fewer rows repeated.
fn sum(b: &mut Builder<'_>, x: Value, y: Value) -> Result<Value> {
    let rows = [x, y].map(|v| b.graph.shape(v).rows());
    if rows.contains(&1) {
        return b.graph.add(x, y);
    }
    let most = rows[0].max(rows[1]);
    let (x, y) = (b.rows(x, most)?, b.rows(y, most)?);
    b.graph.add(x, y)
}

/// A block's shifts, scales and gates, taken in the order of their use.
struct Adaptive {
    all: Value,
    width: usize,
    tokens: usize,
    next: usize,
}

impl Adaptive {
    /// `cols` columns of shifts, scales and gates for the tokens of h, linear in c; zero at the start.
    fn new(b: &mut Builder<'_>, name: &str, [c, h]: [Value; 2], cols: usize) -> Result<Adaptive> {
        let (condition, tokens) = (b.graph.shape(c).cols(), b.graph.shape(h));
        let w = b.param(format!("{name}.weight"), &[cols, condition], Init::Zeros)?;
        let bias = b.param(format!("{name}.bias"), &[cols], Init::Zeros)?;
        let all = b.graph.linear(c, w, Some(bias))?;
        Ok(Adaptive { all, width: tokens.cols(), tokens: tokens.rows(), next: 0 })
    }

    fn take(&mut self, b: &mut Builder<'_>, plus: f32) -> Result<Value> {
        let part = b.graph.slice(self.all, self.next * self.width, self.width)?;
        self.next += 1;
        let part = if plus == 0.0 { part } else { b.graph.affine(part, 1.0, plus)? };
        b.rows(part, self.tokens)
    }

    /// norm(h) (1 + scale) + shift.
    fn norm(&mut self, b: &mut Builder<'_>, h: Value) -> Result<Value> {
        let (shift, scale) = (self.take(b, 0.0)?, self.take(b, 1.0)?);
        let x = b.graph.layer_norm(h, None, None, EPS)?;
        b.graph.fma(x, scale, shift)
    }

    /// h + gate y.
    fn gated(&mut self, b: &mut Builder<'_>, y: Value, h: Value) -> Result<Value> {
        let gate = self.take(b, 0.0)?;
        b.graph.fma(y, gate, h)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, GraphError};
    use crate::nn::NetworkSpec;

    #[test]
    fn sizes_that_do_not_fit_are_refused_by_name() {
        let check = |t: Transformer| NetworkSpec::Transformer(t).check().map_err(|e| e.to_string());
        assert_eq!(check(Transformer::default()), Ok(()));
        let refused = [
            (Transformer { width: 0, ..Default::default() }, "network.width: found 0"),
            (Transformer { heads: 0, ..Default::default() }, "network.heads: found 0"),
            (Transformer { heads: 7, ..Default::default() }, "an even multiple of network.heads: found 512"),
            (Transformer { heads: 256, width: 256, ..Default::default() }, "network.heads: found 256"),
            (Transformer { mlp_ratio: 0, ..Default::default() }, "network.mlp_ratio: found 0"),
            (
                Transformer {
                    time: TimeInput::Period { dim: 0, min_period: 1.0, max_period: 2.0 },
                    ..Default::default()
                },
                "network.time.dim: found 0",
            ),
        ];
        for (spec, needed) in refused {
            let found = check(spec).unwrap_err();
            assert!(found.contains(needed), "{found} has no {needed:?}");
        }
    }

    #[test]
    fn files_state_every_setting_and_people_those_that_they_mean() {
        let spec = NetworkSpec::Transformer(Transformer::default());
        let text = serde_json::to_string(&spec).unwrap();
        assert!(text.contains(r#""kind":"transformer""#) && text.contains(r#""observation":"conditioning""#));
        assert_eq!(serde_json::from_str::<NetworkSpec>(&text).unwrap(), spec);
        let short = r#"{"kind":"transformer","layers":2,"time":{"kind":"sinusoidal","dim":256}}"#;
        let want = NetworkSpec::Transformer(Transformer { layers: 2, ..Transformer::default() });
        assert_eq!(serde_json::from_str::<NetworkSpec>(short).unwrap(), want);
        for kind in ["mlp", "residual", "unet1d"] {
            let text = format!(r#"{{"kind":{kind:?}}}"#);
            assert_eq!(serde_json::from_str::<NetworkSpec>(&text).unwrap().name(), kind);
        }
        let unknown = text.replace("rope_base", "rope_bass");
        assert!(serde_json::from_str::<NetworkSpec>(&unknown).unwrap_err().to_string().contains("rope_bass"));
    }

    #[test]
    fn times_are_one_for_all_one_for_each_chunk_or_one_for_each_action() {
        let velocity = |rows: usize, cols: usize| {
            let mut g = Graph::new();
            let a = g.input("a", Shape::matrix(6, 8)).unwrap();
            let t = g.input("t", Shape::matrix(rows, cols)).unwrap();
            let z = g.input("z", Shape::matrix(3, 5)).unwrap();
            let small = Transformer { width: 8, layers: 1, heads: 2, ..Default::default() };
            let inputs = Inputs { a, t, interval: None, z, horizon: 4, action_dim: 2, history: 1 };
            let v = small.velocity(&mut Builder::new(&mut g), &inputs)?;
            Ok::<_, GraphError>(g.shape(v))
        };
        for [rows, cols] in [[1, 1], [6, 1], [6, 4]] {
            assert_eq!(velocity(rows, cols).unwrap(), Shape::matrix(6, 8), "{rows} x {cols}");
        }
        for [rows, cols] in [[2, 1], [6, 3], [1, 4]] {
            assert!(matches!(velocity(rows, cols), Err(GraphError::Shape { .. })), "{rows} x {cols}");
        }
    }
}
