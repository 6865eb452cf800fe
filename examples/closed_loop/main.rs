//! A policy in closed loop: a robot on a table drives round a post, on the left or on the right, as demonstrated.
//!
//! A scripted expert demonstrates both ways, a small policy learns them, and controllers drive robots from fresh starts in
//! a physics simulation. Near the start both ways are open, and every new chunk chooses again. Where inference takes so
//! long that four steps go by before a chunk is there, plain switching jumps from one way to the other, into the post if
//! need be; real-time chunking makes each new chunk continue the one that is being executed.
//!
//! Run: `cargo run --release --example closed_loop` (about a minute on two idle cores); `-- --help` for its options.

mod expert;
mod figure;
mod measure;
mod world;

use advect::control::{ControlSpec, Controller, Hold, Mode};
use advect::flow::Jacobian;
use advect::kernel::math::Activation;
use advect::nn::mlp::Mlp;
use advect::nn::{Conditioning, NetworkSpec, TimeInput};
use advect::policy::{ChunkSource, GuidedOptions, PrefixSpec};
use advect::train::DimRef;
use advect::{Device, Episodes, Policy, RunConfig, SamplerOptions, Trainer};
use clap::Parser;
use measure::{Course, Score};
use std::path::PathBuf;
use std::time::Duration;
use world::{Layout, RATE, World};

/// Actions in a chunk, and how many are executed between two.
const HORIZON: usize = 16;
const EXECUTE: usize = 6;
/// Steps that a chunk is late where inference is slow.
const DELAY: usize = 4;
/// Steps until a run counts as failed.
const PATIENCE: usize = 90;

/// Train a policy in memory and drive a simulated robot with it
#[derive(Parser)]
struct Options {
    /// Fresh starts for each controller
    #[arg(long, default_value_t = 100)]
    runs: usize,
    /// Demonstrations
    #[arg(long, default_value_t = 400)]
    demonstrations: usize,
    /// Training steps
    #[arg(long, default_value_t = 10_000)]
    steps: u64,
    /// Seed of demonstrations, training, starts and noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where the picture of the runs goes
    #[arg(long, default_value = "closed_loop.svg")]
    out: PathBuf,
    /// Print the table as JSON
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let device = Device::from_env()?;
    let demonstrations = expert::demonstrations(options.demonstrations, options.seed)?.successful()?;
    eprintln!("device: {}; {} demonstrations", device.describe(), demonstrations.count());
    let free = train(&device, &demonstrations, &options, None)?;
    let prefix = train(&device, &demonstrations, &options, Some(PrefixSpec { max_delay: DELAY + 1 }))?;

    let uniforms = |run| expert::uniforms(options.seed, 1, run);
    let layouts: Vec<Layout> = (0..options.runs as u64).map(|run| Layout::from(uniforms(run))).collect();
    let (mut scores, mut panels) = (Vec::new(), Vec::new());
    for contender in contenders(&device, &free, &prefix, options.runs)? {
        let spec = ControlSpec { seed: options.seed, delay: contender.delay, ..contender.spec };
        let mut controller = Controller::new(contender.source, &spec)?.with_delay(contender.delay);
        let courses = drive(&mut controller, &layouts)?;
        scores.push(Score::of(contender.name, contender.delay, &courses));
        panels.push(figure::panel(contender.name, &layouts, &courses));
    }
    figure::beside(&panels).write(&options.out)?;
    match options.json {
        true => println!("{}", serde_json::to_string_pretty(&scores)?),
        false => print_table(&scores),
    }
    eprintln!("the runs are drawn in {}", options.out.display());
    Ok(())
}

/// The loop: observe, act, step. One robot for each layout, all in one batch.
fn drive(controller: &mut Controller, layouts: &[Layout]) -> anyhow::Result<Vec<Course>> {
    let mut worlds: Vec<World> = layouts.iter().map(|layout| World::new(*layout)).collect();
    let mut courses: Vec<Course> = layouts.iter().map(|_| Course::default()).collect();
    for step in 0..PATIENCE {
        let now = Duration::from_secs_f32(step as f32 / RATE);
        let observations: Vec<f32> = worlds.iter().flat_map(World::observe).collect();
        let action = controller.act(&observations, now)?;
        let switched = action.delay.is_some();
        for ((world, course), target) in worlds.iter_mut().zip(&mut courses).zip(action.values.as_chunks().0)
        {
            if !course.over {
                course.note(world, *target, switched);
                world.step(*target);
                course.judge(world);
            }
        }
    }
    Ok(courses)
}

