//! Fused sampling: the same chunks as layer by layer, by one dispatch in one submit, and the same bits every time.

use crate::common::devices;
use advect::device::Device;
use advect::flow::integrator::Start;
use advect::flow::{Batch, Field, IntegrateOptions, Integrator, Solver};
use advect::graph::{Fusion, Graph, Precision, Shape, Value};
use advect::kernel::math::Activation;
use advect::nn::mlp::Mlp;
use advect::nn::residual::Residual;
use advect::nn::{Builder, Conditioning, Inputs, NetworkSpec, ParamStore, TimeInput};

/// A conditioned velocity network over chunks of 12: an MLP, or (of width hidden[0]) blocks with norms and skips.
struct Small {
    hidden: Vec<usize>,
    conditioning: Conditioning,
    blocks: usize,
}

const DIM: usize = 12;
const OBS: usize = 5;

impl Field for Small {
    fn dim(&self) -> usize {
        DIM
    }

    fn request(&self) -> Vec<(&'static str, usize)> {
        vec![("obs", OBS)]
    }

    fn velocity(&self, g: &mut Graph, a: Value, t: Value, request: &[Value]) -> advect::graph::Result<Value> {
        let inputs = Inputs { a, t, interval: None, z: request[0], horizon: 6, action_dim: 2, history: 1 };
        self.network().velocity(&mut Builder::new(g), &inputs)
    }
}

impl Small {
    fn network(&self) -> NetworkSpec {
        let time = TimeInput::Sinusoidal { dim: 8, scale: 99.0, max_period: 1e4 };
        if self.blocks > 0 {
            return NetworkSpec::Residual(Residual {
                width: self.hidden[0],
                blocks: self.blocks,
                activation: Activation::Silu,
                time,
                conditioning: self.conditioning,
            });
        }
        NetworkSpec::Mlp(Mlp {
            hidden: self.hidden.clone(),
            activation: Activation::Silu,
            time,
            conditioning: self.conditioning,
        })
    }

    fn parameters(&self) -> ParamStore {
        let mut g = Graph::new();
        let a = g.input("a", Shape::matrix(1, DIM)).unwrap();
        let t = g.input("t", Shape::matrix(1, 1)).unwrap();
        let z = g.input("z", Shape::matrix(1, OBS)).unwrap();
        let mut builder = Builder::new(&mut g);
        let inputs = Inputs { a, t, interval: None, z, horizon: 6, action_dim: 2, history: 1 };
        self.network().velocity(&mut builder, &inputs).unwrap();
        ParamStore::init(&builder.params, 3)
    }
}

fn integrator(device: &Device, field: &Small, solver: Solver, batch: Batch, fusion: Fusion) -> Integrator {
    stored(device, field, solver, batch, (fusion, Precision::F32))
}

fn stored(
    device: &Device,
    field: &Small,
    solver: Solver,
    batch: Batch,
    (fusion, precision): (Fusion, Precision),
) -> Integrator {
    let store = field.parameters();
    let options = IntegrateOptions { fusion, precision, ..IntegrateOptions::default() };
    let mut integrator = Integrator::new(device, field, &store.layout, solver, batch, &options).unwrap();
    integrator.set_params(&store.values).unwrap();
    integrator
}

fn run(integrator: &mut Integrator, request: u64) -> Vec<f32> {
    let batch = integrator.batch();
    let obs: Vec<f32> = (0..batch.requests * OBS).map(|i| (i as f32 * 0.37).sin()).collect();
    let mut out = vec![f32::NAN; batch.rows() * DIM];
    integrator.run(Start::Noise { seed: 5, request }, &[&obs], &mut out, None).unwrap();
    out
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let (mut diff, mut norm) = (0.0f64, 0.0f64);
    for (a, b) in a.iter().zip(b) {
        assert!(a.is_finite() && b.is_finite());
        diff += f64::from(a - b).powi(2);
        norm += f64::from(*b).powi(2);
    }
    (diff / norm).sqrt()
}

fn steps(integrator: &Integrator) -> Vec<&'static str> {
    let plan = integrator.plan();
    let range = plan.phases[plan.phase("steps").unwrap()].range.clone();
    plan.commands[range].iter().map(|c| c.kernel.name).collect()
}

