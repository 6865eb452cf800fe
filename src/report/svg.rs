//! A small SVG writer: tags that always close, text that is always escaped, coordinates to a tenth of a unit.
//!
//! It uses no `id`s (several figures share one HTML page, where ids would collide): clipping comes from nested `<svg>`
//! elements, and colour bars are rectangles.

use std::path::Path;

use super::ReportError;
use super::colour::Colour;
use super::format::{escape, push_tenths, tenths};

const NAMESPACE: &str = " xmlns=\"http://www.w3.org/2000/svg\"";

/// A finished drawing: an SVG document with a title for screen readers and its own light background.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    svg: String,
    size: [f64; 2],
}

impl Figure {
    /// Takes an SVG document from elsewhere, `size` (width, height) in CSS pixels. It goes into pages as it is, so it
    /// must be well-formed and from a trusted source.
    pub fn from_svg(svg: impl Into<String>, size: [f64; 2]) -> Figure {
        Figure { svg: svg.into(), size }
    }

    /// The SVG document.
    pub fn svg(&self) -> &str {
        &self.svg
    }

    /// Natural width and height in CSS pixels.
    pub fn size(&self) -> [f64; 2] {
        self.size
    }

    /// Writes the drawing as a file of its own, making the folders above it.
    ///
    /// # Errors
    /// [`ReportError::Io`] if the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), ReportError> {
        super::write_file(path.as_ref(), &self.svg)
    }

    /// The drawing for use inside an HTML page, which needs no namespace.
    pub(crate) fn inline(&self) -> String {
        self.svg.replacen(NAMESPACE, "", 1)
    }
}

/// Where text sits relative to its point.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// An SVG document under construction. Open elements close by [`SvgWriter::end`] or at the end of the document.
pub(crate) struct SvgWriter {
    out: String,
    open: Vec<&'static str>,
    size: [f64; 2],
}

impl SvgWriter {
    /// Starts a drawing of `width` x `height` CSS pixels with a title for screen readers.
    pub(crate) fn new(width: f64, height: f64, title: &str) -> SvgWriter {
        let mut writer = SvgWriter { out: String::new(), open: Vec::new(), size: [width, height] };
        writer.out.push_str("<svg");
        writer.out.push_str(NAMESPACE);
        let mut view = String::from("0 0 ");
        push_tenths(&mut view, tenths(width));
        view.push(' ');
        push_tenths(&mut view, tenths(height));
        writer.open.push("svg");
        let element = Element { writer: &mut writer };
        element
            .text("viewBox", &view)
            .num("width", width)
            .num("height", height)
            .text("role", "img")
            .text("aria-label", title)
            .text("font-family", "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif")
            .text("font-size", "12")
            .finish_start();
        writer.out.push_str(&format!("<title>{}</title>", escape(title)));
        writer.element("rect").num("width", width).num("height", height).text("fill", "#fff").close();
        writer
    }

    /// Starts an element; finish it with [`Element::close`] or [`Element::open`].
    pub(crate) fn element(&mut self, tag: &'static str) -> Element<'_> {
        self.out.push('<');
        self.out.push_str(tag);
        self.open.push(tag);
        Element { writer: self }
    }

    /// Closes the innermost open element.
    pub(crate) fn end(&mut self) {
        if let Some(tag) = self.open.pop() {
            self.out.push_str("</");
            self.out.push_str(tag);
            self.out.push('>');
        }
    }

    /// A line of text with its baseline at (x, y).
    pub(crate) fn label(&mut self, x: f64, y: f64, anchor: Anchor, colour: Colour, size: f64, text: &str) {
        let mut element = self.element("text").num("x", x).num("y", y).text("fill", &colour.hex());
        if size != 12.0 {
            element = element.num("font-size", size);
        }
        match anchor {
            Anchor::Start => {}
            Anchor::Middle => element = element.text("text-anchor", "middle"),
            Anchor::End => element = element.text("text-anchor", "end"),
        }
        element.content(text);
    }

    /// A straight line.
    pub(crate) fn line(&mut self, from: [f64; 2], to: [f64; 2], colour: Colour, width: f64) {
        self.element("line")
            .num("x1", from[0])
            .num("y1", from[1])
            .num("x2", to[0])
            .num("y2", to[1])
            .text("stroke", &colour.hex())
            .num("stroke-width", width)
            .close();
    }

    /// Opens a nested drawing of the given place and size that clips what lies outside; its own origin is at its corner.
    pub(crate) fn open_clip(&mut self, x: f64, y: f64, width: f64, height: f64) {
        self.element("svg").num("x", x).num("y", y).num("width", width).num("height", height).open();
    }

    /// The note that stands where a chart has nothing to show.
    pub(crate) fn no_data(&mut self, x: f64, y: f64) {
        self.label(x, y, Anchor::Middle, Colour::MUTED, 14.0, "no data");
    }

    /// Closes everything that is open.
    pub(crate) fn finish(mut self) -> Figure {
        while !self.open.is_empty() {
            self.end();
        }
        Figure { svg: self.out, size: self.size }
    }
}

/// An element whose start tag is being written.
pub(crate) struct Element<'a> {
    writer: &'a mut SvgWriter,
}

