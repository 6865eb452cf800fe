//! Rows that fail alone: the others' chunks hold, and the outcomes say which are which.

use crate::common::devices;
use crate::toy::{bits, config, keys, observations, policy};
use advect::flow::log_prob::Divergence;
use advect::flow::{FlowError, Solver};
use advect::policy::{
    ChunkSource, GuidedOptions, LogProbOptions, Noise, PolicyError, Previous, RowOutcome, RowStatus,
    SamplerOptions, Weights,
};

/// Noise of so many rows, of which one is so large that the flow overflows.
fn noise(rows: usize, chunk: usize, bad: usize) -> Vec<f32> {
    let mut noise: Vec<f32> = (0..rows * chunk).map(|i| (i as f32 * 0.7).sin()).collect();
    noise[bad * chunk..(bad + 1) * chunk].fill(3e38);
    noise
}

/// One block and several, by one thread and by several, on every executor.
#[test]
fn a_row_that_overflows_costs_no_other_its_chunk() {
    let policy = policy(&config(), 20);
    let chunk = policy.spec.chunk();
    for device in devices() {
        for (solver, failed) in [("euler:3", RowStatus::NonFinite), ("dopri5:1e-3", RowStatus::StepTooSmall)]
        {
            let options = SamplerOptions { solver: solver.parse().unwrap(), ..SamplerOptions::default() };
            for [requests, samples, bad] in [[3, 1, 1], [2, 2, 3], [1, 70, 66]] {
                let rows = requests * samples;
                let mut sampler = policy.sampler(&device, requests, samples, &options).unwrap();
                let (obs, mut noise) = (observations(requests), noise(rows, chunk, bad));
                let mut got = vec![0.0; rows * chunk];
                let outcomes = sampler.sample_each(&obs, Noise::Given(&noise), &mut got).unwrap();
                let name = format!("{solver} {requests} x {samples} on {}", device.describe());
                for (row, outcome) in outcomes.iter().enumerate() {
                    let want = if row == bad { failed } else { RowStatus::Done };
                    assert_eq!(outcome.status, want, "{name}: row {row}");
                }
                assert!(outcomes.iter().all(|o| o.steps > 0 || o.status == failed), "{name}");
                // The same rows beside a sound one are the same.
                let mut strict = vec![0.0; got.len()];
                let error = sampler.sample(&obs, Noise::Given(&noise), &mut strict).unwrap_err();
                let PolicyError::Flow(error) = error else { panic!("{name}: {error}") };
                let (FlowError::NonFinite { first, .. } | FlowError::Unfinished { first, .. }) = error else {
                    panic!("{name}: {error}")
                };
                assert_eq!(first, bad, "{name}");
                noise[bad * chunk..(bad + 1) * chunk].fill(0.5);
                let mut sound = vec![0.0; got.len()];
                sampler.sample(&obs, Noise::Given(&noise), &mut sound).unwrap();
                for (row, (got, sound)) in got.chunks(chunk).zip(sound.chunks(chunk)).enumerate() {
                    match row == bad {
                        true => assert!(got.iter().all(|v| v.is_nan()), "{name}: never a half result"),
                        false => assert_eq!(bits(got), bits(sound), "{name}: row {row}"),
                    }
                }
            }
        }
    }
}

#[test]
fn a_stiff_row_runs_out_of_steps_alone() {
    let policy = policy(&config(), 100);
    let chunk = policy.spec.chunk();
    for device in devices() {
        let mut options =
            SamplerOptions { solver: "tsit5:1e-4".parse().unwrap(), ..SamplerOptions::default() };
        let tried = |o: &RowOutcome| (o.steps + o.rejected) as usize;
        let (obs, key) = (observations(6), Noise::Seed { seed: 3, request: 0 });
        let mut all = vec![0.0; 6 * chunk];
        let mut sampler = policy.sampler(&device, 6, 1, &options).unwrap();
        sampler.sample(&obs, key, &mut all).unwrap();
        let counts: Vec<usize> = sampler.outcomes().iter().map(tried).collect();
        let most = counts.iter().copied().max().unwrap();
        assert!(most > 1 && counts.iter().any(|n| *n < most), "rows of one length: {counts:?}");
        options.max_steps = most - 1;
        let mut sampler = policy.sampler(&device, 6, 1, &options).unwrap();
        let mut got = vec![0.0; 6 * chunk];
        let outcomes = sampler.sample_each(&obs, key, &mut got).unwrap().to_vec();
        for (row, (outcome, count)) in outcomes.iter().zip(&counts).enumerate() {
            let (got, all) = (&got[row * chunk..][..chunk], &all[row * chunk..][..chunk]);
            if *count == most {
                assert_eq!(outcome.status, RowStatus::OutOfSteps);
                assert_eq!(tried(outcome), most - 1);
                assert!(got.iter().all(|v| v.is_nan()));
            } else {
                assert_eq!((outcome.status, tried(outcome)), (RowStatus::Done, *count));
                assert_eq!(bits(got), bits(all));
            }
        }
        let error = sampler.sample(&obs, key, &mut got).unwrap_err().to_string();
        assert!(error.contains("did not reach the end") && error.contains("tsit5"), "{error}");
        options.max_steps = 0;
        let error = policy.sampler(&device, 6, 1, &options).err().expect("no steps at all").to_string();
        assert!(error.contains("max_steps") && error.contains("found 0"), "{error}");
    }
}

