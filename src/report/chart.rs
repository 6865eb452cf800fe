//! Lines and dots of several series over two axes, each linear or logarithmic, with a legend beside.

use super::axis::Axis;
use super::colour::Colour;
use super::svg::{Anchor, Figure, PathData, SvgWriter};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 62.0;
const TOP: f64 = 30.0;
const PLOT: [f64; 2] = [610.0, 380.0];
const BOTTOM: f64 = 46.0;
const ROW: f64 = 19.0;
/// Colours before the palette repeats, with dashed lines and hollow dots.
const COLOURS: usize = 7;

/// A chart under construction. Points that are not finite (or not positive on a logarithmic axis) are left out.
#[derive(Debug, Clone)]
pub struct Chart {
    title: String,
    labels: [String; 2],
    log: [bool; 2],
    series: Vec<Series>,
    levels: Vec<(f64, String)>,
    rings: Vec<[f64; 2]>,
}

#[derive(Debug, Clone)]
struct Series {
    name: String,
    points: Vec<[f64; 2]>,
    notes: Vec<String>,
    joined: bool,
    dots: bool,
}

impl Chart {
    /// An empty chart: what screen readers say, and what the axes are.
    pub fn new(title: impl Into<String>, x_label: impl Into<String>, y_label: impl Into<String>) -> Chart {
        Chart {
            title: title.into(),
            labels: [x_label.into(), y_label.into()],
            log: [false; 2],
            series: Vec::new(),
            levels: Vec::new(),
            rings: Vec::new(),
        }
    }

    /// Makes the axes logarithmic.
    pub fn log(mut self, x: bool, y: bool) -> Self {
        self.log = [x, y];
        self
    }

    /// Adds a series: dots joined by a line in the order given.
    pub fn line(mut self, name: impl Into<String>, points: &[[f64; 2]]) -> Self {
        let (points, notes) = (points.to_vec(), Vec::new());
        self.series.push(Series { name: name.into(), points, notes, joined: true, dots: true });
        self
    }

    /// Adds a line without dots.
    pub fn roof(mut self, name: impl Into<String>, points: &[[f64; 2]]) -> Self {
        let (points, notes) = (points.to_vec(), Vec::new());
        self.series.push(Series { name: name.into(), points, notes, joined: true, dots: false });
        self
    }

    /// Adds dots that no line joins, with a short note beside each.
    pub fn dots(mut self, name: impl Into<String>, points: &[[f64; 2]], notes: Vec<String>) -> Self {
        let points = points.to_vec();
        self.series.push(Series { name: name.into(), points, notes, joined: false, dots: true });
        self
    }

    /// Adds a series whose dots have a short note beside them each.
    pub fn noted(mut self, name: impl Into<String>, points: &[[f64; 2]], notes: Vec<String>) -> Self {
        let points = points.to_vec();
        self.series.push(Series { name: name.into(), points, notes, joined: true, dots: true });
        self
    }

    /// Adds a dashed line across at a value of the vertical axis.
    pub fn level(mut self, value: f64, name: impl Into<String>) -> Self {
        self.levels.push((value, name.into()));
        self
    }

    /// Draws a ring round a point.
    pub fn ring(mut self, point: [f64; 2]) -> Self {
        self.rings.push(point);
        self
    }

    fn usable(&self, point: &[f64; 2]) -> bool {
        point.iter().zip(self.log).all(|(v, log)| v.is_finite() && (!log || *v > 0.0))
    }

