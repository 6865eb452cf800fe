//! What an objective is given: the sizes of a batch, the network, and a program to draw random numbers into.

use crate::flow::coupling::{BatchShape, Coupling, Rows};
use crate::flow::{Path, TimeLaw};
use crate::graph::{Graph, Program, Result, Shape, Value};
use crate::kernel::draw::{self, Law};
use crate::kernel::{BufferId, reorder};
use crate::nn::Builder;

/// Streams of the training draws (sampling uses others, so that no number is used twice).
pub(crate) mod streams {
    pub const INDEX: u32 = 0x10;
    pub const TIME: u32 = 0x11;
    pub const NOISE: u32 = 0x12;
    pub const PATH: u32 = 0x13;
    pub const DELAY: u32 = 0x14;
    pub const SECOND_TIME: u32 = 0x15;
    pub const TABLE: u32 = 0x16;
    pub const LATENT: u32 = 0x17;
    pub const PAIR: u32 = 0x18;
}

/// The loss graph's input of [`Task::counts`].
pub const COUNTS: &str = "counts";

/// The sizes of a batch and the settings that more than one objective reads.
#[derive(Clone, Debug)]
pub struct Task {
    /// Windows in a batch.
    pub batch: usize,
    /// Actions in a chunk.
    pub horizon: usize,
    /// Values of an action.
    pub action_dim: usize,
    /// Values of an observation history.
    pub obs: usize,
    /// The path from noise to action.
    pub path: Path,
    /// The law of the times.
    pub time_law: TimeLaw,
    /// The longest prefix of decided actions, where there is one.
    pub max_delay: Option<usize>,
    /// Where what lies past an episode's end does not count in the loss: the root of what the mean over all values is multiplied by to
    /// be the mean over those that count.
    pub masked: Option<f32>,
    /// Where the robot is now, in the model space of one action; known where all actions are relative to the observation and every
    /// step of a chunk is normalised alike.
    pub present: Option<Vec<f32>>,
}

impl Task {
    /// Values of a chunk.
    pub fn chunk(&self) -> usize {
        self.horizon * self.action_dim
    }

    /// The graph input of the normalised observations, [batch, obs].
    pub fn obs(&self, g: &mut Graph) -> Result<Value> {
        g.input("obs", Shape::matrix(self.batch, self.obs))
    }

    /// The graph input of the demonstrated chunks in model space, [batch, chunk].
    pub fn x1(&self, g: &mut Graph) -> Result<Value> {
        self.chunks(g, "x1")
    }

    /// What every value of a chunk counts, [batch, chunk]: the root in [`Task::masked`], or 0 past its episode's end. None: all alike.
    pub fn counts(&self, g: &mut Graph) -> Result<Option<Value>> {
        self.masked.map(|_| self.chunks(g, COUNTS)).transpose()
    }

    /// A graph input of chunks.
    pub fn chunks(&self, g: &mut Graph, name: &str) -> Result<Value> {
        g.input(name, Shape::matrix(self.batch, self.chunk()))
    }

    /// A graph input with `cols` numbers for every sample.
    pub fn columns(&self, g: &mut Graph, name: &str, cols: usize) -> Result<Value> {
        g.input(name, Shape::matrix(self.batch, cols))
    }
}

/// What a network is asked.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    /// Chunks [rows, horizon * action_dim], or single actions [rows, action_dim].
    pub a: Value,
    /// Times [1, 1], [rows, 1] or, for networks with a time for every action, [rows, horizon].
    pub t: Value,
    /// A second time, [1, 1] or [rows, 1], of objectives whose network answers for an interval.
    pub interval: Option<Value>,
    /// Normalised observations, [rows, obs].
    pub obs: Value,
}

/// The network that an objective trains: its parameters come by name, so that every query is of the same network.
pub trait Net {
    /// Its output, shaped like the chunk.
    fn query(&self, b: &mut Builder<'_>, x: Query) -> Result<Value>;
}

/// A training program under construction: what is drawn for a batch becomes inputs of the loss graph.
pub struct Preparation<'p> {
    /// The program.
    pub program: &'p mut Program,
    /// The sizes.
    pub task: &'p Task,
    /// Seed and step, which the draws read.
    pub state: BufferId,
    /// The demonstrated chunks in model space.
    pub x1: BufferId,
    /// The noise that belongs to each chunk, where pairs are given.
    x0: Option<BufferId>,
    /// The run's coupling, and how many steps the host's pairings are for.
    pub coupling: (Coupling, usize),
    obs: BufferId,
    empty: BufferId,
    inputs: Vec<(&'static str, BufferId)>,
}

impl<'p> Preparation<'p> {
    /// A preparation with the inputs `obs` and `x1`.
    pub fn new(
        program: &'p mut Program,
        task: &'p Task,
        state: BufferId,
        [obs, x1]: [BufferId; 2],
    ) -> Preparation<'p> {
        let empty = program.empty();
        let (coupling, inputs) = ((Coupling::Independent, 1), vec![("obs", obs), ("x1", x1)]);
        Preparation { program, task, state, x1, x0: None, coupling, obs, empty, inputs }
    }

