//! Training-time real-time chunking: a policy that learnt to continue what is already decided.

use crate::common::{cpu, devices};
use crate::toy::{apart, config, episodes, keys, observations, policy};
use advect::kernel::math::Activation;
use advect::nn::mlp::Mlp;
use advect::nn::transformer::Transformer;
use advect::nn::unet1d::Unet1d;
use advect::nn::{Conditioning, NetworkSpec, TimeInput};
use advect::policy::{ChunkSource, Objective, Policy, PolicyError, PrefixSpec, Previous, SamplerOptions};
use advect::train::{RunConfig, Trainer};

const MAX: usize = 3;

fn with_prefix() -> RunConfig {
    RunConfig { prefix: Some(PrefixSpec { max_delay: MAX }), ..config() }
}

fn transformer() -> NetworkSpec {
    let time = TimeInput::Sinusoidal { dim: 16, scale: 99.0, max_period: 10_000.0 };
    NetworkSpec::Transformer(Transformer { width: 16, layers: 1, heads: 2, time, ..Transformer::default() })
}

#[test]
fn every_robot_continues_its_own_prefix() {
    let robots = 48;
    let config = RunConfig { steps: 4000, ..with_prefix() };
    let policy = policy(&config, 4000);
    let chunk = policy.spec.chunk();
    let obs = observations(robots);
    // Straight walks to either side, as demonstrated.
    let side = |robot: usize| if robot.is_multiple_of(2) { 1.0f32 } else { -1.0 };
    let mut previous = Vec::new();
    for (robot, o) in obs.chunks_exact(6).enumerate() {
        for i in 1..=8 {
            previous.extend([o[3] + 0.05 * side(robot) * i as f32, 0.1 * i as f32]);
        }
    }
    let delay: Vec<usize> = (0..robots).map(|r| (r / 2) % (MAX + 1)).collect();
    for device in devices() {
        let mut source = policy.prefix_sampler(&device, robots, &SamplerOptions::default()).unwrap();
        let told = Previous { chunk: &previous, delay: &delay, left: &vec![6; robots] };
        let mut chunks = vec![0.0; robots * chunk];
        source.sample(&obs, &keys(robots, 1), Some(&told), &mut chunks).unwrap();
        let (mut same, mut told_how, mut free_left, mut free) = (0, 0, 0, 0);
        for (robot, mine) in chunks.chunks_exact(chunk).enumerate() {
            let held = 2 * delay[robot];
            let away = apart(&mine[..held], &previous[robot * chunk..][..held]);
            assert!(away < 1e-6, "robot {robot}: the prefix is {away:e} off");
            let turn = mine[chunk - 2] - mine[2 * delay[robot].max(1) - 2];
            if delay[robot] >= 2 {
                told_how += 1;
                same += usize::from(turn * side(robot) > 0.0);
            } else if delay[robot] == 0 {
                free += 1;
                free_left += usize::from(turn < 0.0);
            }
        }
        println!(
            "{}: {same} of {told_how} go on to the side of their prefix; of {free} free ones {free_left} go left",
            device.describe()
        );
        assert!(same * 10 >= told_how * 9, "found {same} of {told_how}, needed 9 of 10");
        assert!(free_left > 0 && free_left < free, "free robots go to both sides");
    }
}

#[test]
fn without_a_previous_chunk_it_is_the_plain_sampler() {
    for network in [config().network, transformer()] {
        without_a_previous_chunk(&policy(&RunConfig { network, ..with_prefix() }, 50));
    }
}

fn without_a_previous_chunk(policy: &Policy) {
    let obs = observations(5);
    let mut plain = vec![0.0; 5 * policy.spec.chunk()];
    let mut sampler = policy.sampler(&cpu(), 5, 1, &SamplerOptions::default()).unwrap();
    ChunkSource::sample(&mut sampler, &obs, &keys(5, 3), None, &mut plain).unwrap();
    for device in devices() {
        for (solver, within) in [("euler:10", 1e-5), ("dopri5:1e-4", 1e-2)] {
            let options = SamplerOptions { solver: solver.parse().unwrap(), ..SamplerOptions::default() };
            let mut want = plain.clone();
            let mut sampler = policy.sampler(&cpu(), 5, 1, &options).unwrap();
            ChunkSource::sample(&mut sampler, &obs, &keys(5, 3), None, &mut want).unwrap();
            let mut source = policy.prefix_sampler(&device, 5, &options).unwrap();
            let mut chunks = vec![0.0; plain.len()];
            let told = Previous { chunk: &plain, delay: &[0, 1, 2, 3, 0], left: &[8, 0, 0, 0, 0] };
            for previous in [None, Some(&told)] {
                source.sample(&obs, &keys(5, 3), previous, &mut chunks).unwrap();
                let away = apart(&chunks, &want);
                assert!(away < within, "{}, {solver}: {away:e} apart", device.describe());
            }
        }
    }
}

