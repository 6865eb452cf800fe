//! One robot's progress: what it has executed, what it asked for, and the chunks that have an action for it.

use super::spec::Mode;
use std::collections::VecDeque;
use std::time::Duration;

/// A chunk being executed.
pub(super) struct Chunk {
    /// [horizon, action_dim], physical units.
    pub values: Vec<f32>,
    /// Actions that the robot had executed at its observation.
    pub born: u64,
    /// The caller's time of that observation.
    pub seen_at: Duration,
}

pub(super) struct Robot {
    /// Actions executed since the start.
    pub executed: u64,
    /// That count at the newest observation handed over.
    pub asked: Option<u64>,
    /// Whether a chunk was asked for that is not there yet.
    pub waits: bool,
    /// Whether the gate refused what its chunks say next: it stands at that action until a newer observation's chunk, or its own
    /// standstill, gives it one that passes.
    pub refused: bool,
    /// Whether its observation in this call can be used.
    pub sees: bool,
    /// Whether `values` has been set since the start: by an action, or by where the robot stood.
    pub placed: bool,
    /// Times that it was reset: requests from before do not count.
    pub epoch: u64,
    /// Seed of its noise.
    pub seed: u64,
    /// Requests made with this seed.
    pub requests: u64,
    /// Oldest first.
    chunks: VecDeque<Chunk>,
    most: usize,
    weights: Vec<f64>,
}

/// Where a chunk's rows are in time.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub horizon: usize,
    pub action_dim: usize,
    /// Steps from the observation to the first row.
    pub offset: i64,
}

impl Robot {
    /// A robot that keeps at most so many chunks.
    pub(super) fn new(seed: u64, most: usize) -> Robot {
        Robot {
            executed: 0,
            asked: None,
            waits: false,
            refused: false,
            sees: false,
            placed: false,
            epoch: 0,
            seed,
            requests: 0,
            chunks: VecDeque::with_capacity(most),
            most,
            weights: Vec::with_capacity(most),
        }
    }

    /// The newest chunk.
    pub(super) fn running(&self) -> Option<&Chunk> {
        self.chunks.back()
    }

    /// Takes over a chunk. Beyond the most that are kept, the oldest goes.
    pub(super) fn push(&mut self, values: &[f32], born: u64, seen_at: Duration) {
        let recycled = if self.chunks.len() >= self.most { self.chunks.pop_front() } else { None };
        let mut buffer = recycled.map_or_else(|| Vec::with_capacity(values.len()), |old| old.values);
        buffer.clear();
        buffer.extend_from_slice(values);
        self.chunks.push_back(Chunk { values: buffer, born, seen_at });
    }

    /// Puts an action of the newest chunk in its place.
    pub(super) fn fill(&mut self, row: usize, action: &[f32]) {
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.values[row * action.len()..][..action.len()].copy_from_slice(action);
        }
    }

    /// Gives up its chunks: it asks anew.
    pub(super) fn abandon(&mut self) {
        self.chunks.clear();
        self.asked = None;
        self.waits = false;
        self.refused = false;
    }

    /// Drops its chunks: the next one is followed alone.
    pub(super) fn forget_chunks(&mut self) {
        self.chunks.clear();
    }

    /// Forgets its past.
    pub(super) fn reset(&mut self) {
        self.abandon();
        self.placed = false;
        self.epoch += 1;
    }

    /// Row of a chunk for the next step; negative before its first.
    fn row(&self, chunk: &Chunk, rows: Rows) -> i64 {
        (self.executed - chunk.born) as i64 - rows.offset
    }

    /// Places of the chunks with an action for the next step, oldest first, and where in their values it is.
    fn live(&self, rows: Rows, oldest: Duration) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.chunks.iter().enumerate().filter_map(move |(at, chunk)| {
            let row = usize::try_from(self.row(chunk, rows)).ok().filter(|row| *row < rows.horizon)?;
            (chunk.seen_at >= oldest).then_some((at, row * rows.action_dim))
        })
    }

    /// Whether there is an action for the next step.
    pub(super) fn has_action(&self, rows: Rows, oldest: Duration) -> bool {
        self.live(rows, oldest).next().is_some()
    }

    /// Whether a chunk begins after the next step.
    pub(super) fn begins_later(&self, rows: Rows) -> bool {
        self.chunks.iter().any(|chunk| self.row(chunk, rows) < 0)
    }

    /// Writes the action of the next step; false if there is none. True for `newest` if it is of the newest chunk (of
    /// several, if that is among them).
    pub(super) fn action(
        &mut self,
        mode: Mode,
        rows: Rows,
        oldest: Duration,
        values: &mut [f32],
    ) -> Option<Newest> {
        let dim = rows.action_dim;
        let (at, start) = self.live(rows, oldest).last()?;
        let newest = Newest(at + 1 == self.chunks.len());
        match mode {
            Mode::Receding | Mode::RealTime => {
                values.copy_from_slice(&self.chunks[at].values[start..start + dim]);
            }
            Mode::Ensemble { decay } => {
                let mut weights = std::mem::take(&mut self.weights);
                weights.clear();
                weights.extend(self.live(rows, oldest).enumerate().map(|(i, _)| (-decay * i as f64).exp()));
                let sum: f64 = weights.iter().sum();
                for (d, value) in values.iter_mut().enumerate() {
                    let each = self.live(rows, oldest).zip(&weights);
                    let mean: f64 =
                        each.map(|((at, start), w)| w * f64::from(self.chunks[at].values[start + d])).sum();
                    *value = (mean / sum) as f32;
                }
                self.weights = weights;
            }
        }
        Some(newest)
    }
}

