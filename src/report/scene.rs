//! Plane scenes: polygons, discs, points and polylines in the data's own units, with a legend.

use super::colour::Colour;
use super::format::{coordinate, significant};
use super::legend::{self, Key};
use super::paint::{LineColour, Style, styled};
use super::svg::{Anchor, Figure, PathData, SvgWriter};

/// Natural width of a scene's figure in CSS pixels.
const WIDTH: f64 = 360.0;
const MARGIN: f64 = 8.0;

#[derive(Debug, Clone)]
enum Layer {
    Polygon(Vec<[f32; 2]>, Style),
    Disc([f32; 2], f32, Style),
    Points(Vec<[f32; 2]>, f64, Style),
    Lines { points: Vec<[f32; 2]>, length: usize, colour: LineColour, width: f64, opacity: f64 },
    Moving { points: Vec<[f32; 2]>, length: usize },
}

/// A scene in the plane. Layers are drawn in the order in which they are added; points that are not finite are left out
/// and break the line that they are on; what lies outside the extent is cut off.
#[derive(Debug, Clone)]
pub struct Scene2d {
    title: String,
    low: [f32; 2],
    high: [f32; 2],
    y_down: bool,
    scale_bar: Option<(f32, String)>,
    layers: Vec<Layer>,
    legend: Vec<Key>,
}

impl Scene2d {
    /// An empty scene that shows the rectangle from `low` to `high` (x, y in the data's units), y pointing up.
    pub fn new(title: impl Into<String>, low: [f32; 2], high: [f32; 2]) -> Scene2d {
        let (layers, legend) = (Vec::new(), Vec::new());
        Scene2d { title: title.into(), low, high, y_down: false, scale_bar: None, layers, legend }
    }

    /// Makes y point down, as in images.
    pub fn y_down(mut self) -> Self {
        self.y_down = true;
        self
    }

    /// Replaces the title that screen readers give.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Replaces the rectangle that is shown.
    pub fn extent(mut self, low: [f32; 2], high: [f32; 2]) -> Self {
        (self.low, self.high) = (low, high);
        self
    }

    /// Adds a scale bar of `length` data units, labelled with the length and `unit`.
    pub fn scale_bar(mut self, length: f32, unit: &str) -> Self {
        self.scale_bar = Some((length, format!("{} {unit}", significant(f64::from(length), 3))));
        self
    }

    /// Adds a closed polygon.
    pub fn polygon(mut self, corners: &[[f32; 2]], style: Style) -> Self {
        self.layers.push(Layer::Polygon(corners.to_vec(), style));
        self
    }

    /// Adds a disc whose `radius` is in data units.
    pub fn disc(mut self, centre: [f32; 2], radius: f32, style: Style) -> Self {
        self.layers.push(Layer::Disc(centre, radius, style));
        self
    }

    /// Adds points as dots of `radius` CSS pixels.
    pub fn points(mut self, points: &[[f32; 2]], radius: f64, style: Style) -> Self {
        self.layers.push(Layer::Points(points.to_vec(), radius, style));
        self
    }

    /// Adds polylines of `length` points each: `points` is `[lines][length]`. A remainder is a shorter line.
    pub fn lines(
        mut self,
        points: &[[f32; 2]],
        length: usize,
        colour: LineColour,
        width: f64,
        opacity: f64,
    ) -> Self {
        self.layers.push(Layer::Lines { points: points.to_vec(), length, colour, width, opacity });
        self
    }

    /// Adds dots that run along polylines of `length` points each in a loop, a rest at the end.
    pub fn moving(mut self, points: &[[f32; 2]], length: usize) -> Self {
        self.layers.push(Layer::Moving { points: points.to_vec(), length });
        self
    }

    /// Adds a legend entry with a filled patch.
    pub fn key_patch(mut self, style: Style, label: impl Into<String>) -> Self {
        self.legend.push(Key::Patch(style, label.into()));
        self
    }

