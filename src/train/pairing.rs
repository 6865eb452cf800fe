//! The host's part of exact couplings: which noise row goes with which window at every step, known before the step runs.
//!
//! Batches and noise are counter-based draws, so the host makes those of any step itself, through the same twins as the CPU
//! executor, and a device never waits for an answer: the pairings of the next steps are in a table before they are submitted.
//! A GPU's noise is within 2e-6 of the host's, so its pairings are optimal to that much. What is computed for a step depends
//! on the seed and the step alone.

use super::Result;
use super::program::RING;
use crate::device::Device;
use crate::flow::coupling::{BatchShape, exact};
use crate::graph::Session;
use crate::kernel::BufferId;
use crate::kernel::philox::{fill_bits, fill_normal, index_below};
use crate::kernel::window::{self, WindowShape};
use crate::objective::task::streams;
use rayon::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Which windows a step's batch has.
pub(super) enum Batch {
    /// Drawn by the step, of so many.
    Drawn(u32),
    /// The same at every step.
    Fixed(Vec<u32>),
}

/// What the draws of a step are made from.
pub(super) struct Source {
    shape: WindowShape,
    condition_weight: f32,
    seed: u64,
    batch: Batch,
    /// Per window: the row of the newest observation, the first and the last of its episode.
    windows: Vec<[u32; 3]>,
    affine: Vec<f32>,
    obs: Vec<f32>,
    action: Vec<f32>,
}

impl Source {
    pub fn new(
        shape: WindowShape,
        condition_weight: f32,
        (seed, batch): (u64, Batch),
        (windows, affine, [obs, action]): (&[[u32; 3]], Vec<f32>, [&[f32]; 2]),
    ) -> Source {
        let (obs, action) = (obs.to_vec(), action.to_vec());
        Source { shape, condition_weight, seed, batch, windows: windows.to_vec(), affine, obs, action }
    }

    /// The noise row of every window of the batch of step `step`.
    pub fn pairs(&self, step: u64) -> Result<Vec<u32>> {
        let WindowShape { batch, history, obs_dim, horizon, action_dim, .. } = self.shape;
        let shape = BatchShape { batch, dim: horizon * action_dim, request: history * obs_dim };
        let index = match &self.batch {
            Batch::Fixed(index) => index.clone(),
            Batch::Drawn(below) => {
                let mut index = vec![0; batch];
                fill_bits(self.seed, streams::INDEX, step, 0, &mut index);
                index.iter_mut().for_each(|i| *i = index_below(*i, *below));
                index
            }
        };
        let mut noise = vec![0.0; batch * shape.dim];
        fill_normal(self.seed, streams::NOISE, step, 0, &mut noise);
        let (mut z, mut chunk) = (vec![0.0; batch * shape.request], vec![0.0; batch * shape.dim]);
        let sources = [&self.obs[..], &self.action, &self.affine];
        window::fill(&self.shape, &index, self.windows.as_flattened(), sources, &mut z, &mut chunk);
        Ok(exact::pair(&shape, self.condition_weight, [&chunk, &noise, &z])?.columns)
    }

    /// Those of several steps, one after another, in parallel on the threads of the current pool.
    fn several(&self, steps: std::ops::Range<u64>, stop: &AtomicBool) -> Result<Vec<Vec<u32>>> {
        let one = |step| match stop.load(Ordering::Relaxed) {
            // Nobody waits for them any more.
            true => Ok(Vec::new()),
            false => self.pairs(step),
        };
        steps.into_par_iter().map(one).collect()
    }
}

/// Pairings that are ready, and those that are being computed while a device works.
pub(super) struct Pairing {
    source: Arc<Source>,
    table: BufferId,
    device: Device,
    /// The step that `ready` starts with.
    first: u64,
    ready: VecDeque<Vec<u32>>,
    ahead: Option<JoinHandle<Result<Vec<Vec<u32>>>>>,
    stop: Arc<AtomicBool>,
}

impl Pairing {
    /// Of a training session on `device` that reads them from `table`.
    pub fn new(source: Source, table: BufferId, device: &Device) -> Pairing {
        Pairing {
            source: Arc::new(source),
            table,
            device: device.clone(),
            first: 0,
            ready: VecDeque::new(),
            ahead: None,
            stop: Arc::default(),
        }
    }

    /// Puts the pairings of `steps` steps (at most [`RING`]) from `first` on where the session's plan reads them.
    pub fn write(&mut self, session: &mut Session, first: u64, steps: u64) -> Result<()> {
        let batch = self.source.shape.batch;
        let rows = self.take(first, steps)?;
        let turn = (first % RING as u64) as usize;
        let (head, wrapped) = rows.split_at(rows.len().min((RING - turn) * batch));
        session.write_at(self.table, turn * batch, bytemuck::cast_slice(head))?;
        Ok(session.write_u32(self.table, wrapped)?)
    }

    /// The pairings of `steps` steps from `first` on, flattened. On a GPU as many of the steps after them are begun, so that
    /// they are ready when the device is; on the CPU executor every thread is needed for the steps themselves.
    fn take(&mut self, first: u64, steps: u64) -> Result<Vec<u32>> {
        if let Some(ahead) = self.ahead.take() {
            // A thread that could not finish leaves its steps to this one.
            self.ready.extend(ahead.join().ok().transpose()?.unwrap_or_default());
        }
        if self.first != first {
            self.ready.clear();
        }
        let have = self.ready.len() as u64;
        let missing = first + have.min(steps)..first + steps;
        let (source, stop) = (&self.source, &self.stop);
        let more = match &self.device {
            Device::Cpu(cpu) => cpu.install(|| source.several(missing, stop))?,
            Device::Gpu(_) => source.several(missing, stop)?,
        };
        self.ready.extend(more);
        let table = self.ready.drain(..steps as usize).flatten().collect();
        self.first = first + steps;
        if matches!(self.device, Device::Gpu(_)) {
            let next = self.first + self.ready.len() as u64..self.first + steps;
            let (source, stop) = (self.source.clone(), self.stop.clone());
            // Without a thread the next call computes them itself.
            self.ahead = (!next.is_empty())
                .then(|| std::thread::Builder::new().spawn(move || source.several(next, &stop)).ok())
                .flatten();
        }
        Ok(table)
    }
}