#[test]
fn a_robots_continuation_does_not_depend_on_its_company() {
    let policy = policy(&with_prefix(), 50);
    let chunk = policy.spec.chunk();
    let obs = observations(70);
    let previous: Vec<f32> = (0..70 * chunk).map(|i| 0.01 * (i % 16) as f32).collect();
    let delay: Vec<usize> = (0..70).map(|r| r % 4).collect();
    let run = |first: usize, robots: usize| {
        let mut source = policy.prefix_sampler(&cpu(), robots, &SamplerOptions::default()).unwrap();
        let told = Previous {
            chunk: &previous[first * chunk..][..robots * chunk],
            delay: &delay[first..][..robots],
            left: &vec![8; robots],
        };
        let mut chunks = vec![0.0; robots * chunk];
        let names = &keys(70, 1)[first..][..robots];
        source.sample(&obs[first * 6..][..robots * 6], names, Some(&told), &mut chunks).unwrap();
        chunks
    };
    let all = run(0, 70);
    for (first, robots) in [(3, 1), (6, 3), (0, 65)] {
        let away = apart(&run(first, robots), &all[first * chunk..][..robots * chunk]);
        assert!(away < 1e-5, "{robots} from {first}: {away:e} apart");
    }
}

#[test]
fn training_with_a_prefix_is_the_same_on_every_device() {
    for network in [
        config().network,
        NetworkSpec::Mlp(Mlp {
            hidden: vec![24, 24],
            activation: Activation::Silu,
            time: TimeInput::Raw,
            conditioning: Conditioning::Film,
        }),
        transformer(),
    ] {
        let config = RunConfig { network, ..with_prefix() };
        let mut losses = Vec::new();
        for device in devices() {
            let mut trainer = Trainer::new(&device, &episodes(), &config).unwrap();
            let first = trainer.advance(1).unwrap().loss;
            trainer.advance(4).unwrap();
            losses.push([first, trainer.advance(1).unwrap().loss, trainer.validate().unwrap().unwrap()]);
        }
        println!("{losses:?}");
        for other in &losses[1..] {
            for (a, b) in losses[0].iter().zip(other) {
                assert!((a - b).abs() < 1e-4 * a.abs(), "{losses:?}");
            }
        }
        let mut trainer = Trainer::new(&cpu(), &episodes(), &config).unwrap();
        let before = trainer.validate().unwrap().unwrap();
        for _ in 0..3 {
            trainer.advance(500).unwrap();
        }
        let after = trainer.validate().unwrap().unwrap();
        assert!(after < 0.7 * before, "the loss falls: {before} to {after}");
    }
}

#[test]
fn a_checkpoint_says_what_prefix_it_knows() {
    let policy = policy(&with_prefix(), 0);
    assert_eq!(policy.spec.prefix, Some(PrefixSpec { max_delay: MAX }));
    let bytes = policy.to_bytes().unwrap();
    assert_eq!(Policy::from_bytes(&bytes, std::path::Path::new("toy")).unwrap(), policy);
    let text = toml::to_string(&with_prefix()).unwrap();
    assert!(text.contains("max_delay = 3"), "{text}");
    assert_eq!(toml::from_str::<RunConfig>(&text).unwrap(), with_prefix());
    assert_eq!(toml::from_str::<RunConfig>("prefix = { max_delay = 3 }").unwrap().prefix, policy.spec.prefix);
}

#[test]
fn what_cannot_be_is_an_error() {
    let obs = observations(1);
    let trained = policy(&with_prefix(), 0);
    let mut source = trained.prefix_sampler(&cpu(), 1, &SamplerOptions::default()).unwrap();
    let mut chunks = vec![0.0; trained.spec.chunk()];
    let previous = chunks.clone();
    let told = Previous { chunk: &previous, delay: &[MAX + 1], left: &[8] };
    let error = source.sample(&obs, &keys(1, 1), Some(&told), &mut chunks).unwrap_err();
    assert_eq!(error.to_string(), "a delay: found 4, needed at most 3, which the policy was trained for");

    let plain = policy(&config(), 0);
    let error = plain.prefix_sampler(&cpu(), 1, &SamplerOptions::default()).err().unwrap();
    assert!(matches!(error, PolicyError::NoPrefix), "{error}");
    for max_delay in [0, 8, 9] {
        let config = RunConfig { prefix: Some(PrefixSpec { max_delay }), ..config() };
        let error = Trainer::new(&cpu(), &episodes(), &config).err().unwrap().to_string();
        assert!(error.contains(&format!("prefix.max_delay: found {max_delay}, needed 1 to 7")), "{error}");
    }
    let network = NetworkSpec::Unet1d(Unet1d {
        down_dims: vec![8, 16],
        kernel_size: 3,
        groups: 4,
        final_groups: 4,
        time: TimeInput::Sinusoidal { dim: 8, scale: 99.0, max_period: 10_000.0 },
        film_scale: true,
    });
    let config = RunConfig { network, ..with_prefix() };
    let error = Trainer::new(&cpu(), &episodes(), &config).err().unwrap().to_string();
    assert!(error.contains("a time for every action, which the network unet1d does not take"), "{error}");
    let cloning = RunConfig { objective: Objective::behaviour_cloning(), ..with_prefix() };
    let error = Trainer::new(&cpu(), &episodes(), &cloning).err().unwrap().to_string();
    assert!(error.contains("a prefix needs a policy with a flow"), "{error}");
}
