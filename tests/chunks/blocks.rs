//! Batches larger than the device takes at once: the same chunks, block after block.

use crate::common::{gpu, gpu_with};
use crate::toy::{apart, bits, config, keys, observations, policy};
use advect::bench::Workload;
use advect::device::{Device, GpuOptions};
use advect::flow::field::{Field, FnField};
use advect::flow::integrator::{NoiseKey, Start};
use advect::flow::{Batch, IntegrateOptions, Integrator, Solver};
use advect::graph::{Fusion, Graph, ParamLayout, Value};
use advect::policy::{Noise, SamplerOptions};

/// The adapter as one that binds no more than 64 KiB.
fn small() -> Option<Device> {
    gpu_with(&binding(1 << 16))
}

fn integrator(
    device: &Device,
    field: &dyn Field,
    solver: &str,
    batch: Batch,
    options: &IntegrateOptions<'_>,
) -> Integrator {
    let solver: Solver = solver.parse().unwrap();
    let mut flow = Integrator::new(device, field, &ParamLayout::default(), solver, batch, options).unwrap();
    flow.set_params(&[]).unwrap();
    flow
}

/// da/dt = request - t a: nothing that rounds otherwise in another batch.
struct Towards;

const DIM: usize = 7;

impl Field for Towards {
    fn dim(&self) -> usize {
        DIM
    }

    fn request(&self) -> Vec<(&'static str, usize)> {
        vec![("goal", DIM)]
    }

    fn velocity(
        &self,
        g: &mut Graph,
        state: Value,
        time: Value,
        request: &[Value],
    ) -> advect::graph::Result<Value> {
        let rows = g.shape(state).rows() / g.shape(request[0]).rows();
        let goal = g.repeat_rows(request[0], rows)?;
        let pull = g.mul(state, time)?;
        g.sub(goal, pull)
    }
}

/// One request; many with a sample each; many with several; and a few with more samples than fit.
const BATCHES: [Batch; 4] = [
    Batch { requests: 1, samples: 5001 },
    Batch { requests: 5003, samples: 1 },
    Batch { requests: 701, samples: 7 },
    Batch { requests: 2, samples: 2501 },
];

#[test]
fn every_start_is_the_same_in_blocks() {
    let (Some(whole), Some(small)) = (gpu(), small()) else { return };
    for batch in BATCHES {
        let keys: Vec<NoiseKey> =
            (0..batch.requests as u64).map(|r| NoiseKey { seed: 3 + r * r, request: r << 33 }).collect();
        let given: Vec<f32> = (0..batch.rows() * DIM).map(|i| (0.37 * i as f32).sin()).collect();
        let goals: Vec<f32> = (0..batch.requests * DIM).map(|i| (0.11 * i as f32).cos()).collect();
        let starts =
            [Start::Noise { seed: 9, request: (7 << 32) + 1 }, Start::Keys(&keys), Start::Given(&given)];
        for (solver, trajectory) in [("heun:3", false), ("euler:2", true), ("bosh3:1e-3", false)] {
            let options = IntegrateOptions { trajectory, ..IntegrateOptions::default() };
            let mut flows = [&whole, &small].map(|d| integrator(d, &Towards, solver, batch, &options));
            assert_eq!(flows[0].block(), batch);
            assert!(flows[1].block().rows() < batch.rows(), "{batch:?}: {:?}", flows[1].block());
            for start in starts {
                let [one, blocks] = flows.each_mut().map(|flow| {
                    let mut out = vec![f32::NAN; batch.rows() * DIM];
                    let mut path = vec![f32::NAN; if trajectory { 3 * batch.rows() * DIM } else { 0 }];
                    let keep = Some(&mut path[..]).filter(|_| trajectory);
                    flow.run(start, &[&goals], &mut out, keep).unwrap();
                    [bits(&out), bits(&path)]
                });
                // A request's samples that lie in several blocks have their noise from the host, up to 2e-6 apart.
                let host = batch.requests == 2 && matches!(start, Start::Keys(_));
                let name = format!("{solver} {batch:?} {:?}", std::mem::discriminant(&start));
                for (one, blocks) in one.iter().zip(&blocks) {
                    let values = |bits: &[u32]| bits.iter().map(|b| f32::from_bits(*b)).collect::<Vec<_>>();
                    let apart = apart(&values(one), &values(blocks));
                    assert!(apart <= if host { 1e-5 } else { 0.0 }, "{name}: {apart:e}");
                }
            }
        }
    }
}