impl Element<'_> {
    /// A numeric attribute, to a tenth.
    pub(crate) fn num(self, name: &str, value: f64) -> Self {
        let out = &mut self.writer.out;
        out.push(' ');
        out.push_str(name);
        out.push_str("=\"");
        push_tenths(out, tenths(value));
        out.push('"');
        self
    }

    /// A text attribute.
    pub(crate) fn text(self, name: &str, value: &str) -> Self {
        let out = &mut self.writer.out;
        out.push(' ');
        out.push_str(name);
        out.push_str("=\"");
        out.push_str(&escape(value));
        out.push('"');
        self
    }

    /// A fraction from 0 to 1, to a hundredth; nothing is written for 1, the default of every opacity.
    pub(crate) fn fraction(self, name: &str, value: f64) -> Self {
        if value >= 1.0 {
            return self;
        }
        let hundredths = (value.max(0.0) * 100.0).round();
        self.text(name, &super::format::significant(hundredths / 100.0, 2))
    }

    fn finish_start(self) {
        self.writer.out.push('>');
    }

    /// Ends an element that has no content.
    pub(crate) fn close(self) {
        self.writer.open.pop();
        self.writer.out.push_str("/>");
    }

    /// Ends the start tag and leaves the element open.
    pub(crate) fn open(self) {
        self.finish_start();
    }

    /// Gives the element text content and closes it.
    pub(crate) fn content(self, text: &str) {
        let writer = self.writer;
        writer.out.push('>');
        writer.out.push_str(&escape(text));
        writer.end();
    }
}

/// Path data (`d` attribute) in tenths of a unit: the first point absolute, the rest relative, so rounding never adds up.
#[derive(Default)]
pub(crate) struct PathData {
    out: String,
    last: Option<[i64; 2]>,
    drawing: bool,
}

impl PathData {
    /// The path through `points`, broken where one is not finite.
    pub(crate) fn through(points: impl IntoIterator<Item = [f64; 2]>) -> PathData {
        let mut path = PathData::default();
        for point in points {
            path.push(point);
        }
        path
    }

    /// Goes on to `point`; a point that is not finite lifts the pen.
    pub(crate) fn push(&mut self, point: [f64; 2]) {
        if !point.iter().all(|v| v.is_finite()) {
            return self.lift();
        }
        let point = point.map(tenths);
        match (self.last, self.drawing) {
            (Some(last), true) if last == point => return,
            (Some(last), true) => self.command('l', [point[0] - last[0], point[1] - last[1]]),
            _ => self.command('M', point),
        }
        (self.last, self.drawing) = (Some(point), true);
    }

    /// Lifts the pen: the next point starts a new piece.
    pub(crate) fn lift(&mut self) {
        self.drawing = false;
    }

    /// Draws a line back to the start of the piece.
    pub(crate) fn close(&mut self) {
        if self.drawing {
            self.out.push('z');
        }
        self.lift();
    }

    /// True if there is nothing to draw.
    pub(crate) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// The value of the `d` attribute.
    pub(crate) fn as_str(&self) -> &str {
        &self.out
    }

    fn command(&mut self, command: char, [x, y]: [i64; 2]) {
        self.out.push(command);
        push_tenths(&mut self.out, x);
        if y >= 0 {
            self.out.push(' ');
        }
        push_tenths(&mut self.out, y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_elements_close_at_the_end() {
        let mut svg = SvgWriter::new(10.0, 10.0, "a & b");
        svg.element("g").text("class", "<x>").open();
        svg.label(1.0, f64::NAN, Anchor::End, Colour::INK, 9.0, "<script>");
        let figure = svg.finish();
        super::super::check::well_formed(figure.svg());
        assert!(figure.svg().contains("<title>a &amp; b</title>"));
        assert!(!figure.svg().contains("<script>") && !figure.svg().contains("NaN"));
        assert!(!figure.inline().contains("http"));
    }

    #[test]
    fn paths_break_at_gaps_and_do_not_drift() {
        let path = PathData::through([[0.0, 0.0], [1.0, -0.5], [f64::NAN, 0.0], [5.0, 5.0], [5.01, 5.0]]);
        assert_eq!(path.as_str(), "M0 0l1-.5M5 5");
        let mut square = PathData::through([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]);
        square.close();
        assert_eq!(square.as_str(), "M0 0l1 0l0 1z");
    }
}
