//! Guided real-time chunking: what will be executed is kept, what is free stays free.

use crate::common::{cpu, devices};
use crate::toy::{apart, bits, config, keys, observations, policy};
use advect::flow::Jacobian;
use advect::policy::{ChunkSource, GuidedOptions, NoiseKey, PolicyError, Previous, SamplerOptions};

const ROBOTS: usize = 12;
const DELAY: usize = 3;

/// Chunks of the plain sampler.
fn plain(policy: &advect::policy::Policy, obs: &[f32], keys: &[NoiseKey]) -> Vec<f32> {
    let mut sampler = policy.sampler(&cpu(), keys.len(), 1, &SamplerOptions::default()).unwrap();
    let mut out = vec![0.0; keys.len() * policy.spec.chunk()];
    ChunkSource::sample(&mut sampler, obs, keys, None, &mut out).unwrap();
    out
}

/// The mean distance of the first `rows` actions of every chunk.
fn distance(a: &[f32], b: &[f32], chunk: usize, rows: usize) -> f32 {
    let mut sum = 0.0;
    for (a, b) in a.chunks_exact(chunk).zip(b.chunks_exact(chunk)) {
        sum += a[..2 * rows].iter().zip(&b[..2 * rows]).map(|(a, b)| (a - b).abs()).sum::<f32>();
    }
    sum / (a.len() / chunk * 2 * rows) as f32
}

#[test]
fn the_frozen_part_is_kept_and_the_end_is_free() {
    let policy = policy(&config(), 1500);
    let (chunk, horizon) = (policy.spec.chunk(), policy.spec.horizon);
    let obs = observations(ROBOTS);
    let previous = plain(&policy, &obs, &keys(ROBOTS, 1));
    // The robot is somewhere else by now: relative actions must be re-expressed, or all would be shifted by as much.
    let now: Vec<f32> = obs.chunks_exact(3).flat_map(|o| [o[0] + 0.15, o[1] + 0.1, o[2]]).collect();
    let free = plain(&policy, &now, &keys(ROBOTS, 2));
    let left = [horizon - 2; ROBOTS];
    let told = Previous { chunk: &previous, delay: &[DELAY; ROBOTS], left: &left };
    let apart_free = distance(&free, &previous, chunk, DELAY);
    for device in devices() {
        for jacobian in [Jacobian::Network, Jacobian::Identity] {
            let options = GuidedOptions { jacobian, ..GuidedOptions::new(4) };
            let mut source = policy.guided_sampler(&device, ROBOTS, &options).unwrap();
            let mut chunks = vec![0.0; ROBOTS * chunk];
            source.sample(&now, &keys(ROBOTS, 2), Some(&told), &mut chunks).unwrap();
            let kept = distance(&chunks, &previous, chunk, DELAY);
            println!(
                "{}, {jacobian:?}: {kept:.4} from the previous chunk, {apart_free:.4} free",
                device.describe()
            );
            assert!(kept < 0.1 * apart_free, "{jacobian:?}: found {kept}, free {apart_free}");
            // What is not frozen follows: closer to the previous chunk than free, the end included.
            let (all, all_free) = [&chunks, &free].map(|c| distance(c, &previous, chunk, horizon)).into();
            assert!(all < 0.9 * all_free, "{jacobian:?}: found {all}, free {all_free}");
            let last =
                |c: &[f32]| c.chunks_exact(chunk).flat_map(|c| c[chunk - 2..].to_vec()).collect::<Vec<_>>();
            assert!(apart(&last(&chunks), &last(&previous)) > 0.05, "{jacobian:?}: the end is free");
        }
    }
}

#[test]
fn without_weights_it_is_the_plain_sampler() {
    let policy = policy(&config(), 100);
    let chunk = policy.spec.chunk();
    let obs = observations(3);
    let free = plain(&policy, &obs, &keys(3, 4));
    let previous = plain(&policy, &obs, &keys(3, 5));
    for device in devices() {
        let mut source = policy.guided_sampler(&device, 3, &GuidedOptions::new(4)).unwrap();
        let mut chunks = vec![0.0; 3 * chunk];
        source.sample(&obs, &keys(3, 4), None, &mut chunks).unwrap();
        assert!(apart(&chunks, &free) < 1e-5, "{}: {}", device.describe(), apart(&chunks, &free));
        // Of three robots the middle one has a previous chunk.
        let told = Previous { chunk: &previous, delay: &[2; 3], left: &[0, 6, 0] };
        source.sample(&obs, &keys(3, 4), Some(&told), &mut chunks).unwrap();
        for robot in [0, 2] {
            let span = robot * chunk..(robot + 1) * chunk;
            assert!(apart(&chunks[span.clone()], &free[span]) < 1e-5, "robot {robot} is free");
        }
        let span = chunk..2 * chunk;
        assert!(apart(&chunks[span.clone()], &free[span]) > 1e-3, "the middle robot is guided");
        // What a robot did before leaves nothing behind.
        source.sample(&obs, &keys(3, 4), None, &mut chunks).unwrap();
        assert!(apart(&chunks, &free) < 1e-5);
    }
}