    /// A buffer for kernels that read none.
    pub fn empty(&self) -> BufferId {
        self.empty
    }

    /// Binds an input of the loss graph.
    pub fn bind(&mut self, name: &'static str, buffer: BufferId) {
        self.inputs.push((name, buffer));
    }

    /// The inputs bound so far.
    pub fn inputs(self) -> Vec<(&'static str, BufferId)> {
        self.inputs
    }

    /// `cols` numbers for every sample.
    pub fn draw(&mut self, law: Law, cols: usize, stream: u32) -> Result<BufferId> {
        let n = self.task.batch * cols;
        let out = self.program.temporary(n)?;
        self.program.push(draw::command(law, n, 0, stream, self.state, self.empty, (out, 0)))?;
        Ok(out)
    }

    /// Standard normal chunks: drawn, or those of given pairs.
    pub fn noise(&mut self) -> Result<BufferId> {
        if let Some(x0) = self.x0 {
            return Ok(x0);
        }
        self.draw(Law::Normal, self.task.chunk(), streams::NOISE)
    }

    /// [`Preparation::noise`] in the order of the chunks that the run's coupling pairs it with.
    pub fn paired_noise(&mut self) -> Result<BufferId> {
        let rows = Rows { noise: self.noise()?, chunk: self.x1, request: self.obs, state: self.state };
        let shape = BatchShape { batch: self.task.batch, dim: self.task.chunk(), request: self.task.obs };
        let (coupling, turns) = self.coupling;
        coupling.apply(self.program, &shape, &rows, streams::PAIR, turns)
    }

    /// A time for every sample, by the run's law.
    pub fn times(&mut self) -> Result<BufferId> {
        let wrong = |e: crate::flow::FlowError| crate::graph::GraphError::Shape {
            op: "time law",
            found: e.to_string(),
            needed: "a law whose parameters are in range",
        };
        let (law, quantiles) = self.task.time_law.kernel().map_err(wrong)?;
        let table = if quantiles.is_empty() { self.empty } else { self.program.constant(&quantiles)? };
        let (n, t) = (self.task.batch, self.program.temporary(self.task.batch)?);
        self.program.push(draw::command(law, n, 0, streams::TIME, self.state, table, (t, 0)))?;
        Ok(t)
    }

    /// A row of a table for every sample, each row as likely as the others: [batch, columns].
    pub fn pick(&mut self, table: &[f32], cols: usize) -> Result<BufferId> {
        let entries = table.len() / cols.max(1);
        let index = self.draw(Law::Index { below: entries as u32 }, 1, streams::TABLE)?;
        let table = self.program.constant(table)?;
        self.rows_of(table, [entries, cols], index)
    }

    /// The rows of a matrix that `index` names, one for every sample.
    fn rows_of(&mut self, matrix: BufferId, [rows, cols]: [usize; 2], index: BufferId) -> Result<BufferId> {
        let batch = self.task.batch;
        let out = self.program.temporary(batch * cols)?;
        self.program.push(reorder::command([batch, cols], rows, (index, 1), self.state, matrix, out))?;
        Ok(out)
    }

    /// Puts given pairs of noise and end, each \[windows, chunk\], in the place of drawn noise and demonstrated chunks; `index` names
    /// the windows of the batch.
    pub fn pair(&mut self, [noise, end]: [BufferId; 2], windows: usize, index: BufferId) -> Result<()> {
        let shape = [windows, self.task.chunk()];
        self.x0 = Some(self.rows_of(noise, shape, index)?);
        self.x1 = self.rows_of(end, shape, index)?;
        if let Some(x1) = self.inputs.iter_mut().find(|(name, _)| *name == "x1") {
            x1.1 = self.x1;
        }
        Ok(())
    }
}
