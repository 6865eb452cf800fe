//! How samples flow from noise (t = 0) to actions (t = 1): small multiples at chosen times, and the paths in between.

use super::ReportError;
use super::colour::Colour;
use super::format::significant;
use super::legend::Key;
use super::paint::{LineColour, Style};
use super::scene::Scene2d;
use super::svg::{Anchor, Figure, SvgWriter};

const CELL: f64 = 200.0;
const GAP: f64 = 10.0;
const HEAD: f64 = 24.0;
const PATHS_WIDTH: f64 = 404.0;
/// The most samples drawn as dots, and as lines; beyond, evenly chosen ones stand for all.
const MOST_DOTS: usize = 2000;
const MOST_LINES: usize = 256;
/// The most points along one particle's path.
const MOST_TIMES: usize = 41;

/// The states of a solver over time, for `samples` points or chunks of the plane.
#[derive(Debug, Clone)]
pub struct Flow<'a> {
    times: &'a [f32],
    states: &'a [[f32; 2]],
    samples: usize,
    horizon: usize,
    step: usize,
    modes: Option<&'a [usize]>,
    backdrop: Option<Scene2d>,
    extent: Option<[[f32; 2]; 2]>,
    animated: bool,
}

impl<'a> Flow<'a> {
    /// Samples that are points: `states` is `[times][samples][2]`, row-major, in the data's units; `times` are the
    /// solver's, in order from 0 to 1.
    ///
    /// # Errors
    /// [`ReportError::Shape`] if the length of `states` does not fit.
    pub fn points(times: &'a [f32], states: &'a [f32], samples: usize) -> Result<Flow<'a>, ReportError> {
        Flow::chunks(times, states, samples, 1)
    }

    /// Samples that are chunks: `states` is `[times][samples][horizon][2]`, row-major, in the data's units.
    ///
    /// # Errors
    /// [`ReportError::Shape`] if the length of `states` does not fit.
    pub fn chunks(
        times: &'a [f32],
        states: &'a [f32],
        samples: usize,
        horizon: usize,
    ) -> Result<Flow<'a>, ReportError> {
        let sizes = [samples, horizon, 2];
        let needed = sizes.iter().try_fold(times.len(), |n, size| n.checked_mul(*size)).unwrap_or(usize::MAX);
        if states.len() != needed {
            let what = "flow states [times][samples][horizon][2]";
            return Err(ReportError::Shape { what, found: states.len(), needed });
        }
        let (states, _) = states.as_chunks::<2>();
        let step = horizon.saturating_sub(1);
        let (modes, backdrop, extent) = (None, None, None);
        Ok(Flow { times, states, samples, horizon, step, modes, backdrop, extent, animated: false })
    }

    /// Chooses the step of the chunk whose paths [`Flow::paths`] shows (from 0; default: the last).
    pub fn step(mut self, step: usize) -> Self {
        self.step = step.min(self.horizon.saturating_sub(1));
        self
    }

    /// Colours samples by mode, one index per sample, instead of by time.
    pub fn modes(mut self, modes: &'a [usize]) -> Self {
        self.modes = Some(modes);
        self
    }

    /// Draws on top of a scene, whose extent and direction of y then hold (default: all that is finite fits, y up).
    pub fn backdrop(mut self, scene: Scene2d) -> Self {
        self.backdrop = Some(scene);
        self
    }

    /// Sets what is shown: the corners of least and greatest x and y.
    pub fn extent(mut self, low: [f32; 2], high: [f32; 2]) -> Self {
        self.extent = Some([low, high]);
        self
    }

    /// Lets dots run along the paths of [`Flow::paths`] in a four-second loop. Readers who prefer reduced motion, and
    /// printers, get the still picture.
    pub fn animated(mut self, animated: bool) -> Self {
        self.animated = animated;
        self
    }

    /// Panels with all samples at the stored times nearest to `times`: dots, or polylines where samples are chunks.
    pub fn multiples(&self, times: &[f32]) -> Figure {
        let mut indices: Vec<usize> = times.iter().filter_map(|t| self.nearest(*t)).collect();
        indices.dedup();
        let base = self.base();
        let columns = match indices.len() {
            0 | 1 => 1,
            2 | 4 => 2,
            _ => 3,
        };
        let rows = indices.len().div_ceil(columns).max(1);
        let height = base.height_for(CELL);
        let size = [
            columns as f64 * (CELL + GAP) + GAP,
            rows as f64 * (height + HEAD) + GAP + (rows - 1) as f64 * 4.0,
        ];
        let mut svg = SvgWriter::new(size[0], size[1], "Samples on their way from noise to actions");
        if indices.is_empty() || !self.has_data() {
            svg.no_data(size[0] / 2.0, size[1] / 2.0);
            return svg.finish();
        }
        for (place, index) in indices.into_iter().enumerate() {
            let (column, row) = (place % columns, place / columns);
            let x = GAP + column as f64 * (CELL + GAP);
            let y = row as f64 * (height + HEAD + 4.0);
            svg.label(x + 1.0, y + 17.0, Anchor::Start, Colour::INK, 12.0, &self.heading(index));
            self.panel(base.clone(), index).draw(&mut svg, [x, y + HEAD], [CELL, height]);
        }
        svg.finish()
    }

    /// One panel with each sample's path from noise (small grey dot) to its end (coloured dot).
    pub fn paths(&self) -> Figure {
        let stride = self.samples.div_ceil(MOST_LINES).max(1);
        let kept: Vec<usize> = (0..self.samples).step_by(stride).collect();
        let times = self.path_times();
        let lines: Vec<[f32; 2]> =
            kept.iter().flat_map(|sample| times.iter().map(|t| self.state(*t, *sample, self.step))).collect();
        let ends = |place: usize| -> Vec<[f32; 2]> {
            lines.chunks(times.len().max(1)).filter_map(|line| line.get(place).copied()).collect()
        };
        let (starts, stops) = (ends(0), ends(times.len().saturating_sub(1)));
        let modes: Option<Vec<usize>> = self.modes.map(|_| kept.iter().map(|s| self.mode(*s)).collect());
        let colour = modes.clone().map_or(LineColour::Along, LineColour::Category);
        let opacity = (8.0 / (kept.len() as f64).sqrt().max(1.0)).clamp(0.25, 0.8);
        let noise = Style::fill(Colour([140, 149, 162])).opacity(0.9);
        let mut scene = self.base();
        let height = scene.height_for(PATHS_WIDTH);
        let size = [PATHS_WIDTH + 2.0 * GAP, height + GAP + HEAD + 6.0];
        let mut svg = SvgWriter::new(size[0], size[1], "Paths of the samples from noise to action");
        if !self.has_data() {
            svg.no_data(size[0] / 2.0, size[1] / 2.0);
            return svg.finish();
        }
        scene = scene.lines(&lines, times.len(), colour, 1.2, opacity).points(&starts, 1.5, noise);
        scene = match &modes {
            None => {
                scene.points(&stops, 2.4, Style::fill(Colour::sequential(1.0)).outlined(Colour::INK, 0.4))
            }
            Some(modes) => stops.iter().zip(modes).fold(scene, |scene, (stop, mode)| {
                scene.points(&[*stop], 2.4, Style::fill(Colour::category(*mode)).outlined(Colour::WHITE, 0.5))
            }),
        };
        if self.animated {
            scene = scene.moving(&lines, times.len());
        }
        let heading =
            if self.horizon > 1 { format!("paths of chunk step {}", self.step) } else { "paths".into() };
        svg.label(GAP + 1.0, 17.0, Anchor::Start, Colour::INK, 12.0, &heading);
        if modes.is_none() {
            let key = Key::Ramp(["t = 0".into(), "1".into()]);
            key.draw(&mut svg, GAP + PATHS_WIDTH - key.width(), 17.0);
        }
        scene.draw(&mut svg, [GAP, HEAD], [PATHS_WIDTH, height]);
        svg.finish()
    }

    fn state(&self, time: usize, sample: usize, step: usize) -> [f32; 2] {
        let index = (time * self.samples + sample) * self.horizon + step;
        self.states.get(index).copied().unwrap_or([f32::NAN; 2])
    }

    fn mode(&self, sample: usize) -> usize {
        self.modes.and_then(|modes| modes.get(sample)).copied().unwrap_or(0)
    }

    fn has_data(&self) -> bool {
        self.states.iter().any(|p| p.iter().all(|v| v.is_finite()))
    }

    fn nearest(&self, time: f32) -> Option<usize> {
        let distance = |i: &usize| (self.times[*i] - time).abs();
        let usable = (0..self.times.len()).filter(|i| distance(i).is_finite());
        usable.min_by(|a, b| distance(a).total_cmp(&distance(b)))
    }

    /// Evenly chosen stored times, first and last among them.
    fn path_times(&self) -> Vec<usize> {
        let (stored, wanted) = (self.times.len(), self.times.len().min(MOST_TIMES));
        (0..wanted).map(|i| i * (stored - 1) / (wanted - 1).max(1)).collect()
    }

    fn heading(&self, index: usize) -> String {
        let time = significant((f64::from(self.times[index]) * 1000.0).round() / 1000.0, 3);
        match index {
            0 => format!("t = {time}, noise"),
            i if i + 1 == self.times.len() => format!("t = {time}, actions"),
            _ => format!("t = {time}"),
        }
    }

    /// The scene below every panel.
    fn base(&self) -> Scene2d {
        let [low, high] = self.extent.unwrap_or_else(|| self.bounds());
        match &self.backdrop {
            Some(scene) if self.extent.is_some() => scene.clone().extent(low, high),
            Some(scene) => scene.clone(),
            None => Scene2d::new("Flow", low, high),
        }
    }

    /// A square around all finite states, with a little room.
    fn bounds(&self) -> [[f32; 2]; 2] {
        let (mut low, mut high) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
        for point in self.states.iter().filter(|p| p.iter().all(|v| v.is_finite())) {
            for axis in 0..2 {
                low[axis] = low[axis].min(point[axis]);
                high[axis] = high[axis].max(point[axis]);
            }
        }
        let half = (0..2).map(|i| (high[i] - low[i]) / 2.0).fold(0.0, f32::max) * 1.06;
        let half = if half > 0.0 { half } else { 1.0 };
        let centre = [0, 1].map(|i| low[i] / 2.0 + high[i] / 2.0);
        [centre.map(|c| c - half), centre.map(|c| c + half)]
    }

    fn panel(&self, scene: Scene2d, index: usize) -> Scene2d {
        let most = if self.horizon > 1 { MOST_LINES } else { MOST_DOTS };
        let kept: Vec<usize> = (0..self.samples).step_by(self.samples.div_ceil(most).max(1)).collect();
        let count = (kept.len() as f64).sqrt().max(1.0);
        if self.horizon > 1 {
            let all = kept.iter().flat_map(|s| (0..self.horizon).map(|step| self.state(index, *s, step)));
            let colour = match self.modes {
                Some(_) => LineColour::Category(kept.iter().map(|s| self.mode(*s)).collect()),
                None => LineColour::Along,
            };
            return scene.lines(
                &all.collect::<Vec<_>>(),
                self.horizon,
                colour,
                1.0,
                (6.0 / count).clamp(0.15, 0.9),
            );
        }
        let opacity = (16.0 / count).clamp(0.35, 0.85);
        let dots = |scene: Scene2d, colour, points: Vec<[f32; 2]>| {
            scene.points(&points, 2.2, Style::fill(colour).opacity(opacity))
        };
        let mut by_colour = std::collections::BTreeMap::<usize, Vec<[f32; 2]>>::new();
        for sample in kept {
            by_colour.entry(self.mode(sample)).or_default().push(self.state(index, sample, 0));
        }
        let time = f64::from(self.times[index]);
        by_colour.into_iter().fold(scene, |scene, (mode, points)| {
            let colour = if self.modes.is_some() { Colour::category(mode) } else { Colour::sequential(time) };
            dots(scene, colour, points)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::well_formed;
    use super::*;

    /// Samples that go straight from a line at y = 0 to a line at y = 1.
    fn states(times: &[f32], samples: usize, horizon: usize) -> Vec<f32> {
        let of_sample = |t: f32, s: usize| (0..horizon).flat_map(move |h| [s as f32 + h as f32 * 0.1, t]);
        times.iter().flat_map(|t| (0..samples).flat_map(move |s| of_sample(*t, s))).collect()
    }

    const TIMES: [f32; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

    #[test]
    fn every_form_is_well_formed_and_deterministic() {
        let modes = [0, 1, 2];
        for horizon in [1, 4] {
            let states = states(&TIMES, 9, horizon);
            for modes in [None, Some(&modes[..])] {
                let flow = Flow::chunks(&TIMES, &states, 9, horizon)
                    .expect("a fitting shape")
                    .animated(true)
                    .step(99);
                let flow = Flow { modes, ..flow };
                let figures = [flow.multiples(&[0.0, 0.5, 1.0]), flow.paths()];
                figures.iter().for_each(|figure| well_formed(figure.svg()));
                assert_eq!(figures, [flow.multiples(&[0.0, 0.5, 1.0]), flow.paths()]);
                assert!(
                    figures[0].svg().contains("t = 0, noise") && figures[0].svg().contains("t = 1, actions")
                );
            }
        }
    }

    #[test]
    fn a_wrong_length_is_named() {
        let error = Flow::points(&TIMES, &[0.0; 7], 2);
        assert!(matches!(error, Err(ReportError::Shape { found: 7, needed: 20, .. })));
        assert!(Flow::chunks(&TIMES, &[], usize::MAX, 4).is_err());
    }

    #[test]
    fn no_finite_state_says_so() {
        let nan = [f32::NAN; 20];
        let empty = Flow::points(&[], &[], 0).expect("an empty flow");
        for flow in [empty, Flow::points(&TIMES, &nan, 2).expect("a fitting shape")] {
            for figure in [flow.paths(), flow.multiples(&[0.0, f32::NAN]), flow.multiples(&[])] {
                well_formed(figure.svg());
                assert!(figure.svg().contains("no data"));
            }
        }
    }

    #[test]
    fn many_samples_stay_small() {
        let times: Vec<f32> = (0..=100).map(|i| i as f32 / 100.0).collect();
        let states = states(&times, 3000, 1);
        let flow = Flow::points(&times, &states, 3000).expect("a fitting shape").animated(true);
        let bytes = flow.paths().svg().len() + flow.multiples(&[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]).svg().len();
        assert!(bytes < 1_500_000, "{bytes}");
    }
}
