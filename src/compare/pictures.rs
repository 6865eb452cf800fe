//! Figures of report.html: samples over the data, and flows over time.

use super::evaluate::{Field, Panel, Trace};
use super::{RunRecord, Task};
use crate::report::{Colour, Figure, LineColour, Scene2d, Style};

/// Held-out points below a picture, at most.
const POINTS: usize = 1200;
/// Times of a flow's panels.
const TIMES: [f32; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

const DATA: Colour = Colour([176, 184, 196]);
const SAMPLE: Colour = Colour([0, 114, 178]);
const ARROW: Colour = Colour([120, 130, 145]);

/// A picture and its caption.
pub(super) type Captioned = (Figure, String);

/// What is below every picture of a task.
pub(super) struct Ground<'a> {
    task: &'a Task,
    /// Lines of the held-out chunks.
    lines: Vec<Vec<[f32; 2]>>,
    extent: [[f32; 2]; 2],
}

impl<'a> Ground<'a> {
    pub(super) fn new(task: &'a Task) -> Ground<'a> {
        let held_out = &task.held_out;
        let lines: Vec<Vec<[f32; 2]>> = held_out
            .chunks
            .chunks_exact(task.chunk())
            .take(POINTS)
            .enumerate()
            .map(|(i, c)| task.law.line(held_out.observation(i), c))
            .collect();
        let (mut low, mut high) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
        for p in lines.iter().flatten() {
            for i in 0..2 {
                (low[i], high[i]) = (low[i].min(p[i]), high[i].max(p[i]));
            }
        }
        let room = [0, 1].map(|i| 0.12 * (high[i] - low[i]).max(1e-3));
        let extent = [[0, 1].map(|i| low[i] - room[i]), [0, 1].map(|i| high[i] + room[i])];
        Ground { task, lines, extent }
    }

    /// The data, of one observation where lines are drawn.
    fn scene(&self, title: String, pair: Option<usize>) -> Scene2d {
        let [low, high] = self.extent;
        let scene = Scene2d::new(title, low, high);
        match pair {
            None => {
                let dots: Vec<[f32; 2]> = self.lines.iter().flatten().copied().collect();
                scene.points(&dots, 1.3, Style::fill(DATA).opacity(0.7))
            }
            Some(pair) => {
                let observation = self.task.held_out.observation(pair);
                let scene = self.task.law.scene(observation, scene);
                if self.task.reproduction.is_some() {
                    return scene;
                }
                let chunk = self.task.chunk();
                let own = &self.task.held_out.chunks[pair * chunk..(pair + 1) * chunk];
                let line = self.task.law.line(observation, own);
                scene.lines(&line, line.len(), LineColour::One(Colour::INK), 2.2, 0.9)
            }
        }
    }

    /// A panel of samples.
    fn panel(&self, method: &str, panel: &Panel) -> Figure {
        let scene = self.scene(format!("Samples of {method}"), panel.pair);
        match panel.length {
            1 => scene.points(&panel.points, 1.5, Style::fill(SAMPLE).opacity(0.55)).render(),
            _ => {
                let scene = scene.lines(&panel.points, panel.length, LineColour::One(SAMPLE), 1.1, 0.55);
                scene.render()
            }
        }
    }

    /// The samples of a run, with what they scored.
    pub(super) fn samples(&self, record: &RunRecord) -> Vec<Captioned> {
        let (name, pictures) = (&record.training.method, &record.pictures);
        let count = pictures.panels.len();
        let caption = |i: usize| match count {
            1 => format!("{name}, {} evaluations", pictures.nfe),
            _ => format!("{name}, {} evaluations, observation {}", pictures.nfe, i + 1),
        };
        let one =
            |text: String| if pictures.nfe == 1 { text.replace("evaluations", "evaluation") } else { text };
        let panels = pictures.panels.iter().enumerate();
        panels.map(|(i, p)| (self.panel(name, p), one(caption(i)))).collect()
    }

    /// A flow over time: the samples at some times, over the velocity field where there is one.
    pub(super) fn flow(&self, method: &str, trace: &Trace) -> Vec<Captioned> {
        let width = trace.samples * trace.length;
        let extent = self.flow_extent(trace);
        TIMES
            .iter()
            .filter_map(|time| {
                let near = |t: &&f32| (**t - time).abs();
                let at = trace.times.iter().min_by(|a, b| near(a).total_cmp(&near(b)))?;
                let index = trace.times.iter().position(|t| t == at)?;
                let states = trace.states.get(index * width..(index + 1) * width)?;
                let title = format!("The flow of {method} at t = {at}");
                let mut scene = self.scene(title, trace.pair).extent(extent[0], extent[1]);
                let field = |t: &&Field| (t.time - time).abs() < 0.1;
                if let Some(field) = trace.fields.iter().find(field) {
                    scene = arrows(scene, field);
                }
                let colour = Colour::sequential(f64::from(*time));
                scene = match trace.length {
                    1 => scene.points(states, 2.0, Style::fill(colour).opacity(0.85)),
                    n => scene.lines(states, n, LineColour::One(colour), 1.0, 0.35),
                };
                Some((scene.render(), format!("{method}, t = {at}")))
            })
            .collect()
    }

    /// The data and nearly all states.
    fn flow_extent(&self, trace: &Trace) -> [[f32; 2]; 2] {
        let [mut low, mut high] = self.extent;
        for axis in 0..2 {
            let mut values: Vec<f32> =
                trace.states.iter().map(|p| p[axis]).filter(|v| v.is_finite()).collect();
            values.sort_unstable_by(f32::total_cmp);
            if let (Some(a), Some(b)) =
                (values.get(values.len() / 200), values.get(values.len() - 1 - values.len() / 200))
            {
                (low[axis], high[axis]) = (low[axis].min(*a), high[axis].max(*b));
            }
        }
        [low, high]
    }
}

/// Arrows of a field, the longest as long as the grid is wide.
fn arrows(scene: Scene2d, field: &Field) -> Scene2d {
    let length = |v: &[f32; 2]| v[0].hypot(v[1]);
    let longest = field.velocities.iter().map(length).fold(0.0, f32::max);
    let spacing = match field.places.as_slice() {
        [a, b, ..] => (b[0] - a[0]).abs(),
        _ => 0.0,
    };
    if longest <= 0.0 || !longest.is_finite() {
        return scene;
    }
    let (mut shafts, mut heads) = (Vec::new(), Vec::new());
    for (place, velocity) in field.places.iter().zip(&field.velocities) {
        let v = velocity.map(|v| v / longest * spacing);
        let tip = [place[0] + v[0], place[1] + v[1]];
        shafts.extend([*place, tip]);
        heads.push(tip);
    }
    scene.lines(&shafts, 2, LineColour::One(ARROW), 0.9, 0.8).points(&heads, 1.0, Style::fill(ARROW))
}