    /// Adds a legend entry with a dot.
    pub fn key_dot(mut self, style: Style, label: impl Into<String>) -> Self {
        self.legend.push(Key::Dot(style, label.into()));
        self
    }

    /// Adds a legend entry with a line.
    pub fn key_line(mut self, colour: Colour, label: impl Into<String>) -> Self {
        self.legend.push(Key::Line(colour, label.into()));
        self
    }

    /// Adds a legend entry with a line from a hollow to a filled dot.
    pub fn key_path(mut self, colour: Colour, label: impl Into<String>) -> Self {
        self.legend.push(Key::Path(colour, label.into()));
        self
    }

    /// Adds a legend entry that explains the sequential colours from their start to their end.
    pub fn key_ramp(mut self, start: impl Into<String>, end: impl Into<String>) -> Self {
        self.legend.push(Key::Ramp([start.into(), end.into()]));
        self
    }

    /// Draws the scene, 360 pixels wide at its natural size, with its legend below.
    pub fn render(&self) -> Figure {
        let inner = WIDTH - 2.0 * MARGIN;
        let height = self.height_for(inner);
        let below = legend::height(&self.legend, inner);
        let mut svg = SvgWriter::new(WIDTH, height + 2.0 * MARGIN + below, &self.title);
        self.draw(&mut svg, [MARGIN, MARGIN], [inner, height]);
        legend::draw(&mut svg, &self.legend, [MARGIN, MARGIN + height], inner);
        svg.finish()
    }

    /// The height at which a drawing of this width has equal scales on both axes, within reason.
    pub(crate) fn height_for(&self, width: f64) -> f64 {
        let aspect = f64::from(self.high[1] - self.low[1]) / f64::from(self.high[0] - self.low[0]);
        if aspect.is_finite() { width * aspect.clamp(0.2, 2.0) } else { width }
    }

    /// Draws frame and layers, without legend, at `place` with `size` in drawing units.
    pub(crate) fn draw(&self, svg: &mut SvgWriter, place: [f64; 2], size: [f64; 2]) {
        svg.open_clip(place[0], place[1], size[0], size[1]);
        svg.element("rect")
            .text("width", "100%")
            .text("height", "100%")
            .text("fill", &Colour::GROUND.hex())
            .close();
        match self.view(size) {
            Some(view) if self.layers.iter().any(Layer::has_data) => {
                for layer in &self.layers {
                    layer.draw(svg, &view);
                }
                if let Some((length, label)) = &self.scale_bar {
                    draw_scale_bar(svg, f64::from(*length) * view.scale, label, size);
                }
            }
            _ => svg.no_data(size[0] / 2.0, size[1] / 2.0),
        }
        svg.end();
        let frame = svg.element("rect").num("x", place[0]).num("y", place[1]).num("width", size[0]);
        let frame = frame.num("height", size[1]).text("fill", "none").text("stroke", "#c3c9d2");
        frame.text("rx", "3").close();
    }

    fn view(&self, size: [f64; 2]) -> Option<View> {
        let span = [0, 1].map(|i| f64::from(self.high[i]) - f64::from(self.low[i]));
        if !span.iter().all(|s| s.is_finite() && *s > 0.0) {
            return None;
        }
        // Equal scales; what is left over is shared between both sides.
        let scale = (size[0] / span[0]).min(size[1] / span[1]);
        let origin = [0, 1].map(|i| f64::from(self.low[i]) - (size[i] / scale - span[i]) / 2.0);
        Some(View { scale, origin, flip: (!self.y_down).then_some(size[1]) })
    }
}

/// From data units to drawing units.
struct View {
    scale: f64,
    origin: [f64; 2],
    flip: Option<f64>,
}

impl View {
    fn place(&self, point: [f32; 2]) -> [f64; 2] {
        let x = (f64::from(point[0]) - self.origin[0]) * self.scale;
        let y = (f64::from(point[1]) - self.origin[1]) * self.scale;
        [x, self.flip.map_or(y, |height| height - y)]
    }
}

fn finite(point: &[f32; 2]) -> bool {
    point.iter().all(|v| v.is_finite())
}

