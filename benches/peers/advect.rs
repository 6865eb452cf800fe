//! advect as one of the peers that `benches/peers/run.sh` compares: `cargo build --release --bench peer`.
//!
//! A run takes noise and observations from the host's memory and has the chunks there again; the others' data stay on their
//! device.

mod protocol;

use advect::bench::{Workload, demonstrations, run_config};
use advect::flow::integrator::Start;
use advect::flow::{Batch, IntegrateOptions, Integrator, Solver};
use advect::train::Trainer;
use advect::{Cpu, Device};
use protocol::{Args, CHUNK, Error, Peer, Work};
use safetensors::SafeTensors;

/// Random demonstrations, as `advect bench --train` has them.
const EPISODES: usize = 256;
const EPISODE_LEN: usize = 256;

/// Sampling from given noise.
struct Sampling {
    integrator: Integrator,
    noise: Vec<f32>,
    observations: Vec<f32>,
    chunks: Vec<f32>,
}

impl Work for Sampling {
    fn run(&mut self) -> Result<(), Error> {
        let start = Start::Given(&self.noise);
        Ok(self.integrator.run(start, &[&self.observations], &mut self.chunks, None)?)
    }

    fn output(&mut self) -> Result<Option<Vec<f32>>, Error> {
        Ok(Some(self.chunks.clone()))
    }
}

/// Training steps one by one: the loss is on the host after each.
struct Training(Trainer);

impl Work for Training {
    fn run(&mut self) -> Result<(), Error> {
        self.0.advance(1)?;
        Ok(())
    }

    fn output(&mut self) -> Result<Option<Vec<f32>>, Error> {
        Ok(None)
    }
}

struct Advect {
    args: Args,
    workload: Workload,
    device: Device,
}

impl Peer for Advect {
    fn describe(&self) -> (String, String, String) {
        ("advect".into(), env!("CARGO_PKG_VERSION").into(), self.device.describe())
    }

    fn prepare(&mut self, what: &str, batch: usize) -> Result<Box<dyn Work>, Error> {
        match what {
            "sample" => {
                let mut store = self.workload.parameters(0)?;
                let bytes = std::fs::read(&self.args.weights)?;
                store.load(&SafeTensors::deserialize(&bytes)?, "")?;
                let rows = Batch { requests: batch, samples: 1 };
                let (solver, options) = (Solver::euler(self.args.steps), IntegrateOptions::default());
                let mut integrator =
                    Integrator::new(&self.device, &self.workload, &store.layout, solver, rows, &options)?;
                integrator.set_params(&store.values)?;
                let (noise, observations) = self.args.rows(batch)?;
                Ok(Box::new(Sampling { integrator, noise, observations, chunks: vec![0.0; batch * CHUNK] }))
            }
            "train" => {
                let episodes = demonstrations(EPISODES, EPISODE_LEN, 1)?;
                let config = run_config(self.workload, batch, 1);
                Ok(Box::new(Training(Trainer::new(&self.device, &episodes, &config)?)))
            }
            _ => Err(format!("unknown work {what:?}").into()),
        }
    }
}

fn main() -> Result<(), Error> {
    let args = Args::parse()?;
    let device = match args.device.as_str() {
        "cpu" => Device::Cpu(Cpu::with_threads(args.threads)?),
        other => Device::open(&other.parse()?)?,
    };
    let workload = args.workload.parse()?;
    protocol::serve(&args, &mut Advect { args: args.clone(), workload, device })
}