#[test]
fn a_policy_samples_more_than_fits() {
    let (Some(whole), Some(small)) = (gpu(), small()) else { return };
    let policy = policy(&config(), 20);
    let chunk = policy.spec.chunk();
    for [robots, samples] in [[1, 2000], [2000, 1], [400, 5]] {
        let options = SamplerOptions { fusion: Fusion::Layers, ..SamplerOptions::default() };
        let (obs, keys) = (observations(robots), keys(robots, 3));
        for noise in [Noise::Seed { seed: 1, request: 2 }, Noise::PerObservation(&keys)] {
            let [one, blocks] = [&whole, &small].map(|device| {
                let mut sampler = policy.sampler(device, robots, samples, &options).unwrap();
                let mut chunks = vec![f32::NAN; robots * samples * chunk];
                sampler.sample(&obs, noise, &mut chunks).unwrap();
                let mut again = vec![f32::NAN; chunks.len()];
                sampler.sample(&obs, noise, &mut again).unwrap();
                assert_eq!(bits(&chunks), bits(&again), "the same request twice is bit-equal");
                chunks
            });
            let apart = apart(&one, &blocks);
            assert!(apart < 1e-5, "{robots} x {samples}: {apart:e}");
        }
    }
}

#[test]
fn the_networks_of_the_bench_run_in_blocks() {
    let (Some(whole), Some(small)) = (gpu(), gpu_with(&binding(1 << 20))) else { return };
    let (workload, batch) = (Workload::Mlp256, Batch { requests: 1500, samples: 1 });
    let store = workload.parameters(1).unwrap();
    let goals: Vec<f32> = (0..1500 * workload.request_dim()).map(|i| (0.11 * i as f32).cos()).collect();
    for fusion in [Fusion::Layers, Fusion::Rows] {
        let options = IntegrateOptions { fusion, ..IntegrateOptions::default() };
        let [one, blocks] = [&whole, &small].map(|device| {
            let mut flow =
                Integrator::new(device, &workload, &store.layout, Solver::euler(2), batch, &options).unwrap();
            flow.set_params(&store.values).unwrap();
            let mut out = vec![f32::NAN; batch.rows() * flow.output_cols()];
            flow.run(Start::Noise { seed: 1, request: 2 }, &[&goals], &mut out, None).unwrap();
            (out, flow.block().rows())
        });
        assert!(apart(&one.0, &blocks.0) < 1e-5, "{fusion:?}");
        assert!(fusion == Fusion::Rows || blocks.1 < one.1, "{fusion:?}: blocks of {}", blocks.1);
    }
}

#[test]
fn what_no_block_mends_is_an_error() {
    let Some(small) = small() else { return };
    // One row of 20,000 columns is more than a binding.
    let still = FnField::new(20_000, |g, state, _| g.affine(state, 0.0, 0.0));
    let batch = Batch { requests: 64, samples: 1 };
    let options = IntegrateOptions::default();
    let made = Integrator::new(&small, &still, &ParamLayout::default(), Solver::euler(1), batch, &options);
    let error = made.err().expect("nothing fits").to_string();
    assert!(error.contains("needs 80000") && error.contains("limit is 65536"), "{error}");
}

fn binding(bytes: u64) -> GpuOptions {
    let mut options = GpuOptions::default();
    options.binding_bytes = Some(bytes);
    options
}