#[test]
fn rows_that_are_not_left_are_not_read_and_bad_ones_are_errors() {
    let policy = policy(&config(), 20);
    let (chunk, horizon) = (policy.spec.chunk(), policy.spec.horizon);
    let obs = observations(2);
    let mut source = policy.guided_sampler(&cpu(), 2, &GuidedOptions::new(4)).unwrap();
    let mut previous = plain(&policy, &obs, &keys(2, 1));
    let mut chunks = [(); 2].map(|()| vec![0.0; 2 * chunk]);
    let left = [3, 5];
    let told = Previous { chunk: &previous, delay: &[1, 2], left: &left };
    source.sample(&obs, &keys(2, 2), Some(&told), &mut chunks[0]).unwrap();
    previous[6..chunk].fill(f32::NAN);
    previous[chunk + 10..].fill(f32::INFINITY);
    let told = Previous { chunk: &previous, delay: &[1, 2], left: &left };
    source.sample(&obs, &keys(2, 2), Some(&told), &mut chunks[1]).unwrap();
    assert_eq!(bits(&chunks[0]), bits(&chunks[1]));

    let mut fails = |told: Previous<'_>| {
        source.sample(&obs, &keys(2, 2), Some(&told), &mut chunks[0]).unwrap_err().to_string()
    };
    assert_eq!(
        fails(Previous { left: &[4, 5], ..told }),
        "the previous chunk holds NaN at element 6: needed finite values"
    );
    assert_eq!(fails(Previous { left: &[3], ..told }), "rows left of the previous chunk: found 1, needed 2");
    assert_eq!(fails(Previous { delay: &[1; 3], ..told }), "delays of the previous chunk: found 3, needed 2");
    assert_eq!(fails(Previous { delay: &[0, 9], ..told }), "a delay: found 9, needed at most the horizon, 8");
    assert!(fails(Previous { left: &[0, horizon + 1], ..told }).contains("needed at most the horizon, 8"));
    assert!(fails(Previous { chunk: &previous[1..], ..told }).starts_with("the previous chunk: found"));
    for execute in [0, horizon + 1] {
        let error = policy.guided_sampler(&cpu(), 1, &GuidedOptions::new(execute)).err().unwrap();
        assert!(matches!(error, PolicyError::Shape { .. }), "{error}");
    }
    let options = GuidedOptions { beta: f32::NAN, ..GuidedOptions::new(4) };
    assert!(policy.guided_sampler(&cpu(), 1, &options).is_err());
}

#[test]
fn a_guided_robot_does_not_depend_on_its_company() {
    let policy = policy(&config(), 50);
    let chunk = policy.spec.chunk();
    let previous = plain(&policy, &observations(70), &keys(70, 1));
    let mut alone = Vec::new();
    for (robots, place) in [(1, 0), (2, 1), (70, 40)] {
        let mut source = policy.guided_sampler(&cpu(), robots, &GuidedOptions::new(4)).unwrap();
        let mut before = previous[..robots * chunk].to_vec();
        before[place * chunk..][..chunk].copy_from_slice(&previous[..chunk]);
        let mut names = keys(robots, 3);
        names[place] = NoiseKey { seed: 9, request: 9 };
        let mut obs = observations(robots);
        obs[place * 6..][..6].copy_from_slice(&observations(1));
        let told = Previous { chunk: &before, delay: &vec![2; robots], left: &vec![5; robots] };
        let mut chunks = vec![0.0; robots * chunk];
        source.sample(&obs, &names, Some(&told), &mut chunks).unwrap();
        let mine = chunks[place * chunk..][..chunk].to_vec();
        if alone.is_empty() {
            alone.clone_from(&mine);
        }
        assert!(apart(&mine, &alone) < 1e-5, "place {place} of {robots}: {}", apart(&mine, &alone));
    }
}