impl Drop for Pairing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::EpisodeArrays;
    use crate::data::Episodes;
    use crate::device::{Cpu, DeviceChoice};
    use crate::graph::Program;
    use crate::kernel::Target;
    use crate::kernel::draw::{self, Law};
    use crate::kernel::state::{State, WORDS};

    const SHAPE: WindowShape =
        WindowShape { batch: 33, history: 2, obs_dim: 3, horizon: 4, action_dim: 2, action_offset: 0 };
    const SEED: u64 = (5 << 32) + 77;

    fn episodes() -> Episodes {
        let mut obs = vec![0.0; 3 * 60];
        let mut action = vec![0.0; 2 * 60];
        fill_normal(1, 1, 0, 0, &mut obs);
        fill_normal(1, 2, 0, 0, &mut action);
        let arrays = EpisodeArrays {
            obs,
            action,
            obs_dim: 3,
            action_dim: 2,
            lengths: vec![30; 2],
            ..Default::default()
        };
        Episodes::from_arrays(arrays).unwrap()
    }

    fn table() -> Vec<[u32; 3]> {
        (0..60).map(|row| [row, row / 30 * 30, row / 30 * 30 + 29]).collect()
    }

    fn affine() -> Vec<f32> {
        let row = [0.1, -0.2, 0.3, 0.4, -0.5, 0.6, -0.7, 0.8];
        window::affine([&row[..3], &[2.0, 3.0, 0.5], &[1.0; 3]], [&row, &[1.5; 8]], &[None, Some(1)])
    }

    fn source() -> Source {
        let episodes = episodes();
        let data = (&table()[..], affine(), [episodes.obs(), episodes.action()]);
        Source::new(SHAPE, 0.3, (SEED, Batch::Drawn(60)), data)
    }

    /// The host's draws are those of the kernels that a training step runs.
    #[test]
    fn the_host_pairs_what_the_step_draws() {
        let device = Device::Cpu(Cpu::with_threads(2).unwrap());
        let (dim, request) = (8, 6);
        let mut p = Program::new(Target::CPU);
        let mut resident = |name: &str, n: usize| p.resident(name, n).unwrap();
        let (state, index) = (resident("state", WORDS), resident("index", SHAPE.batch));
        let (noise, z) = (resident("noise", SHAPE.batch * dim), resident("z", SHAPE.batch * request));
        let chunk = resident("chunk", SHAPE.batch * dim);
        let words: Vec<f32> = table().as_flattened().iter().map(|w| f32::from_bits(*w)).collect();
        let [rows, obs, action, factors] =
            [&words[..], episodes().obs(), episodes().action(), &affine()].map(|c| p.constant(c).unwrap());
        let empty = p.empty();
        let law = Law::Index { below: 60 };
        p.push(draw::command(law, SHAPE.batch, 0, streams::INDEX, state, empty, (index, 0))).unwrap();
        let n = SHAPE.batch * dim;
        p.push(draw::command(Law::Normal, n, 0, streams::NOISE, state, empty, (noise, 0))).unwrap();
        p.push(window::command(&SHAPE, index, rows, obs, action, factors, z, chunk)).unwrap();
        let mut session = Session::new(&device, p.finish().unwrap()).unwrap();
        let id = |session: &Session, name: &str| session.plan().buffer(name).unwrap();
        let source = source();
        for step in [0, 9, (1 << 32) + 3] {
            let at = id(&session, "state");
            session.write(at, &State::new(SEED, step).words()).unwrap();
            session.run(&[0]).unwrap();
            let mut read = |name: &str, n: usize| {
                let (mut out, at) = (vec![0.0; n], id(&session, name));
                session.read(at, &mut out).unwrap();
                out
            };
            let (chunk, noise, z) = (read("chunk", n), read("noise", n), read("z", SHAPE.batch * request));
            let shape = BatchShape { batch: SHAPE.batch, dim, request };
            let want = exact::pair(&shape, 0.3, [&chunk, &noise, &z]).unwrap();
            assert_eq!(source.pairs(step).unwrap(), want.columns, "step {step}");
        }
    }

    /// Whatever was computed ahead, and whether steps follow each other or not.
    #[test]
    fn pairings_do_not_depend_on_how_they_are_asked_for() {
        let one = |step| source().pairs(step).unwrap();
        let mut devices = vec![Device::Cpu(Cpu::with_threads(2).unwrap())];
        devices.extend(Device::open(&DeviceChoice::Gpu));
        for device in devices {
            let mut pairing = Pairing::new(source(), BufferId(0), &device);
            for (first, steps) in [(0, 1), (1, 4), (5, 2), (7, 5), (3, 2), (40, 3), (43, 3)] {
                let want: Vec<u32> = (first..first + steps).flat_map(one).collect();
                assert_eq!(pairing.take(first, steps).unwrap(), want, "{steps} from {first}");
            }
        }
    }
}