/// A way of controlling, and what makes its chunks.
struct Contender {
    name: &'static str,
    delay: usize,
    spec: ControlSpec,
    source: Box<dyn ChunkSource>,
}

fn contenders(
    device: &Device,
    free: &Policy,
    prefix: &Policy,
    robots: usize,
) -> anyhow::Result<Vec<Contender>> {
    // Held, a robot stays where it sees itself.
    let hold = Hold::Last { from: vec![0, 1] };
    let switching = ControlSpec::new(Mode::Receding, EXECUTE, hold.clone());
    let ensembling = ControlSpec::ensemble(hold.clone());
    let continuing = ControlSpec::new(Mode::RealTime, EXECUTE, hold);
    let plain = || free.sampler(device, robots, 1, &SamplerOptions::default());
    let guided = |jacobian| {
        free.guided_sampler(device, robots, &GuidedOptions { jacobian, ..GuidedOptions::new(EXECUTE) })
    };
    let new = |name, delay, spec: &ControlSpec, source: Box<dyn ChunkSource>| Contender {
        name,
        delay,
        spec: spec.clone(),
        source,
    };
    Ok(vec![
        new("receding horizon", 0, &switching, Box::new(plain()?)),
        new("ensembling", 0, &ensembling, Box::new(plain()?)),
        new("naive switching", DELAY, &switching, Box::new(plain()?)),
        new("guided", DELAY, &continuing, Box::new(guided(Jacobian::Network)?)),
        new("guided, identity Jacobian", DELAY, &continuing, Box::new(guided(Jacobian::Identity)?)),
        new(
            "trained on prefixes",
            DELAY,
            &continuing,
            Box::new(prefix.prefix_sampler(device, robots, &SamplerOptions::default())?),
        ),
    ])
}

fn train(
    device: &Device,
    demonstrations: &Episodes,
    options: &Options,
    prefix: Option<PrefixSpec>,
) -> anyhow::Result<Policy> {
    let config = RunConfig {
        seed: options.seed,
        history: 2,
        horizon: HORIZON,
        relative_to: vec![DimRef::Index(0), DimRef::Index(1)],
        prefix,
        network: NetworkSpec::Mlp(Mlp {
            hidden: vec![128, 128, 128],
            activation: Activation::Silu,
            time: TimeInput::Sinusoidal { dim: 32, scale: 99.0, max_period: 10_000.0 },
            conditioning: Conditioning::Concat,
        }),
        ..RunConfig::default()
    }
    .in_steps(options.steps);
    let mut trainer = Trainer::new(device, demonstrations, &config)?;
    while trainer.step() < config.steps {
        trainer.advance((config.steps - trainer.step()).min(Trainer::MOST_STEPS))?;
    }
    let held_out = trainer.validate()?.unwrap_or(f64::NAN);
    let what = if config.prefix.is_some() { "continuing a prefix" } else { "whole chunks" };
    eprintln!("trained {} steps, {what}: held-out loss {held_out:.3}", trainer.step());
    Ok(trainer.policy()?)
}

fn print_table(scores: &[Score]) {
    println!(
        "{:<26} {:>5} {:>8} {:>8} {:>14} {:>12}",
        "", "delay", "success", "touched", "boundary jerk", "inner jerk"
    );
    println!("{:<26} {:>5} {:>8} {:>8} {:>14} {:>12}", "", "steps", "", "", "RMS m/s^3", "RMS m/s^3");
    for s in scores {
        println!(
            "{:<26} {:>5} {:>6.0} % {:>6.0} % {:>14.1} {:>12}",
            s.controller,
            s.delay,
            1e2 * s.success,
            1e2 * s.touched,
            s.boundary_jerk,
            s.inner_jerk.map_or("-".into(), |jerk| format!("{jerk:.1}"))
        );
    }
}
