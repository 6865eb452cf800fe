//! Couplings in training: pairs come closer, no noise is lost, the same seed is the same run, stopped or not, on the CPU and
//! through WGSL.

use crate::common::{cpu, devices};
use advect::data::{EpisodeArrays, Episodes};
use advect::device::Device;
use advect::flow::Coupling;
use advect::flow::coupling::sinkhorn::Problem;
use advect::flow::coupling::{BatchShape, PAIRS, Rows, exact};
use advect::graph::{Program, Session};
use advect::kernel::math::Activation;
use advect::kernel::philox::fill_normal;
use advect::kernel::state::{State, WORDS};
use advect::kernel::{Target, View, copy};
use advect::nn::mlp::Mlp;
use advect::nn::{Conditioning, NetworkSpec, TimeInput};
use advect::policy::{Objective, Policy};
use advect::train::{RunConfig, Trainer};

const EXACT: Coupling = Coupling::ExactOt { condition_weight: 0.5 };
const SINKHORN: Coupling = Coupling::Sinkhorn { reg: 1.0, iterations: 20, condition_weight: 0.5 };

fn normals(count: usize, stream: u32) -> Vec<f32> {
    let mut out = vec![0.0; count];
    fill_normal(3, stream, 0, 0, &mut out);
    out
}

/// Noise in the order of its chunks, as the device puts it at a step.
fn paired(
    device: &Device,
    coupling: Coupling,
    shape: &BatchShape,
    [noise, chunk, z]: [&[f32]; 3],
    step: u64,
) -> Vec<f32> {
    const TURNS: usize = 3;
    let mut p = Program::new(Target::of(device));
    let sizes = [("noise", noise.len()), ("chunk", chunk.len()), ("z", z.len()), ("state", WORDS)];
    let [n, c, r, s] = sizes.map(|(name, elements)| p.resident(name, elements).unwrap());
    let rows = Rows { noise: n, chunk: c, request: r, state: s };
    let y = coupling.apply(&mut p, shape, &rows, 9, TURNS).unwrap();
    let out = p.resident("out", noise.len()).unwrap();
    let dense = View::dense(0, noise.len());
    p.push(copy::command([1, noise.len()], 0, noise.len(), (y, dense), (out, dense))).unwrap();
    let mut session = Session::new(device, p.finish().unwrap()).unwrap();
    let state = State::new(5, step).words();
    for (name, data) in [("noise", noise), ("chunk", chunk), ("z", z), ("state", &state[..])] {
        let id = session.plan().buffer(name).unwrap();
        session.write(id, data).unwrap();
    }
    if let Coupling::ExactOt { condition_weight } = coupling {
        let pairs = exact::pair(shape, condition_weight, [chunk, noise, z]).unwrap();
        let id = session.plan().buffer(PAIRS).unwrap();
        let at = step as usize % TURNS * shape.batch;
        session.write_at(id, at, &as_floats(&pairs.columns)).unwrap();
    }
    session.run(&[0]).unwrap();
    let mut got = vec![0.0; noise.len()];
    let id = session.plan().buffer("out").unwrap();
    session.read(id, &mut got).unwrap();
    got
}