/// Every source of chunks for robots.
#[test]
fn robots_fail_alone_whatever_makes_their_chunks() {
    let policy = policy(&config(), 20);
    let (chunk, device) = (policy.spec.chunk(), advect::Device::Cpu(advect::Cpu::with_threads(1).unwrap()));
    let options = SamplerOptions::default();
    let sources: [(Box<dyn ChunkSource>, bool); 2] = [
        (Box::new(policy.sampler(&device, 3, 1, &options).unwrap()), false),
        (Box::new(policy.guided_sampler(&device, 3, &GuidedOptions::new(4)).unwrap()), true),
    ];
    for (mut source, guided) in sources {
        // A previous chunk beyond all bounds pulls the second robot's flow out of the numbers.
        let mut before = vec![0.1; 3 * chunk];
        before[chunk..2 * chunk].fill(3e38);
        let previous = Previous { chunk: &before, delay: &[1; 3], left: &[4; 3] };
        let (mut chunks, mut outcomes) = (vec![0.0; 3 * chunk], vec![RowOutcome::default(); 3]);
        let (obs, keys) = (observations(3), keys(3, 1));
        source.sample_each(&obs, &keys, Some(&previous), &mut chunks, &mut outcomes).unwrap();
        for (robot, (outcome, chunk)) in outcomes.iter().zip(chunks.chunks(chunk)).enumerate() {
            assert_eq!(outcome.status.is_done(), chunk.iter().all(|v| v.is_finite()), "robot {robot}");
            assert_eq!(outcome.status.is_done(), !(guided && robot == 1), "robot {robot}: {outcome:?}");
        }
        assert_eq!(source.sample(&obs, &keys, Some(&previous), &mut chunks).is_err(), guided);
    }
}

/// A candidate that fails is none, whoever scores; the others still compete.
#[test]
fn a_failed_candidate_is_never_chosen() {
    let policy = policy(&config(), 100);
    let (chunk, device) = (policy.spec.chunk(), advect::Device::Cpu(advect::Cpu::with_threads(1).unwrap()));
    let options = SamplerOptions::default();
    let mut best = policy.best_of(&device, 2, 3, &options).unwrap();
    let (obs, mut noise) = (observations(2), noise(6, chunk, 1));
    let mut chunks = vec![0.0; 2 * chunk];
    let likes_the_failed = |_: usize, candidate: &[f32]| if candidate[0].is_nan() { 1e9 } else { 0.0 };
    let chosen = best.by_score(&obs, Noise::Given(&noise), likes_the_failed, &mut chunks).unwrap();
    assert_eq!(chosen.iter().map(|c| c.candidate).collect::<Vec<_>>(), [0, 0]);
    let log_prob = LogProbOptions {
        solver: Solver::euler(4),
        divergence: Divergence::Hutchinson { probes: 2, seed: 0 },
        physical: true,
        weights: Weights::Ema,
    };
    let mut likelihood = policy.likelihood(&device, &log_prob).unwrap();
    // A chunk far beyond all demonstrations has no density; the one before it has.
    let mut far = vec![0.1; 2 * chunk];
    far[chunk..].fill(1e38);
    let densities = likelihood.log_prob_each(&obs, &far).unwrap();
    assert!(densities[0].is_finite() && densities[1].is_nan(), "{densities:?}");
    assert_eq!(likelihood.outcomes()[1].status, RowStatus::NonFinite);
    let error = likelihood.log_prob(&obs, &far).unwrap_err().to_string();
    assert!(error.contains("in 1 of 2 samples (the first: number 1)"), "{error}");
    let chosen = best.by_log_prob(&obs, Noise::Given(&noise), &mut likelihood, &mut chunks).unwrap();
    assert!(chosen[0].candidate != 1 && chosen.iter().all(|c| c.score.is_finite()), "{chosen:?}");
    assert!(chunks.iter().all(|v| v.is_finite()));
    assert!(best.candidates()[chunk..2 * chunk].iter().all(|v| v.is_nan()), "what failed says so");
    // An observation none of whose candidates is of use has no best.
    noise[3 * chunk..].fill(3e38);
    let error = best.by_score(&obs, Noise::Given(&noise), |_, _| 0.0, &mut chunks).unwrap_err().to_string();
    assert!(error.contains("not finite in 4 of 6"), "{error}");
}

