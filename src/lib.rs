//! advect trains flow-matching action policies from robot demonstrations and samples them in batches, on any GPU that has
//! Vulkan, Metal or DX12 (WGSL compute shaders through wgpu) or on the CPU.
//!
//! Sampling a policy, as a robot's control loop does:
//!
//! ```no_run
//! use advect::{Device, Noise, Policy, SamplerOptions};
//!
//! let policy = Policy::load("policy.safetensors")?;
//! // Compiled once: 1 observation, 16 chunks for it, 10 Euler steps, averaged weights.
//! let mut sampler = policy.sampler(&Device::auto()?, 1, 16, &SamplerOptions::default())?;
//! // In: a raw observation [1, history, obs_dim], oldest step first. Out: chunks [1, 16, horizon, action_dim].
//! // Both in the units of the demonstrations.
//! let obs = vec![0.0; policy.spec.request()];
//! let mut actions = vec![0.0; 16 * policy.spec.chunk()];
//! sampler.sample(&obs, Noise::Seed { seed: 0, request: 0 }, &mut actions)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Training one from demonstrations in memory:
//!
//! ```
//! use advect::data::EpisodeArrays;
//! use advect::{Cpu, Device, Episodes, RunConfig, Trainer};
//!
//! // 4 episodes of 20 steps: obs [80, 3] and action [80, 2], end to end.
//! let obs: Vec<f32> = (0..240).map(|i| (i as f32 * 0.1).sin()).collect();
//! let action: Vec<f32> = (0..160).map(|i| (i as f32 * 0.1).cos()).collect();
//! let arrays = EpisodeArrays { obs, action, obs_dim: 3, action_dim: 2, lengths: vec![20; 4], ..Default::default() };
//! let config = RunConfig { steps: 3, batch_size: 16, ..RunConfig::default() };
//! let mut trainer = Trainer::new(&Device::Cpu(Cpu::new()?), &Episodes::from_arrays(arrays)?, &config)?;
//! let progress = trainer.advance(config.steps)?;
//! assert!(progress.step == 3 && progress.loss.is_finite());
//! let policy = trainer.policy()?; // policy.save("policy.safetensors")?
//! # assert_eq!(policy.spec.horizon, 16);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The floors, each using only those below it: [`compare`] (methods on the same data); [`train`], [`serve`] (the policy server and its client); [`control`] (policies
//! in control loops); [`policy`] (what a checkpoint means, sampling); [`flow`] (paths,
//! solvers, integrators for velocity fields of your own); [`nn`]; [`graph`] (description, derivatives, plans, sessions);
//! [`kernel`] (one file per kernel, with its CPU twin); [`device`], [`data`] and [`report`]. `examples/` has a toy trained
//! in memory, a checkpoint sampled, and a custom field integrated; docs/architecture.md explains the whole.
//!
//! Conventions: f32, row-major; time runs from t = 0 (noise) to t = 1 (action); the same seed names the same noise on every
//! device, and the same device, tuned alike, gives the same bits again. Errors are typed, and no NaN comes out of a sampler.
#![warn(missing_docs)]

pub mod bench;
pub mod compare;
pub mod control;
pub mod data;
pub mod device;
pub mod flow;
pub mod graph;
pub mod kernel;
pub mod nn;
pub mod objective;
pub mod policy;
pub mod report;
pub mod selftest;
pub mod serve;
pub mod train;

pub use data::Episodes;
pub use device::{Cpu, Device, DeviceChoice};
pub use flow::Solver;
pub use policy::{Noise, Policy, Sampler, SamplerOptions, Weights};
pub use train::{RunConfig, Trainer};

/// The README's example, compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
