//! The observations that a request carries.

/// The last observations of each robot, [robots, history, obs_dim], the newest last.
pub(super) struct History {
    rows: Vec<f32>,
    seen: Vec<bool>,
    obs_dim: usize,
    history: usize,
}

impl History {
    pub(super) fn new(robots: usize, history: usize, obs_dim: usize) -> History {
        History { rows: vec![0.0; robots * history * obs_dim], seen: vec![false; robots], obs_dim, history }
    }

    /// Adds an observation of finite values; a robot's first one stands for all the steps before it, as in training.
    pub(super) fn push(&mut self, robot: usize, obs: &[f32]) {
        let size = self.history * self.obs_dim;
        let rows = &mut self.rows[robot * size..][..size];
        if self.seen[robot] {
            rows.copy_within(self.obs_dim.., 0);
            rows[size - self.obs_dim..].copy_from_slice(obs);
        } else {
            rows.chunks_exact_mut(self.obs_dim).for_each(|row| row.copy_from_slice(obs));
            self.seen[robot] = true;
        }
    }

    pub(super) fn forget(&mut self, robot: usize) {
        self.seen[robot] = false;
    }

    pub(super) fn rows(&self) -> &[f32] {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_observation_repeats_and_robots_are_apart() {
        let mut history = History::new(2, 3, 1);
        history.push(0, &[1.0]);
        history.push(1, &[10.0]);
        history.push(0, &[2.0]);
        assert_eq!(history.rows(), [1.0, 1.0, 2.0, 10.0, 10.0, 10.0]);
        history.push(0, &[3.0]);
        history.push(0, &[4.0]);
        assert_eq!(history.rows()[..3], [2.0, 3.0, 4.0]);
        history.forget(0);
        history.push(0, &[7.0]);
        assert_eq!(history.rows(), [7.0, 7.0, 7.0, 10.0, 10.0, 10.0]);
    }
}
