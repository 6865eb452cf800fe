//! The networks that are measured, by name.

use super::BenchError;
use crate::flow::{Field, Solver};
use crate::graph::lower::lower;
use crate::graph::{Graph, ParamLayout, Program, Result, Shape, Value};
use crate::kernel::math::Activation;
use crate::kernel::{Target, View, philox};
use crate::nn::mlp::Mlp;
use crate::nn::transformer::Transformer;
use crate::nn::unet1d::Unet1d;
use crate::nn::{Builder, Conditioning, Inputs, NetworkSpec, ParamStore, TimeInput};
use std::str::FromStr;

/// Actions in a chunk.
pub const HORIZON: usize = 16;
/// Numbers in an action.
pub const ACTION_DIM: usize = 2;
/// Numbers in a chunk: the state of the flow.
pub const STATE_DIM: usize = HORIZON * ACTION_DIM;
/// Spread of parameters that training starts at zero.
const SMALL: f32 = 0.02;
/// Numbers in an observation.
pub const OBS_DIM: usize = 20;

/// A network to measure, over a chunk of 32 and observations of 20. The MLPs have three hidden layers and SiLU over
/// [chunk; time; observation] with a time embedding of 64; the U-Net is diffusion policy's for low-dimensional Push-T.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Hidden layers of 256.
    Mlp256,
    /// Hidden layers of 512.
    Mlp512,
    /// Channels of 256, 512 and 1024, kernel 5, step embedding of 128.
    Unet1d,
    /// A diffusion transformer of width 512, six layers, eight heads over 16 action tokens, the observation by conditioning.
    Transformer,
}

impl Workload {
    /// All of them: to add one, add it here and in `name` and `network`.
    pub const ALL: &'static [Workload] =
        &[Workload::Mlp256, Workload::Mlp512, Workload::Unet1d, Workload::Transformer];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Mlp256 => "mlp256",
            Workload::Mlp512 => "mlp512",
            Workload::Unet1d => "unet1d",
            Workload::Transformer => "transformer",
        }
    }

    /// Observations that it is conditioned on.
    pub fn history(self) -> usize {
        match self {
            Workload::Mlp256 | Workload::Mlp512 | Workload::Transformer => 1,
            Workload::Unet1d => 2,
        }
    }

    /// Numbers in a request: its observations side by side.
    pub fn request_dim(self) -> usize {
        self.history() * OBS_DIM
    }

    /// Its network.
    pub fn network(self) -> NetworkSpec {
        let time = TimeInput::Sinusoidal { dim: 64, scale: 99.0, max_period: 1e4 };
        let width = match self {
            Workload::Mlp256 => 256,
            Workload::Mlp512 => 512,
            Workload::Unet1d => {
                return NetworkSpec::Unet1d(Unet1d {
                    down_dims: vec![256, 512, 1024],
                    kernel_size: 5,
                    groups: 8,
                    final_groups: 8,
                    time: TimeInput::Sinusoidal { dim: 128, scale: 99.0, max_period: 1e4 },
                    film_scale: true,
                });
            }
            Workload::Transformer => {
                return NetworkSpec::Transformer(Transformer { time, ..Transformer::default() });
            }
        };
        NetworkSpec::Mlp(Mlp {
            hidden: vec![width; 3],
            activation: Activation::Silu,
            time,
            conditioning: Conditioning::Concat,
        })
    }

    /// The velocity of one chunk and its parameters.
    fn graph(self) -> Result<(Graph, Value, Vec<crate::nn::ParamSpec>)> {
        let mut graph = Graph::new();
        let a = graph.input("a", Shape::matrix(1, STATE_DIM))?;
        let t = graph.input("t", Shape::matrix(1, 1))?;
        let z = graph.input("z", Shape::matrix(1, self.request_dim()))?;
        let mut builder = Builder::new(&mut graph);
        let v = self.network().velocity(&mut builder, &self.inputs(a, t, z))?;
        let params = builder.params;
        Ok((graph, v, params))
    }

    /// Random parameters: the same seed gives the same everywhere. What training starts at zero (a transformer's gates and its
    /// last layer) is random too: else the velocity would be nothing, whatever is computed.
    pub fn parameters(self, seed: u64) -> Result<ParamStore> {
        let mut store = ParamStore::init(&self.graph()?.2, seed);
        let layout = store.layout.clone();
        for (i, info) in layout.iter().enumerate() {
            let values = &mut store.values[info.offset..info.offset + info.shape.len()];
            if values.iter().all(|v| *v == 0.0) {
                philox::fill_normal(seed, i as u32, u64::MAX, 0, values);
                values.iter_mut().for_each(|v| *v *= SMALL);
            }
        }
        Ok(store)
    }

    /// Nominal operations of evaluating one chunk: its products as the network is written, nothing computed ahead.
    pub fn operations(self) -> Result<f64> {
        let (graph, v, _) = self.graph()?;
        let layout = ParamLayout::of(&graph);
        let mut program = Program::new(Target::CPU);
        let params = program.resident("params", layout.len())?;
        let [a, t, z] = [
            program.resident("a", STATE_DIM)?,
            program.resident("t", 1)?,
            program.resident("z", self.request_dim())?,
        ];
        let out = program.resident("out", STATE_DIM)?;
        let outputs = [(v, (out, View::dense(0, STATE_DIM)))];
        lower(&mut program, &graph, (&layout, params), &[("a", a), ("t", t), ("z", z)], &outputs)?;
        Ok(program.finish()?.flops)
    }

    /// Nominal operations of sampling `batch` chunks; none for adaptive solvers.
    pub fn sampling_operations(self, batch: usize, solver: &Solver) -> Result<Option<f64>> {
        let per_evaluation = self.operations()? * batch as f64;
        Ok(solver.evaluations().map(|n| per_evaluation * n as f64))
    }

    /// Nominal operations of a training step: forward, and twice that backward.
    pub fn training_operations(self, batch: usize) -> Result<f64> {
        Ok(3.0 * self.operations()? * batch as f64)
    }

    /// A chunk and its observations.
    fn inputs(self, a: Value, t: Value, z: Value) -> Inputs {
        Inputs { a, t, interval: None, z, horizon: HORIZON, action_dim: ACTION_DIM, history: self.history() }
    }
}