impl Layer {
    fn has_data(&self) -> bool {
        match self {
            Layer::Polygon(points, _) | Layer::Points(points, ..) => points.iter().any(finite),
            Layer::Lines { points, .. } | Layer::Moving { points, .. } => points.iter().any(finite),
            Layer::Disc(centre, radius, _) => finite(centre) && radius.is_finite(),
        }
    }

    fn draw(&self, svg: &mut SvgWriter, view: &View) {
        match self {
            Layer::Polygon(corners, style) => {
                let mut path =
                    PathData::through(corners.iter().filter(|p| finite(p)).map(|p| view.place(*p)));
                path.close();
                if !path.is_empty() {
                    let element =
                        svg.element("path").text("d", path.as_str()).text("stroke-linejoin", "round");
                    styled(element, style).close();
                }
            }
            Layer::Disc(centre, radius, style) if finite(centre) && radius.is_finite() => {
                let [x, y] = view.place(*centre);
                let radius = f64::from(radius.abs()) * view.scale;
                styled(svg.element("circle").num("cx", x).num("cy", y).num("r", radius), style).close();
            }
            Layer::Disc(..) => {}
            Layer::Points(points, radius, style) => {
                // One group holds the style, so that a dot costs few bytes.
                styled(svg.element("g"), &Style { opacity: 1.0, ..*style })
                    .fraction("fill-opacity", style.opacity)
                    .fraction("stroke-opacity", style.opacity)
                    .open();
                for point in points.iter().filter(|p| finite(p)) {
                    let [x, y] = view.place(*point);
                    svg.element("circle").num("cx", x).num("cy", y).num("r", *radius).close();
                }
                svg.end();
            }
            Layer::Lines { points, length, colour, width, opacity } => {
                let group = svg.element("g").text("fill", "none").num("stroke-width", *width);
                group.text("stroke-linejoin", "round").fraction("stroke-opacity", *opacity).open();
                draw_lines(svg, view, points, (*length).max(1), colour);
                svg.end();
            }
            Layer::Moving { points, length } => draw_moving(svg, view, points, *length),
        }
    }
}

/// Dots that run: each coordinate is animated over the line's points, with the last fifth of the loop at rest.
fn draw_moving(svg: &mut SvgWriter, view: &View, points: &[[f32; 2]], length: usize) {
    if length < 2 {
        return;
    }
    let fraction = |i: usize| significant(i as f64 / (length - 1) as f64 * 0.8, 3);
    let key_times = (0..length).map(fraction).chain(["1".into()]).collect::<Vec<_>>().join(";");
    let group = svg.element("g").text("class", "moving").text("fill", &Colour::INK.hex());
    group.text("stroke", "#fff").num("stroke-width", 0.6).open();
    for line in points.chunks_exact(length).filter(|line| line.iter().all(finite)) {
        let start = view.place(line[0]);
        svg.element("circle").num("cx", start[0]).num("cy", start[1]).num("r", 2.4).open();
        for (axis, name) in ["cx", "cy"].into_iter().enumerate() {
            let rest = line.last().into_iter();
            let values =
                line.iter().chain(rest).map(|p| coordinate(view.place(*p)[axis])).collect::<Vec<_>>();
            let animate =
                svg.element("animate").text("attributeName", name).text("values", &values.join(";"));
            let animate = animate.text("keyTimes", &key_times).text("dur", "4s");
            animate.text("repeatCount", "indefinite").close();
        }
        svg.end();
    }
    svg.end();
}