    /// Draws the chart, 860 pixels wide.
    pub fn render(&self) -> Figure {
        let rows = self.series.len() + self.levels.len();
        let height = (TOP + PLOT[1] + BOTTOM).max(TOP + 14.0 + rows as f64 * ROW);
        let mut svg = SvgWriter::new(WIDTH, height, &self.title);
        let points: Vec<[f64; 2]> =
            self.series.iter().flat_map(|s| &s.points).filter(|p| self.usable(p)).copied().collect();
        if points.is_empty() {
            svg.no_data(WIDTH / 2.0, TOP + PLOT[1] / 2.0);
            return svg.finish();
        }
        let levels = || self.levels.iter().map(|l| l.0).filter(|v| self.usable(&[1.0, *v]));
        let x = self.axis(0, points.iter().map(|p| p[0]), [LEFT, LEFT + PLOT[0]]);
        let y = self.axis(1, points.iter().map(|p| p[1]).chain(levels()), [TOP + PLOT[1], TOP]);
        self.frame(&mut svg, &x, &y);
        for value in levels() {
            let at = y.place(value);
            let line = svg.element("line").num("x1", LEFT).num("y1", at).num("x2", LEFT + PLOT[0]);
            let line = line.num("y2", at).text("stroke", &Colour::MUTED.hex());
            line.text("stroke-dasharray", "5 3").close();
        }
        for (i, series) in self.series.iter().enumerate() {
            let place = |p: &[f64; 2]| [x.place(p[0]), y.place(p[1])];
            let shown = || series.points.iter().enumerate().filter(|(_, p)| self.usable(p));
            let colour = Colour::category(i);
            if series.joined {
                let path = PathData::through(shown().map(|(_, p)| place(p)));
                let element = svg.element("path").text("d", path.as_str()).text("fill", "none");
                let element = element.text("stroke", &colour.hex()).num("stroke-width", 1.8);
                let element = element.text("stroke-linejoin", "round");
                match i < COLOURS {
                    true => element.close(),
                    false => element.text("stroke-dasharray", dashes(i)).close(),
                }
            }
            for (n, p) in shown().filter(|_| series.dots) {
                let at = place(p);
                dot(&mut svg, at, 3.4, i);
                if let Some(note) = series.notes.get(n) {
                    svg.label(at[0] + 5.5, at[1] - 4.5, Anchor::Start, colour, 9.0, note);
                }
            }
        }
        for ring in self.rings.iter().filter(|p| self.usable(p)) {
            let circle = svg.element("circle").num("cx", x.place(ring[0])).num("cy", y.place(ring[1]));
            let circle = circle.num("r", 6.5).text("fill", "none").text("stroke", &Colour::INK.hex());
            circle.num("stroke-width", 1.4).close();
        }
        self.legend(&mut svg);
        svg.finish()
    }

    fn axis(&self, which: usize, values: impl Iterator<Item = f64>, [start, end]: [f64; 2]) -> Axis {
        let (lo, hi) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
        if self.log[which] {
            let room = (hi / lo).powf(0.05).max(1.05);
            return Axis::new(lo / room, hi * room, true, start, end);
        }
        let room = ((hi - lo) * 0.05).max(hi.abs() * 1e-3);
        let floor = if lo >= 0.0 && lo < 0.6 * hi { 0.0 } else { lo - room };
        Axis::new(floor, hi + room, false, start, end)
    }

    fn frame(&self, svg: &mut SvgWriter, x: &Axis, y: &Axis) {
        let background = svg.element("rect").num("x", LEFT).num("y", TOP).num("width", PLOT[0]);
        background.num("height", PLOT[1]).text("fill", &Colour::GROUND.hex()).close();
        for tick in y.ticks(6) {
            let at = y.place(tick.value);
            svg.line([LEFT, at], [LEFT + PLOT[0], at], Colour::RULE, 1.0);
            svg.label(LEFT - 8.0, at + 4.0, Anchor::End, Colour::MUTED, 12.0, &tick.label);
        }
        let bottom = TOP + PLOT[1];
        for tick in x.ticks(7) {
            let at = x.place(tick.value);
            svg.line([at, TOP], [at, bottom], Colour::RULE, 1.0);
            svg.label(at, bottom + 18.0, Anchor::Middle, Colour::MUTED, 12.0, &tick.label);
        }
        svg.label(LEFT - 8.0, 18.0, Anchor::Start, Colour::MUTED, 12.0, &self.labels[1]);
        let middle = LEFT + PLOT[0] / 2.0;
        svg.label(middle, bottom + 38.0, Anchor::Middle, Colour::MUTED, 12.0, &self.labels[0]);
    }