impl FromStr for Workload {
    type Err = BenchError;

    fn from_str(text: &str) -> std::result::Result<Workload, BenchError> {
        Workload::ALL.iter().find(|w| w.name() == text).copied().ok_or_else(|| BenchError::Workload {
            found: text.into(),
            needed: Workload::ALL.iter().map(|w| w.name()).collect::<Vec<_>>().join(" or "),
        })
    }
}

impl Field for Workload {
    fn dim(&self) -> usize {
        STATE_DIM
    }

    fn request(&self) -> Vec<(&'static str, usize)> {
        vec![("obs", self.request_dim())]
    }

    fn velocity(&self, g: &mut Graph, state: Value, time: Value, request: &[Value]) -> Result<Value> {
        self.network().velocity(&mut Builder::new(g), &self.inputs(state, time, request[0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `unet.py` among the peers has it: parameters, and `flow.operations`.
    const UNET: (usize, f64) = (63_554_434, 586_104_832.0);

    #[test]
    fn nominal_work_is_the_matrices() {
        let of = |width: usize| (32 + 64 + 20) * width + 2 * width * width + width * 32;
        let operations = |w: Workload| w.operations().unwrap();
        assert_eq!(operations(Workload::Mlp256), 2.0 * of(256) as f64);
        assert_eq!(operations(Workload::Mlp512), 2.0 * of(512) as f64);
        // What PyTorch's modules count: weights times steps of every convolution, and the linear layers.
        let parameters = Workload::Unet1d.parameters(0).unwrap().layout.count();
        assert_eq!((parameters, operations(Workload::Unet1d)), UNET);
        let solver = Solver::euler(10);
        let ops = Workload::Mlp256.sampling_operations(64, &solver).unwrap();
        assert_eq!(ops, Some(2.0 * of(256) as f64 * 64.0 * 10.0));
        // Per token: 512 x (1536 + 512 + 2 x 2048) in six blocks, in and out; per chunk: the rest.
        let (w, tokens) = (512, 16);
        let token = 6 * w * (4 * w + 8 * w) + 2 * 2 * w;
        let chunk = (64 + w) * w + 20 * w + (6 * 6 + 2) * w * w;
        let attention = 6 * 2 * tokens * tokens * w;
        let want = 2.0 * (tokens * token + chunk + attention) as f64;
        assert_eq!(Workload::Transformer.operations().unwrap(), want);
        let adaptive = "dopri5:1e-5".parse().unwrap();
        assert_eq!(Workload::Mlp256.sampling_operations(64, &adaptive).unwrap(), None);
    }

    #[test]
    fn names_read_back() {
        for workload in Workload::ALL {
            assert_eq!(workload.name().parse::<Workload>().unwrap(), *workload);
        }
        let error = "mlp".parse::<Workload>().unwrap_err().to_string();
        assert!(error.contains("mlp256 or mlp512 or unet1d or transformer"), "{error}");
    }
}
