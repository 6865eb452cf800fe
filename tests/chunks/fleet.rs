//! A batch over several devices: the chunks of one, however it is cut.

use crate::common::devices;
use crate::toy::{apart, config, observations, policy};
use advect::device::{Cpu, Device};
use advect::policy::{Noise, NoiseKey, PolicyError, SamplerOptions};

/// The devices there are, and another CPU executor.
fn fleet() -> Vec<Device> {
    let mut all = devices();
    all.push(Device::Cpu(Cpu::with_threads(1).unwrap()));
    all
}

#[test]
fn chunks_do_not_depend_on_the_split() {
    let policy = policy(&config(), 0);
    let devices = fleet();
    let options = SamplerOptions::default();
    for [requests, samples] in [[1, 1], [1, 13], [7, 1], [5, 3]] {
        let obs = observations(requests);
        let keys: Vec<NoiseKey> =
            (0..requests as u64).map(|r| NoiseKey { seed: 9 + r, request: 3 }).collect();
        let size = requests * samples * policy.spec.chunk();
        let given: Vec<f32> = (0..size).map(|i| (i as f32 * 0.7).sin()).collect();
        for noise in [Noise::Seed { seed: 4, request: 2 }, Noise::PerObservation(&keys), Noise::Given(&given)]
        {
            let mut one = policy.sampler(&devices[0], requests, samples, &options).unwrap();
            let mut want = vec![0.0; size];
            one.sample(&obs, noise, &mut want).unwrap();
            for first in [0.01, 1.0, 3.0] {
                let mut shares = vec![1.0; devices.len()];
                shares[0] = first;
                let mut fleet = policy.fleet(&devices, requests, samples, Some(&shares), &options).unwrap();
                let chunks: usize = fleet.shares().iter().map(|s| s.chunks).sum();
                assert_eq!(chunks, requests * samples);
                let mut got = vec![f32::NAN; size];
                fleet.sample(&obs, noise, &mut got).unwrap();
                let far = apart(&got, &want);
                assert!(far < 5e-6, "{requests} x {samples} by {shares:?}: {far:e}");
            }
        }
    }
}

#[test]
fn speeds_are_measured_when_no_shares_are_given() {
    let policy = policy(&config(), 0);
    let devices = fleet();
    let fleet = policy.fleet(&devices, 1, 40, None, &SamplerOptions::default()).unwrap();
    assert_eq!(fleet.shares().iter().map(|s| s.chunks).sum::<usize>(), 40);
}

#[test]
fn what_makes_no_fleet_is_refused() {
    let policy = policy(&config(), 0);
    let devices = fleet();
    let options = SamplerOptions::default();
    let refused = |result: Result<_, PolicyError>| match result {
        Err(PolicyError::Shape { .. }) => {}
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("accepted"),
    };
    refused(policy.fleet(&[], 1, 1, None, &options).map(drop));
    refused(policy.fleet(&devices, 1, 1, Some(&[1.0]), &options).map(drop));
    // An empty batch has nothing to share out, whether or not the devices would be timed.
    for [observations, samples] in [[0, 1], [1, 0], [0, 0]] {
        refused(policy.fleet(&devices, observations, samples, None, &options).map(drop));
        refused(policy.fleet(&devices[..1], observations, samples, Some(&[1.0]), &options).map(drop));
    }
    let zeros = vec![0.0; devices.len()];
    refused(policy.fleet(&devices, 1, 1, Some(&zeros), &options).map(drop));
    let trajectory = SamplerOptions { trajectory: true, ..SamplerOptions::default() };
    refused(policy.fleet(&devices, 1, 1, None, &trajectory).map(drop));
    let mut fleet = policy.fleet(&devices, 2, 1, Some(&vec![1.0; devices.len()]), &options).unwrap();
    let mut out = vec![0.0; 2 * policy.spec.chunk()];
    refused(fleet.sample(&observations(1), Noise::Seed { seed: 0, request: 0 }, &mut out));
    refused(fleet.sample(&observations(2), Noise::PerObservation(&[]), &mut out));
    let mut broken = observations(2);
    // Named by its place in the whole batch, whichever device has it.
    let last = broken.len() - 1;
    broken[last] = f32::NAN;
    let failed = fleet.sample(&broken, Noise::Seed { seed: 0, request: 0 }, &mut out);
    assert!(matches!(failed, Err(PolicyError::NonFinite { element, .. }) if element == last), "{failed:?}");
}