fn as_floats(words: &[u32]) -> Vec<f32> {
    words.iter().map(|w| f32::from_bits(*w)).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn mean_square(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / a.len() as f64
}

fn sorted_rows(values: &[f32], dim: usize) -> Vec<Vec<u32>> {
    let mut rows: Vec<Vec<u32>> = values.chunks(dim).map(bits).collect();
    rows.sort();
    rows
}

#[test]
fn pairs_come_closer_and_no_noise_is_lost() {
    let shape = BatchShape { batch: 65, dim: 6, request: 3 };
    let (noise, chunk) = (normals(shape.batch * shape.dim, 1), normals(shape.batch * shape.dim, 2));
    let z = normals(shape.batch * shape.request, 3);
    let before = mean_square(&noise, &chunk);
    let rows = [&noise[..], &chunk, &z];
    for device in devices() {
        let optimal = Coupling::ExactOt { condition_weight: 0.0 };
        let exact = paired(&device, optimal, &shape, rows, 4);
        assert_eq!(sorted_rows(&exact, shape.dim), sorted_rows(&noise, shape.dim));
        let least = mean_square(&exact, &chunk);
        assert!(least < 0.6 * before, "{least}, {before} as drawn");

        // A weight in between is in between; observations that weigh everything leave the noise where it was.
        let some = Coupling::ExactOt { condition_weight: 1.0 };
        let between = mean_square(&paired(&device, some, &shape, rows, 4), &chunk);
        assert!(least < between && between < before, "{least} {between} {before}");
        let heavy = Coupling::ExactOt { condition_weight: 1e4 };
        assert_eq!(bits(&paired(&device, heavy, &shape, rows, 4)), bits(&noise));

        let soft = |reg| Coupling::Sinkhorn { reg, iterations: 200, condition_weight: 0.0 };
        let close = paired(&device, soft(0.2), &shape, rows, 4);
        let drawn = mean_square(&close, &chunk);
        assert!(least * 0.999 < drawn && drawn < 1.3 * least, "{drawn}, optimal {least}");
        let known = sorted_rows(&noise, shape.dim);
        assert!(close.chunks(shape.dim).all(|row| known.binary_search(&bits(row)).is_ok()));
        assert_eq!(bits(&close), bits(&paired(&device, soft(0.2), &shape, rows, 4)));
        assert_ne!(
            bits(&paired(&device, soft(5.0), &shape, rows, 4)),
            bits(&paired(&device, soft(5.0), &shape, rows, 5))
        );
        assert!(mean_square(&paired(&device, soft(1e3), &shape, rows, 4), &chunk) > 0.8 * before);
    }
}

/// What the documentation of `iterations` says: after 10 with reg a twentieth of the mean cost, nearly every row of the noise is as
/// likely as the others, and so what is drawn is still standard normal.
#[test]
fn a_few_iterations_use_all_noise_alike() {
    let shape = BatchShape { batch: 256, dim: 32, request: 0 };
    let (n, size) = (shape.batch, shape.batch * shape.dim);
    // Chunks of eight kinds.
    let (kinds, mut chunk) = (normals(8 * shape.dim, 1), normals(size, 2));
    for (i, row) in chunk.chunks_mut(shape.dim).enumerate() {
        row.iter_mut().zip(&kinds[i % 8 * shape.dim..]).for_each(|(v, kind)| *v = 0.3 * *v + 0.95 * kind);
    }
    let noise = normals(size, 3);
    let mut cost = vec![0.0; n * n];
    exact::cost(&shape, 0.0, [&chunk, &noise, &[]], &mut cost).unwrap();
    let reg = cost.iter().sum::<f32>() / cost.len() as f32 / 20.0;
    for device in devices() {
        let problem = Problem { shape, reg, iterations: 10, condition_weight: 0.0 };
        let mut p = Program::new(Target::of(&device));
        let [x, y] = [("x", &chunk), ("y", &noise)].map(|(name, v)| p.resident(name, v.len()).unwrap());
        let empty = p.empty();
        let plan = problem.plan(&mut p, x, y, empty).unwrap();
        let kept = [("u", plan.u), ("v", plan.v)].map(|(name, from)| {
            let (to, dense) = (p.resident(name, n).unwrap(), View::dense(0, n));
            p.push(copy::command([1, n], 0, n, (from, dense), (to, dense))).unwrap();
            name
        });
        let mut session = Session::new(&device, p.finish().unwrap()).unwrap();
        for (name, data) in [("x", &chunk), ("y", &noise)] {
            let id = session.plan().buffer(name).unwrap();
            session.write(id, data).unwrap();
        }
        session.run(&[0]).unwrap();
        let [u, v] = kept.map(|name| {
            let (mut out, id) = (vec![0.0; n], session.plan().buffer(name).unwrap());
            session.read(id, &mut out).unwrap();
            out
        });
        let mass = |i: usize, j: usize| f64::from(u[i] + v[j] - cost[i * n + j] / reg).exp();
        let uniform = 1.0 / n as f64;
        let astray: f64 = (0..n).map(|j| ((0..n).map(|i| mass(i, j)).sum::<f64>() - uniform).abs()).sum();
        assert!(astray < 0.01, "{astray}");
        let rows: f64 = (0..n).map(|i| ((0..n).map(|j| mass(i, j)).sum::<f64>() - uniform).abs()).sum();
        assert!(rows < 1e-4, "{rows}");
    }
}

/// A point that walks to one of two sides.
fn toy() -> Episodes {
    let (episodes, length) = (12, 20);
    let (mut obs, mut action) = (Vec::new(), Vec::new());
    for e in 0..episodes {
        let side = if e % 2 == 0 { 1.0 } else { -1.0 };
        let mut x = [0.1 * e as f32, 0.0];
        for t in 0..length {
            obs.extend_from_slice(&[x[0], x[1], t as f32 / length as f32]);
            x = [x[0] + 0.05 * side, x[1] + 0.1];
            action.extend_from_slice(&x);
        }
    }
    let lengths = vec![length; episodes];
    let arrays = EpisodeArrays { obs, action, obs_dim: 3, action_dim: 2, lengths, ..Default::default() };
    Episodes::from_arrays(arrays).expect("the toy is sound")
}

fn config(coupling: Coupling) -> RunConfig {
    let network = NetworkSpec::Mlp(Mlp {
        hidden: vec![32, 32],
        activation: Activation::Silu,
        time: TimeInput::Sinusoidal { dim: 16, scale: 99.0, max_period: 10_000.0 },
        conditioning: Conditioning::Concat,
    });
    let mut config = RunConfig {
        coupling,
        batch_size: 32,
        seed: 7,
        horizon: 4,
        pad_after: 2,
        network,
        ..RunConfig::default().in_steps(24)
    };
    config.optimizer.warmup = 4;
    config
}

fn trained(device: &Device, config: &RunConfig, groups: &[u64]) -> (Policy, Option<f64>) {
    let mut trainer = Trainer::new(device, &toy(), config).expect("a trainer");
    for steps in groups {
        trainer.advance(*steps).expect("training");
    }
    let loss = trainer.validate().expect("a validation");
    (trainer.policy().expect("a policy"), loss)
}

#[test]
fn a_seed_is_a_run_however_it_is_grouped_and_on_every_device() {
    for coupling in [EXACT, SINKHORN] {
        let mut weights: Vec<Vec<f32>> = Vec::new();
        for device in devices() {
            let (all, loss) = trained(&device, &config(coupling), &[12]);
            let (parts, again) = trained(&device, &config(coupling), &[1, 2, 5, 4]);
            assert_eq!(bits(&all.weights.values), bits(&parts.weights.values));
            assert_eq!(loss.map(f64::to_bits), again.map(f64::to_bits));
            let independent = trained(&device, &config(Coupling::Independent), &[12]).0;
            assert_ne!(bits(&all.weights.values), bits(&independent.weights.values));
            weights.push(all.weights.values);
        }
        if let [cpu, gpu] = &weights[..] {
            let size = cpu.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / cpu.len() as f64;
            let apart = (mean_square(cpu, gpu) / size).sqrt();
            assert!(apart < 1e-3, "{coupling:?}: {apart} apart");
        }
    }
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    for device in devices() {
        for coupling in [EXACT, SINKHORN] {
            let path = dir.path().join("policy.safetensors");
            let config = config(coupling);
            let mut first = Trainer::new(&device, &toy(), &config).unwrap();
            first.advance(7).unwrap();
            first.save(&path, "toy").unwrap();
            let mut second = Trainer::new(&device, &toy(), &config).unwrap();
            second.advance(3).unwrap();
            second.resume(&path, "toy").unwrap();
            first.advance(6).unwrap();
            second.advance(6).unwrap();
            let [a, b] = [first, second].map(|mut t| t.policy().unwrap().weights.values);
            assert_eq!(bits(&a), bits(&b), "{coupling:?}");
        }
    }
}

/// Actions that nothing tells of in advance, in two dimensions.
fn scatter() -> Episodes {
    let (episodes, length) = (6, 60);
    let action = normals(episodes * length * 2, 4);
    let obs = vec![0.0; episodes * length];
    let lengths = vec![length; episodes];
    let arrays = EpisodeArrays { obs, action, obs_dim: 1, action_dim: 2, lengths, ..Default::default() };
    Episodes::from_arrays(arrays).expect("the scatter is sound")
}

/// Where a point of a path does not tell which pair it is of, closer pairs leave less to guess: the same network reaches a lower
/// loss, on the batches and on held-out windows. Independent pairs of normals leave pi / 2 to the best
/// network, 2 to one that says nothing.
#[test]
fn closer_pairs_have_a_lower_loss() {
    let device = cpu();
    let run = |coupling| {
        let config = RunConfig { steps: 600, history: 1, horizon: 1, pad_after: 0, ..config(coupling) };
        let mut trainer = Trainer::new(&device, &scatter(), &config).unwrap();
        trainer.advance(300).unwrap();
        (trainer.advance(300).unwrap().loss, trainer.validate().unwrap().unwrap())
    };
    let (loss, held_out) = run(Coupling::Independent);
    assert!((1.4..2.1).contains(&loss), "{loss}");
    for coupling in [
        Coupling::ExactOt { condition_weight: 0.0 },
        Coupling::Sinkhorn { reg: 0.1, iterations: 50, condition_weight: 0.0 },
    ] {
        let (coupled, coupled_held_out) = run(coupling);
        println!("{coupling:?}: {coupled} {coupled_held_out}, independent {loss} {held_out}");
        assert!(coupled < 0.6 * loss, "{coupling:?}: {coupled}, {loss} as drawn");
        assert!(coupled_held_out < 0.6 * held_out, "{coupling:?}: {coupled_held_out}, {held_out} as drawn");
    }
}

#[test]
fn what_cannot_be_coupled_is_refused() {
    let device = cpu();
    let refused =
        |config: RunConfig| Trainer::new(&device, &toy(), &config).err().expect("refused").to_string();
    let cloning = Objective::named("behaviour_cloning").unwrap();
    let error = refused(RunConfig { objective: cloning, ..config(EXACT) });
    assert!(error.contains("behaviour_cloning") && error.contains("ExactOt"), "{error}");
    let error = refused(RunConfig { batch_size: 5000, ..config(EXACT) });
    assert!(error.contains("5000") && error.contains("4096"), "{error}");
    let error = refused(config(Coupling::ExactOt { condition_weight: f32::NAN }));
    assert!(error.contains("condition_weight"), "{error}");
}
