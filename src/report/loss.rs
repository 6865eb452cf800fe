//! The loss curve: every training loss faint, its running mean strong, validation on top, the learning rate below.

use super::axis::Axis;
use super::colour::Colour;
use super::format::{grouped, significant};
use super::svg::{Anchor, Figure, PathData, SvgWriter};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 40.0;
const PLOT_HEIGHT: f64 = 290.0;
const RATE_HEIGHT: f64 = 54.0;
const RATE_GAP: f64 = 30.0;
const BOTTOM: f64 = 46.0;
/// A raw curve shows its lowest and highest value in each of this many columns, whatever the number of steps.
const COLUMNS: usize = 390;

const TRAIN: Colour = Colour([0, 114, 178]);
const VALIDATION: Colour = Colour([213, 94, 0]);
const RATE: Colour = Colour([0, 138, 100]);

/// A training run's losses as a chart. All series are (step, value) in order of steps; values that are not finite (and,
/// on a logarithmic axis, values that are not positive) are left out.
#[derive(Debug, Clone)]
pub struct LossCurve<'a> {
    title: &'a str,
    y_label: &'a str,
    train: &'a [(u64, f32)],
    validation: &'a [(u64, f32)],
    learning_rate: &'a [(u64, f32)],
    log_y: bool,
    window: Option<usize>,
}

impl<'a> LossCurve<'a> {
    /// A chart of training losses, one per optimiser step or per logging interval.
    pub fn new(train: &'a [(u64, f32)]) -> LossCurve<'a> {
        LossCurve {
            title: "Loss by training step",
            y_label: "loss",
            train,
            validation: &[],
            learning_rate: &[],
            log_y: false,
            window: None,
        }
    }

    /// Adds losses on held-out data; the lowest is marked.
    pub fn validation(mut self, validation: &'a [(u64, f32)]) -> Self {
        self.validation = validation;
        self
    }

    /// Adds a strip below that shows the learning rate.
    pub fn learning_rate(mut self, learning_rate: &'a [(u64, f32)]) -> Self {
        self.learning_rate = learning_rate;
        self
    }

    /// Makes the loss axis logarithmic.
    pub fn log_y(mut self, log_y: bool) -> Self {
        self.log_y = log_y;
        self
    }

    /// Sets how many training losses the running mean spans (centred; default: a fiftieth of them; 1 for none).
    pub fn smoothing(mut self, window: usize) -> Self {
        self.window = Some(window);
        self
    }

    /// Sets the title that screen readers give (default "Loss by training step").
    pub fn title(mut self, title: &'a str) -> Self {
        self.title = title;
        self
    }

    /// Names the loss axis (default "loss").
    pub fn y_label(mut self, label: &'a str) -> Self {
        self.y_label = label;
        self
    }

    /// Draws the chart, 860 pixels wide.
    pub fn render(&self) -> Figure {
        let keep = |series: &[(u64, f32)]| usable(series, self.log_y);
        let (train, validation) = (keep(self.train), keep(self.validation));
        let rate = usable(self.learning_rate, false);
        let strip = if rate.is_empty() { 0.0 } else { RATE_GAP + RATE_HEIGHT };
        let mut svg = SvgWriter::new(WIDTH, TOP + PLOT_HEIGHT + strip + BOTTOM, self.title);
        if train.is_empty() && validation.is_empty() {
            svg.no_data(WIDTH / 2.0, TOP + PLOT_HEIGHT / 2.0);
            return svg.finish();
        }
        let smooth = running_mean(&train, self.window.unwrap_or(train.len() / 50));
        let x = step_axis(&[&train, &validation, &rate]);
        let y = self.loss_axis(&train, &smooth, &validation);

        frame(&mut svg, &x, &y, TOP, PLOT_HEIGHT, 6);
        svg.open_clip(LEFT, TOP, WIDTH - LEFT - RIGHT, PLOT_HEIGHT);
        let local = |p: &[f64; 2]| [x.place(p[0]) - LEFT, y.place(p[1]) - TOP];
        if smooth.len() > 2 {
            stroke(&mut svg, envelope(&train).iter().map(local), TRAIN, 1.0, 0.28);
        }
        stroke(&mut svg, thin(&smooth).iter().map(local), TRAIN, 2.2, 1.0);
        stroke(&mut svg, thin(&validation).iter().map(local), VALIDATION, 2.2, 1.0);
        if validation.len() <= 40 {
            for point in &validation {
                dot(&mut svg, local(point), 2.6, VALIDATION);
            }
        }
        let best = validation.iter().min_by(|a, b| a[1].total_cmp(&b[1]));
        if let Some(best) = best {
            let [cx, cy] = local(best);
            let ring = svg.element("circle").num("cx", cx).num("cy", cy).num("r", 6.0).text("fill", "none");
            ring.text("stroke", &VALIDATION.hex()).num("stroke-width", 1.8).close();
        }
        svg.end();

        let mut legend = Vec::new();
        if let Some(last) = smooth.last() {
            legend.push((TRAIN, format!("training, running mean (ends at {})", significant(last[1], 3))));
        }
        if let Some([step, loss]) = best {
            let text =
                format!("validation (best {} at step {})", significant(*loss, 3), grouped(*step as u64));
            legend.push((VALIDATION, text));
        }
        draw_legend(&mut svg, &legend, self.y_label);
        let mut bottom = TOP + PLOT_HEIGHT;
        if !rate.is_empty() {
            bottom += RATE_GAP;
            rate_strip(&mut svg, &x, &rate, bottom);
            bottom += RATE_HEIGHT;
        }
        step_labels(&mut svg, &x, bottom);
        svg.finish()
    }

    fn loss_axis(&self, train: &[[f64; 2]], smooth: &[[f64; 2]], validation: &[[f64; 2]]) -> Axis {
        // A few wild early losses must not flatten the rest: the raw curve counts up to its 99th percentile.
        let mut raw: Vec<f64> = train.iter().map(|p| p[1]).collect();
        raw.sort_unstable_by(f64::total_cmp);
        let cut = (raw.len() as f64 * 0.99) as usize;
        let shown = raw.get(..cut.max(1).min(raw.len())).unwrap_or(&[]);
        let strong = smooth.iter().chain(validation).map(|p| p[1]);
        let (lo, hi) = range(shown.iter().copied().chain(strong));
        let (start, end) = (TOP + PLOT_HEIGHT, TOP);
        if self.log_y {
            let room = (hi / lo).powf(0.04).max(1.02);
            return Axis::new(lo / room, hi * room, true, start, end);
        }
        let room = ((hi - lo) * 0.05).max(hi.abs() * 1e-3);
        let floor = if lo >= 0.0 && lo < 0.6 * hi { 0.0 } else { lo - room };
        Axis::new(floor, hi + room, false, start, end)
    }
}

fn usable(series: &[(u64, f32)], positive: bool) -> Vec<[f64; 2]> {
    let kept = series.iter().filter(|(_, v)| v.is_finite() && (!positive || *v > 0.0));
    kept.map(|&(step, value)| [step as f64, f64::from(value)]).collect()
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)))
}

