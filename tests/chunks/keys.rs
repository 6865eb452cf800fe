//! A robot's noise is named by its key, whoever shares the batch.

use crate::common::devices;
use crate::toy::{apart, bits, config, observations, policy};
use advect::flow::field::FnField;
use advect::flow::integrator::Start;
use advect::flow::{Batch, IntegrateOptions, Integrator};
use advect::graph::ParamLayout;
use advect::policy::{ChunkSource, Noise, NoiseKey, PolicyError, SamplerOptions};

const MINE: NoiseKey = NoiseKey { seed: 0x1234_5678_9abc, request: (5 << 32) + 3 };

/// Keys for a batch with [`MINE`] at one place.
fn keys(requests: usize, mine: usize) -> Vec<NoiseKey> {
    let other = |r: usize| NoiseKey { seed: 77 + r as u64 * r as u64, request: 1000 - r as u64 };
    (0..requests).map(|r| if r == mine { MINE } else { other(r) }).collect()
}

#[test]
fn noise_is_bit_equal_in_any_company() {
    for device in devices() {
        // A flow that stands still ends in its noise.
        let still = FnField::new(7, |g, state, _| g.affine(state, 0.0, 0.0));
        for samples in [1, 3] {
            let mut alone = Vec::new();
            for (requests, places) in [(1, vec![0]), (3, vec![0, 2]), (64, vec![0, 31, 63]), (300, vec![177])]
            {
                let batch = Batch { requests, samples };
                let options = IntegrateOptions::default();
                let solver = "euler:1".parse().unwrap();
                let mut flow =
                    Integrator::new(&device, &still, &ParamLayout::default(), solver, batch, &options)
                        .unwrap();
                flow.set_params(&[]).unwrap();
                for place in places {
                    let mut out = vec![0.0; batch.rows() * 7];
                    flow.run(Start::Keys(&keys(requests, place)), &[], &mut out, None).unwrap();
                    let mine = bits(&out[place * samples * 7..][..samples * 7]);
                    if alone.is_empty() {
                        alone = mine.clone();
                    }
                    assert_eq!(mine, alone, "{}: place {place} of {requests}", device.describe());
                    let neighbour = &out[(place + 1) % requests * samples * 7..][..samples * 7];
                    assert!(requests == 1 || bits(neighbour) != alone, "another key is other noise");
                }
            }
            let spread: f32 = alone.iter().map(|v| f32::from_bits(*v).abs()).sum();
            assert!(spread > 0.1, "the noise is noise");
        }
    }
}

#[test]
fn one_key_is_the_seed_and_request_of_a_batch_of_one() {
    let policy = policy(&config(), 0);
    for device in devices() {
        let mut sampler = policy.sampler(&device, 1, 5, &SamplerOptions::default()).unwrap();
        let obs = observations(1);
        let [mut a, mut b] = [(); 2].map(|()| vec![0.0; 5 * policy.spec.chunk()]);
        sampler.sample(&obs, Noise::PerObservation(&[MINE]), &mut a).unwrap();
        sampler.sample(&obs, Noise::Seed { seed: MINE.seed, request: MINE.request }, &mut b).unwrap();
        assert_eq!(bits(&a), bits(&b), "{}", device.describe());
    }
}

#[test]
fn actions_do_not_depend_on_the_company() {
    let policy = policy(&config(), 50);
    let chunk = policy.spec.chunk();
    for device in devices() {
        let mut alone = Vec::new();
        for (robots, place) in [(1, 0), (3, 1), (64, 40), (130, 129)] {
            let mut source: Box<dyn ChunkSource> =
                Box::new(policy.sampler(&device, robots, 1, &SamplerOptions::default()).unwrap());
            assert_eq!((source.robots(), source.spec()), (robots, &policy.spec));
            let mut obs = observations(robots);
            obs[place * 6..][..6].copy_from_slice(&observations(1));
            let mut chunks = vec![0.0; robots * chunk];
            source.sample(&obs, &keys(robots, place), None, &mut chunks).unwrap();
            let mine = &chunks[place * chunk..][..chunk];
            if alone.is_empty() {
                alone = mine.to_vec();
            }
            let away = apart(mine, &alone);
            assert!(away < 1e-5, "{}: place {place} of {robots}: {away:e} apart", device.describe());
        }
    }
}

#[test]
fn wrong_numbers_of_keys_and_samples_are_errors() {
    let policy = policy(&config(), 0);
    let device = crate::common::cpu();
    let obs = observations(2);
    let mut sampler = policy.sampler(&device, 2, 3, &SamplerOptions::default()).unwrap();
    let mut out = vec![0.0; 6 * policy.spec.chunk()];
    let error = sampler.sample(&obs, Noise::PerObservation(&[MINE]), &mut out).unwrap_err();
    assert_eq!(error.to_string(), "noise keys: found 1, needed 2");
    let error = ChunkSource::sample(&mut sampler, &obs, &[MINE; 2], None, &mut out).unwrap_err();
    assert!(matches!(error, PolicyError::Shape { .. }), "{error}");
    assert_eq!(error.to_string(), "samples for each observation of a chunk source: found 3, needed 1");
}