/// Whether an action is of the newest chunk.
pub(super) struct Newest(pub bool);

/// A robot's seed: robots of one seed, and neighbouring seeds, share nothing (the finaliser of SplitMix64).
pub(super) fn robot_seed(seed: u64, robot: usize) -> u64 {
    let mut z = seed.wrapping_add((robot as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: Rows = Rows { horizon: 4, action_dim: 1, offset: 0 };

    fn act(robot: &mut Robot, mode: Mode) -> Option<f32> {
        let mut value = [f32::NAN];
        let found = robot.action(mode, ROWS, Duration::ZERO, &mut value);
        robot.executed += 1;
        found.map(|_| value[0])
    }

    /// By hand: at step 2 the chunks of steps 0, 1 and 2 have rows 2, 1 and 0 for it.
    #[test]
    fn ensembling_weighs_the_oldest_most() {
        let mode = Mode::Ensemble { decay: 0.5 };
        let mut robot = Robot::new(0, 5);
        robot.push(&[0.0, 1.0, 2.0, 3.0], 0, Duration::ZERO);
        assert_eq!(act(&mut robot, mode), Some(0.0));
        robot.push(&[11.0, 12.0, 13.0, 14.0], 1, Duration::ZERO);
        let (w0, w1, w2) = (1.0, (-0.5f64).exp(), (-1.0f64).exp());
        let expected = ((w0 * 1.0 + w1 * 11.0) / (w0 + w1)) as f32;
        assert_eq!(act(&mut robot, mode), Some(expected));
        robot.push(&[102.0, 103.0, 104.0, 105.0], 2, Duration::ZERO);
        let expected = ((w0 * 2.0 + w1 * 12.0 + w2 * 102.0) / (w0 + w1 + w2)) as f32;
        assert_eq!(act(&mut robot, mode), Some(expected));
        act(&mut robot, mode);
        // The first chunk is over: the second is the oldest now.
        let expected = ((w0 * 14.0 + w1 * 104.0) / (w0 + w1)) as f32;
        assert_eq!(act(&mut robot, mode), Some(expected));
    }

    #[test]
    fn the_newest_chunk_with_an_action_counts() {
        let mut robot = Robot::new(0, 2);
        assert_eq!(act(&mut robot, Mode::Receding), None);
        robot.push(&[0.0, 1.0, 2.0, 3.0], 1, Duration::ZERO);
        robot.executed = 3;
        robot.push(&[12.0, 13.0, 14.0, 15.0], 3, Duration::ZERO);
        robot.executed = 5;
        assert_eq!(act(&mut robot, Mode::Receding), Some(14.0), "two were executed meanwhile");
        assert_eq!(act(&mut robot, Mode::Receding), Some(15.0));
        assert_eq!(act(&mut robot, Mode::Receding), None, "over");
        assert!(!robot.has_action(ROWS, Duration::ZERO));
    }

    #[test]
    fn seeds_differ() {
        let seeds: std::collections::HashSet<u64> =
            (0..64).flat_map(|seed| (0..64).map(move |robot| robot_seed(seed, robot))).collect();
        assert_eq!(seeds.len(), 64 * 64);
    }
}