    fn legend(&self, svg: &mut SvgWriter) {
        let x = LEFT + PLOT[0] + 18.0;
        for (i, series) in self.series.iter().enumerate() {
            let y = TOP + 14.0 + i as f64 * ROW;
            if series.joined {
                let line = svg.element("line").num("x1", x).num("y1", y - 4.0).num("x2", x + 20.0);
                let line = line.num("y2", y - 4.0).text("stroke", &Colour::category(i).hex());
                let line = line.num("stroke-width", 1.8);
                match i < COLOURS {
                    true => line.close(),
                    false => line.text("stroke-dasharray", dashes(i)).close(),
                }
            }
            if series.dots {
                dot(svg, [x + 10.0, y - 4.0], 3.4, i);
            }
            svg.label(x + 26.0, y, Anchor::Start, Colour::INK, 12.0, &series.name);
        }
        for (i, (_, name)) in self.levels.iter().enumerate() {
            let y = TOP + 14.0 + (self.series.len() + i) as f64 * ROW;
            let line = svg.element("line").num("x1", x).num("y1", y - 4.0).num("x2", x + 20.0);
            let line = line.num("y2", y - 4.0).text("stroke", &Colour::MUTED.hex());
            line.text("stroke-dasharray", "5 3").close();
            svg.label(x + 26.0, y, Anchor::Start, Colour::MUTED, 12.0, name);
        }
    }
}

fn dashes(series: usize) -> &'static str {
    if series < 2 * COLOURS { "6 3" } else { "2 3" }
}

/// Full for the first colours, then hollow.
fn dot(svg: &mut SvgWriter, [x, y]: [f64; 2], radius: f64, series: usize) {
    let circle = svg.element("circle").num("cx", x).num("cy", y).num("r", radius);
    let colour = Colour::category(series).hex();
    match series < COLOURS {
        true => circle.text("fill", &colour).close(),
        false => circle.text("fill", "#fff").text("stroke", &colour).num("stroke-width", 1.6).close(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::well_formed;
    use super::*;

    #[test]
    fn many_series_are_well_formed_and_deterministic() {
        let chart = (0..17).fold(Chart::new("a <b>", "x & y", "z"), |chart, i| {
            let points: Vec<[f64; 2]> = (1..6).map(|k| [f64::from(k), f64::from(k * (i + 1))]).collect();
            chart.noted(format!("<{i}>"), &points, vec!["1".into(), "<2>".into()])
        });
        for log in [false, true] {
            let chart = chart.clone().log(log, log).roof("edge", &[[1.0, 1.0], [2.0, 9.0]]);
            let chart = chart
                .dots("loose", &[[3.0, 4.0]], vec!["n".into()])
                .level(2.0, "best & last")
                .ring([1.0, 2.0]);
            let figure = chart.render();
            well_formed(figure.svg());
            assert_eq!(figure, chart.render());
            assert!(figure.svg().contains("best &amp; last"));
        }
    }

    #[test]
    fn odd_values_are_left_out() {
        let bad = [[0.0, 1.0], [1.0, -1.0], [f64::NAN, 1.0], [1.0, f64::INFINITY]];
        let figure = Chart::new("t", "x", "y").log(true, true).line("a", &bad).level(-1.0, "l").render();
        well_formed(figure.svg());
        assert!(figure.svg().contains("no data"));
        well_formed(Chart::new("t", "x", "y").line("a", &[[1.0, 1.0]]).ring([f64::NAN; 2]).render().svg());
        well_formed(Chart::new("t", "x", "y").line("a", &bad).render().svg());
    }
}