/// A grid of times has as many steps as intervals, whatever number the solver is named with.
#[test]
fn a_time_grid_counts_its_own_steps() {
    let policy = policy(&config(), 1);
    let device = advect::Device::Cpu(advect::Cpu::with_threads(1).unwrap());
    let options = |solver: &str, times: &[f64]| SamplerOptions {
        solver: solver.parse().unwrap(),
        times: Some(times.to_vec()),
        ..SamplerOptions::default()
    };
    for (solver, times, name, evaluations) in [
        ("euler:10", &[0.0, 0.5, 1.0][..], "euler:2", 2),
        ("midpoint:1", &[0.0, 0.1, 0.3, 1.0], "midpoint:3", 6),
    ] {
        let mut sampler = policy.sampler(&device, 1, 1, &options(solver, times)).unwrap();
        assert_eq!((sampler.evaluations(), sampler.solver().to_string()), (Some(evaluations), name.into()));
        let mut out = vec![0.0; policy.spec.chunk()];
        let noise = Noise::Seed { seed: 0, request: 0 };
        let outcomes = sampler.sample_each(&observations(1), noise, &mut out).unwrap();
        assert_eq!(outcomes[0].steps as usize, times.len() - 1);
        let fleet = policy.fleet(std::slice::from_ref(&device), 1, 1, None, &options(solver, times)).unwrap();
        assert_eq!((fleet.evaluations(), fleet.solver()), (sampler.evaluations(), sampler.solver()));
    }
}

/// A call that fails as a whole leaves no outcomes, neither its own nor those of the call before.
#[test]
fn outcomes_are_of_the_last_call() {
    let policy = policy(&config(), 1);
    let (chunk, device) = (policy.spec.chunk(), advect::Device::Cpu(advect::Cpu::with_threads(1).unwrap()));
    let options = SamplerOptions { solver: Solver::euler(2), ..SamplerOptions::default() };
    let (obs, keys, noise) = (observations(2), keys(2, 1), vec![0.5; 2 * chunk]);
    let wrong = [Noise::Given(&noise[1..]), Noise::Given(&[]), Noise::PerObservation(&keys[1..])];
    let mut got = vec![0.0; 2 * chunk];

    let mut sampler = policy.sampler(&device, 2, 1, &options).unwrap();
    let mut fleet = policy.fleet(&[device.clone(), device.clone()], 2, 1, None, &options).unwrap();
    assert!(sampler.outcomes().is_empty() && fleet.outcomes().is_empty(), "there was no call yet");
    for wrong in wrong {
        sampler.sample(&obs, Noise::Given(&noise), &mut got).unwrap();
        fleet.sample(&obs, Noise::Given(&noise), &mut got).unwrap();
        assert_eq!([sampler.outcomes().len(), fleet.outcomes().len()], [2, 2]);
        assert!(sampler.sample_each(&obs, wrong, &mut got).is_err());
        assert!(fleet.sample_each(&obs, wrong, &mut got).is_err());
        assert!(sampler.outcomes().is_empty() && fleet.outcomes().is_empty(), "{wrong:?}");
    }
    type Fault = fn(&mut [f32], &mut Vec<f32>);
    let faults: [Fault; 2] = [|obs, _| obs[0] = f32::NAN, |_, got| got.truncate(1)];
    for fault in faults {
        let (mut obs, mut got) = (obs.clone(), got.clone());
        sampler.sample(&obs, Noise::Given(&noise), &mut got).unwrap();
        fault(&mut obs, &mut got);
        assert!(sampler.sample(&obs, Noise::Given(&noise), &mut got).is_err());
        assert!(sampler.outcomes().is_empty());
    }
    sampler.set_deadline(Some(std::time::Duration::ZERO));
    assert!(sampler.sample(&obs, Noise::Given(&noise), &mut got).is_err());
    assert!(sampler.outcomes().is_empty() && sampler.integrator().outcomes().is_empty());
    // A batch in which single chunks fail has its outcomes, whether or not that is an error.
    sampler.set_deadline(None);
    let mut bad = noise.clone();
    bad[chunk..].fill(3e38);
    assert!(sampler.sample(&obs, Noise::Given(&bad), &mut got).is_err());
    let status: Vec<RowStatus> = sampler.outcomes().iter().map(|outcome| outcome.status).collect();
    assert_eq!(status, [RowStatus::Done, RowStatus::NonFinite]);

    let log_prob = LogProbOptions {
        solver: Solver::euler(2),
        divergence: Divergence::Hutchinson { probes: 1, seed: 0 },
        physical: true,
        weights: Weights::Ema,
    };
    let mut likelihood = policy.likelihood(&device, &log_prob).unwrap();
    likelihood.log_prob(&obs, &vec![0.1; 2 * chunk]).unwrap();
    assert_eq!(likelihood.outcomes().len(), 2);
    assert!(likelihood.log_prob(&obs, &[0.1]).is_err());
    assert!(likelihood.outcomes().is_empty());
}