fn step_axis(series: &[&Vec<[f64; 2]>]) -> Axis {
    let (lo, hi) = range(series.iter().flat_map(|s| s.iter()).map(|p| p[0]));
    // Runs start at 0 or 1; a resumed one keeps its own start.
    let lo = if lo < 0.1 * hi { 0.0 } else { lo };
    Axis::new(lo, hi, false, LEFT, WIDTH - RIGHT)
}

/// A centred mean over up to `window` points. Towards the start, where losses fall steeply, its span shrinks on both
/// sides alike; at the end it keeps what lies before, so that the last value is not that of a single batch.
fn running_mean(points: &[[f64; 2]], window: usize) -> Vec<[f64; 2]> {
    let mut sums = vec![0.0];
    for (i, point) in points.iter().enumerate() {
        sums.push(sums[i] + point[1]);
    }
    let half = window.max(1) / 2;
    let mean = |i: usize| {
        let before = half.min(i);
        let after = before.min(points.len() - 1 - i);
        (sums[i + after + 1] - sums[i - before]) / (before + after + 1) as f64
    };
    (0..points.len()).map(|i| [points[i][0], mean(i)]).collect()
}

/// The lowest and highest point of each column, in order, so that a long noisy curve keeps its outline.
fn envelope(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let width = points.len().div_ceil(COLUMNS);
    if width <= 2 {
        return points.to_vec();
    }
    let mut kept = Vec::new();
    for column in points.chunks(width) {
        let by = |a: &&[f64; 2], b: &&[f64; 2]| a[1].total_cmp(&b[1]);
        if let (Some(low), Some(high)) = (column.iter().min_by(by), column.iter().max_by(by)) {
            kept.extend(if low[0] <= high[0] { [*low, *high] } else { [*high, *low] });
        }
    }
    kept
}

/// Evenly chosen points of a smooth curve, the last one always among them.
fn thin(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let stride = points.len().div_ceil(2 * COLUMNS).max(1);
    let mut kept: Vec<_> = points.iter().step_by(stride).copied().collect();
    if let Some(last) = points.last().filter(|_| !(points.len() - 1).is_multiple_of(stride)) {
        kept.push(*last);
    }
    kept
}

fn stroke(
    svg: &mut SvgWriter,
    points: impl Iterator<Item = [f64; 2]>,
    colour: Colour,
    width: f64,
    opacity: f64,
) {
    let path = PathData::through(points);
    if !path.is_empty() {
        let element = svg.element("path").text("d", path.as_str()).text("fill", "none");
        let element = element.text("stroke", &colour.hex()).num("stroke-width", width);
        element.text("stroke-linejoin", "round").fraction("stroke-opacity", opacity).close();
    }
}