#[test]
fn a_fused_plan_gives_the_chunks_of_the_layered_one() {
    for device in devices() {
        for blocks in [0, 2] {
            let field = Small { hidden: vec![48, 31, 48], conditioning: Conditioning::Concat, blocks };
            for solver in ["euler:3", "midpoint:2", "heun:2", "rk4:2"] {
                let solver: Solver = solver.parse().unwrap();
                for [requests, samples] in [[1, 1], [1, 37], [3, 1], [5, 7]] {
                    let batch = Batch { requests, samples };
                    let mut layered = integrator(&device, &field, solver, batch, Fusion::Layers);
                    let want = run(&mut layered, 4);
                    for fusion in [Fusion::Rows, Fusion::Latency] {
                        let mut fused = integrator(&device, &field, solver, batch, fusion);
                        let name = if fusion == Fusion::Rows { "ode_rows" } else { "ode_latency" };
                        assert_eq!(steps(&fused), [name], "{solver} {batch:?}");
                        let got = run(&mut fused, 4);
                        let apart = distance(&got, &want);
                        assert!(apart < 2e-6, "{solver} {batch:?} {fusion:?}: {apart:e}");
                        assert_eq!(got, run(&mut fused, 4), "the same request twice is bit-equal");
                        assert_ne!(got, run(&mut fused, 5));
                    }
                }
            }
        }
    }
}

#[test]
fn new_weights_are_packed_anew() {
    for device in devices() {
        let field = Small { hidden: vec![16], conditioning: Conditioning::Concat, blocks: 0 };
        let batch = Batch { requests: 1, samples: 9 };
        let mut fused = integrator(&device, &field, Solver::euler(2), batch, Fusion::Rows);
        let mut layered = integrator(&device, &field, Solver::euler(2), batch, Fusion::Layers);
        let before = run(&mut fused, 1);
        let half: Vec<f32> = field.parameters().values.iter().map(|v| 0.5 * v).collect();
        fused.set_params(&half).unwrap();
        layered.set_params(&half).unwrap();
        let after = run(&mut fused, 1);
        assert_ne!(before, after);
        assert!(distance(&after, &run(&mut layered, 1)) < 2e-6);
    }
}

#[test]
fn a_pass_is_one_dispatch_for_all_steps_and_one_submit() {
    for device in devices().iter().filter(|d| d.gpu().is_some()) {
        let field = Small { hidden: vec![32; 3], conditioning: Conditioning::Concat, blocks: 0 };
        for fusion in [Fusion::Rows, Fusion::Latency] {
            let batch = Batch { requests: 1, samples: 4 };
            let counts = [2, 20].map(|n| {
                let mut fused = integrator(device, &field, Solver::euler(n), batch, fusion);
                run(&mut fused, 0);
                let before = fused.counters();
                run(&mut fused, 1);
                let counts = fused.counters().since(&before);
                assert_eq!(counts.submits, 1);
                assert_eq!((counts.buffers_created, counts.pipelines_created), (0, 0));
                counts.dispatches
            });
            assert_eq!(counts[0], counts[1], "the number of steps does not matter");
        }
    }
}

#[test]
fn what_cannot_be_fused_runs_layer_by_layer() {
    for device in devices() {
        let batch = Batch { requests: 1, samples: 2 };
        // Wider than any chip, and scaled features, which no product's epilogue computes.
        for field in [
            Small { hidden: vec![3000], conditioning: Conditioning::Concat, blocks: 0 },
            Small { hidden: vec![16], conditioning: Conditioning::Film, blocks: 0 },
        ] {
            let asked = integrator(&device, &field, Solver::euler(2), batch, Fusion::Rows);
            let layered = integrator(&device, &field, Solver::euler(2), batch, Fusion::Layers);
            assert_eq!(steps(&asked), steps(&layered));
            assert!(!steps(&asked).contains(&"ode_rows"));
        }
    }
}

#[test]
fn half_precision_weights_move_the_chunks_by_their_rounding() {
    for device in devices() {
        let field = Small { hidden: vec![48, 31, 48], conditioning: Conditioning::Concat, blocks: 0 };
        for samples in [1, 3, 9] {
            let batch = Batch { requests: 1, samples };
            for fusion in [Fusion::Layers, Fusion::Rows, Fusion::Latency] {
                let mut single = stored(&device, &field, Solver::euler(3), batch, (fusion, Precision::F32));
                let mut half = stored(&device, &field, Solver::euler(3), batch, (fusion, Precision::F16));
                let names = steps(&half);
                let reads_halves = match fusion {
                    Fusion::Layers => names.contains(&"matmul_half"),
                    _ => names == steps(&single),
                };
                assert!(reads_halves, "{fusion:?}: {names:?}");
                let apart = distance(&run(&mut half, 2), &run(&mut single, 2));
                // A weight is off by up to 2^-11 of itself.
                assert!((1e-7..1e-3).contains(&apart), "{fusion:?} of {samples}: {apart:e}");
            }
        }
    }
}
