//! Calls that must be over in time: what is not fails by name, and the next call is as good as a new sampler's.

use crate::common::{devices, gpu_with};
use crate::toy::{config, observations, policy};
use advect::device::{Device, DeviceError, GpuOptions};
use advect::flow::FlowError;
use advect::graph::GraphError;
use advect::policy::{Noise, PolicyError, Sampler, SamplerOptions};
use std::time::{Duration, Instant};

const ROWS: usize = 64;
/// No pass is over in this.
const NOTHING: Duration = Duration::from_nanos(1);
/// Every pass is.
const ENOUGH: Option<Duration> = Some(Duration::from_secs(100));

fn sample(sampler: &mut Sampler, request: u64) -> Result<Vec<u32>, (DeviceError, bool)> {
    let mut actions = vec![0.0; ROWS * sampler.spec().chunk()];
    // Another observation and other noise for each request.
    let obs: Vec<f32> = observations(ROWS).iter().map(|x| x + 0.01 * request as f32).collect();
    match sampler.sample(&obs, Noise::Seed { seed: 5, request }, &mut actions) {
        Ok(()) => Ok(actions.iter().map(|a| a.to_bits()).collect()),
        Err(PolicyError::Flow(FlowError::Graph(GraphError::Device(error)))) => {
            Err((error, actions.iter().all(|a| a.is_nan())))
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_late_call_fails_and_the_next_is_as_if_it_had_never_been() {
    let policy = policy(&config(), 20);
    for device in devices() {
        for solver in ["euler:30", "tsit5:1e-3"] {
            let options = SamplerOptions { solver: solver.parse().unwrap(), ..SamplerOptions::default() };
            let mut fresh = policy.sampler(&device, ROWS, 1, &options).unwrap();
            let expected: Vec<_> = (0..3).map(|request| sample(&mut fresh, request).unwrap()).collect();
            assert_ne!(expected[0], expected[1], "else a late result would not be seen");
            let late = SamplerOptions { deadline: Some(NOTHING), ..options };
            let mut sampler = policy.sampler(&device, ROWS, 1, &late).unwrap();
            let mut seen_late = false;
            // Once, and oftener than memory for uploads goes round.
            for times in [1, 6] {
                sampler.set_deadline(Some(NOTHING));
                for n in 0..times {
                    let (error, unusable) = sample(&mut sampler, 0).unwrap_err();
                    assert!(unusable, "actions of a late call are NaN");
                    let DeviceError::Timeout { what, waited } = error else { panic!("{error}") };
                    assert_eq!(waited, NOTHING, "{what}");
                    assert!(n == 0 || device.gpu().is_none() || what != "a pass on the CPU", "{what}");
                    seen_late |= device.gpu().is_some_and(|gpu| gpu.is_late());
                }
                sampler.set_deadline(ENOUGH);
                for request in [1, 2, 1] {
                    let got = sample(&mut sampler, request).unwrap();
                    assert!(got == expected[request as usize], "{solver} on {}", device.describe());
                }
            }
            let before = sampler.counters();
            assert!(sample(&mut sampler, 0).unwrap() == expected[0]);
            let cost = sampler.counters().since(&before);
            assert_eq!((cost.buffers_created, cost.queue_writes), (0, 0), "as in steady state: {cost:?}");
            let Some(gpu) = device.gpu() else { continue };
            assert!(seen_late, "a pass of {ROWS} rows was never under way after 1 ns");
            // Without another call: looking alone tells that it has ended.
            sampler.set_deadline(Some(NOTHING));
            sample(&mut sampler, 0).unwrap_err();
            let begun = Instant::now();
            while gpu.is_late() {
                assert!(begun.elapsed() < Duration::from_secs(60), "the pass has ended long ago");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

#[test]
fn the_longest_wait_for_a_gpu_is_a_setting() {
    let mut options = GpuOptions::default();
    options.timeout = Some(NOTHING);
    let Some(device) = gpu_with(&options) else { return };
    let mut sampler = policy(&config(), 20).sampler(&device, ROWS, 1, &SamplerOptions::default()).unwrap();
    for deadline in [None, ENOUGH] {
        sampler.set_deadline(deadline);
        let (error, unusable) = sample(&mut sampler, 0).unwrap_err();
        assert!(unusable && error.is_timeout() && error.to_string().ends_with("within 1ns"), "{error}");
    }
    assert!(matches!(device, Device::Gpu(_)));
}
