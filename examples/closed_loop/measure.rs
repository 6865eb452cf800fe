//! What a run is judged by: success, and how the commands jump where one chunk takes over from another.

use crate::world::{RATE, World};
use serde::Serialize;

/// The course of one robot.
#[derive(Default)]
pub struct Course {
    /// Where it was, m, one per step.
    pub path: Vec<[f32; 2]>,
    /// Commanded positions, m.
    commands: Vec<[f32; 2]>,
    /// Steps at which a new chunk took over.
    switches: Vec<usize>,
    /// Whether it reached the goal without touching anything.
    pub success: bool,
    pub touched: bool,
    pub over: bool,
}

impl Course {
    /// Notes a command, and whether a new chunk took over with it.
    pub fn note(&mut self, world: &World, command: [f32; 2], switched: bool) {
        self.path.push(world.position());
        if switched && !self.commands.is_empty() {
            self.switches.push(self.commands.len());
        }
        self.commands.push(command);
    }

    /// Notes what became of it.
    pub fn judge(&mut self, world: &World) {
        self.touched = world.touched();
        self.over = world.reached() || self.touched;
        self.success = world.reached() && !self.touched;
    }

    /// Squares of the jerk of the commands, (m/s^3)^2: third differences that straddle a switch, and the others.
    fn squares(&self) -> [Vec<f64>; 2] {
        let mut out = [Vec::new(), Vec::new()];
        for i in 3..self.commands.len() {
            let third = |d: usize| {
                let c = |back: usize| f64::from(self.commands[i - back][d]);
                (c(0) - 3.0 * c(1) + 3.0 * c(2) - c(3)) * f64::from(RATE).powi(3)
            };
            let square = third(0).powi(2) + third(1).powi(2);
            let straddles = self.switches.iter().any(|s| (*s..s + 3).contains(&i));
            out[usize::from(!straddles)].push(square);
        }
        out
    }
}

/// The line of one controller in the table.
#[derive(Clone, Debug, Serialize)]
pub struct Score {
    pub controller: &'static str,
    /// Steps by which each chunk is late.
    pub delay: usize,
    pub runs: usize,
    pub success: f64,
    /// The part of the runs that ran into the post or a wall.
    pub touched: f64,
    /// Root mean square jerk of the commands where one chunk takes over from another, m/s^3.
    pub boundary_jerk: f64,
    /// The same within chunks; none where every step is a new chunk's.
    pub inner_jerk: Option<f64>,
}

impl Score {
    pub fn of(controller: &'static str, delay: usize, courses: &[Course]) -> Score {
        let part = |which: fn(&Course) -> bool| {
            courses.iter().filter(|c| which(c)).count() as f64 / courses.len().max(1) as f64
        };
        let rms = |which: usize| {
            let squares: Vec<f64> =
                courses.iter().flat_map(|c| std::mem::take(&mut c.squares()[which])).collect();
            (!squares.is_empty()).then(|| (squares.iter().sum::<f64>() / squares.len() as f64).sqrt())
        };
        Score {
            controller,
            delay,
            runs: courses.len(),
            success: part(|c| c.success),
            touched: part(|c| c.touched),
            boundary_jerk: rms(0).unwrap_or(f64::NAN),
            inner_jerk: rms(1),
        }
    }
}