fn dot(svg: &mut SvgWriter, [x, y]: [f64; 2], radius: f64, colour: Colour) {
    let element = svg.element("circle").num("cx", x).num("cy", y).num("r", radius);
    element.text("fill", &colour.hex()).close();
}

/// The plot's background, grid lines and labels of the vertical axis.
fn frame(svg: &mut SvgWriter, x: &Axis, y: &Axis, top: f64, height: f64, ticks: usize) {
    let background = svg.element("rect").num("x", LEFT).num("y", top).num("width", WIDTH - LEFT - RIGHT);
    background.num("height", height).text("fill", &Colour::GROUND.hex()).close();
    for tick in y.ticks(ticks) {
        let place = y.place(tick.value);
        svg.line([LEFT, place], [WIDTH - RIGHT, place], Colour::RULE, 1.0);
        svg.label(LEFT - 8.0, place + 4.0, Anchor::End, Colour::MUTED, 12.0, &tick.label);
    }
    for tick in x.ticks(8) {
        let place = x.place(tick.value);
        svg.line([place, top], [place, top + height], Colour::RULE, 1.0);
    }
}

fn draw_legend(svg: &mut SvgWriter, entries: &[(Colour, String)], y_label: &str) {
    svg.label(LEFT - 8.0, 20.0, Anchor::End, Colour::MUTED, 12.0, y_label);
    let mut x = LEFT + 2.0;
    for (colour, text) in entries {
        svg.line([x, 16.0], [x + 22.0, 16.0], *colour, 3.0);
        svg.label(x + 29.0, 20.0, Anchor::Start, Colour::INK, 12.0, text);
        x += 29.0 + text.chars().count() as f64 * 6.6 + 24.0;
    }
}

fn rate_strip(svg: &mut SvgWriter, x: &Axis, rate: &[[f64; 2]], top: f64) {
    let (lo, hi) = range(rate.iter().map(|p| p[1]));
    let y = Axis::new(lo.min(0.0), hi + (hi - lo.min(0.0)) * 0.08, false, top + RATE_HEIGHT, top);
    frame(svg, x, &y, top, RATE_HEIGHT, 2);
    svg.label(LEFT + 2.0, top - 8.0, Anchor::Start, Colour::MUTED, 12.0, "learning rate");
    stroke(svg, thin(rate).iter().map(|p| [x.place(p[0]), y.place(p[1])]), RATE, 2.0, 1.0);
}

fn step_labels(svg: &mut SvgWriter, x: &Axis, bottom: f64) {
    for tick in x.ticks(8) {
        svg.label(x.place(tick.value), bottom + 18.0, Anchor::Middle, Colour::MUTED, 12.0, &tick.label);
    }
    svg.label((LEFT + WIDTH - RIGHT) / 2.0, bottom + 38.0, Anchor::Middle, Colour::MUTED, 12.0, "step");
}

#[cfg(test)]
mod tests {
    use super::super::check::well_formed;
    use super::*;

    #[test]
    fn a_long_run_stays_small_and_well_formed() {
        let train: Vec<_> =
            (0..200_000).map(|i| (i, 1.0 / (1.0 + i as f32 * 1e-3) + (i % 17) as f32 * 1e-3)).collect();
        let validation: Vec<_> = train.iter().step_by(5000).copied().collect();
        let rate: Vec<_> = train.iter().map(|(s, _)| (*s, 1e-4)).collect();
        for log in [false, true] {
            let curve = LossCurve::new(&train).validation(&validation).learning_rate(&rate).log_y(log);
            let figure = curve.render();
            well_formed(figure.svg());
            assert!(figure.svg().len() < 60_000, "{}", figure.svg().len());
            assert_eq!(figure, curve.render());
        }
    }

    #[test]
    fn nothing_to_draw_says_so() {
        for train in [&[][..], &[(0, f32::NAN), (1, f32::INFINITY)], &[(0, -1.0), (5, 0.0)]] {
            let figure = LossCurve::new(train).log_y(true).title("<&>").render();
            well_formed(figure.svg());
            assert!(figure.svg().contains("no data"));
        }
    }

    #[test]
    fn odd_values_do_not_break_the_axes() {
        for train in [
            &[(7, 1.0)][..],
            &[(0, -1.0), (1, -2.0)],
            &[(0, 0.0), (1, 0.0)],
            &[(3, f32::MAX), (u64::MAX, 1e-38)],
        ] {
            for log in [false, true] {
                well_formed(LossCurve::new(train).learning_rate(train).log_y(log).render().svg());
            }
        }
    }

    #[test]
    fn the_running_mean_is_centred() {
        let line: Vec<_> = (0..100).map(|i| [f64::from(i), f64::from(i)]).collect();
        let mean = running_mean(&line, 11);
        assert!(mean[..95].iter().all(|[step, mean]| (step - mean).abs() < 1e-9));
        assert_eq!(mean[99][1], (94..100).sum::<i32>() as f64 / 6.0);
        assert!(running_mean(&[], 5).is_empty());
    }
}