fn draw_lines(svg: &mut SvgWriter, view: &View, points: &[[f32; 2]], length: usize, colour: &LineColour) {
    let place = |p: &[f32; 2]| if finite(p) { view.place(*p) } else { [f64::NAN; 2] };
    let whole = |svg: &mut SvgWriter, line: &[[f32; 2]], colour: Option<Colour>| {
        let path = PathData::through(line.iter().map(place));
        if !path.is_empty() {
            let element = svg.element("path").text("d", path.as_str());
            match colour {
                Some(colour) => element.text("stroke", &colour.hex()).close(),
                None => element.close(),
            }
        }
    };
    match colour {
        LineColour::One(colour) => {
            svg.element("g").text("stroke", &colour.hex()).open();
            points.chunks(length).for_each(|line| whole(svg, line, None));
            svg.end();
        }
        LineColour::Category(categories) => {
            for (index, line) in points.chunks(length).enumerate() {
                let category = categories.get(index).copied().unwrap_or(0);
                whole(svg, line, Some(Colour::category(category)));
            }
        }
        LineColour::Along => {
            // Segment by segment, so that later parts lie on top; all segments of one place share a group.
            for k in 0..length.saturating_sub(1).min(points.len()) {
                let fraction = if length > 2 { k as f64 / (length - 2) as f64 } else { 0.0 };
                svg.element("g").text("stroke", &Colour::sequential(fraction).hex()).open();
                for line in points.chunks(length) {
                    if let Some(segment) = line.get(k..k + 2).filter(|s| s.iter().all(finite)) {
                        whole(svg, segment, None);
                    }
                }
                svg.end();
            }
        }
    }
}

fn draw_scale_bar(svg: &mut SvgWriter, length: f64, label: &str, size: [f64; 2]) {
    if !length.is_finite() || length <= 0.0 || length > size[0] {
        return;
    }
    let (x, y) = (size[0] - 10.0 - length, size[1] - 9.0);
    svg.line([x, y], [x + length, y], Colour::MUTED, 1.5);
    svg.line([x, y - 3.0], [x, y + 3.0], Colour::MUTED, 1.5);
    svg.line([x + length, y - 3.0], [x + length, y + 3.0], Colour::MUTED, 1.5);
    svg.label(x + length / 2.0, y - 5.0, Anchor::Middle, Colour::MUTED, 10.0, label);
}

#[cfg(test)]
mod tests {
    use super::super::check::well_formed;
    use super::*;

    fn scene() -> Scene2d {
        Scene2d::new("a <scene>", [-1.0, -1.0], [1.0, 3.0])
    }

    #[test]
    fn y_points_up_unless_told() {
        let up = scene().view([100.0, 200.0]).map(|v| v.place([-1.0, -1.0]));
        let down = scene().y_down().view([100.0, 200.0]).map(|v| v.place([-1.0, -1.0]));
        assert_eq!((up, down), (Some([0.0, 200.0]), Some([0.0, 0.0])));
    }

    #[test]
    fn points_that_are_not_finite_are_left_out() {
        let bad = [[f32::NAN, 0.0], [0.0, f32::INFINITY], [0.5, 0.5], [0.6, 0.6], [f32::MAX, f32::MIN]];
        for colour in [LineColour::One(Colour::INK), LineColour::Along, LineColour::Category(vec![9])] {
            let lines = scene().lines(&bad, 5, colour.clone(), 1.0, 0.5).lines(&bad, 0, colour, 1.0, 0.5);
            let style = Style::fill(Colour::INK).outlined(Colour::WHITE, 1.0).dashed();
            let full = lines.polygon(&bad, style).points(&bad, 2.0, style).disc(bad[0], f32::NAN, style);
            let full = full.scale_bar(1.0, "m").key_patch(style, "<p>").key_dot(style, "d");
            let full = full.key_line(Colour::INK, "l").key_ramp("now", "later");
            let figure = full.render();
            well_formed(figure.svg());
            assert_eq!(figure, full.render());
        }
    }

    #[test]
    fn an_empty_scene_says_so() {
        let extents = [
            ([0.0, 0.0], [1.0, 1.0]),
            ([0.0, 0.0], [0.0, 0.0]),
            ([f32::NAN; 2], [1.0; 2]),
            ([f32::MIN; 2], [f32::MAX; 2]),
        ];
        for (low, high) in extents {
            let figure = Scene2d::new("", low, high).render();
            well_formed(figure.svg());
            assert!(figure.svg().contains("no data"));
        }
    }
}
