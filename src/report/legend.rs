//! The legend of a scene: small samples of what is drawn, in rows below it.

use super::colour::Colour;
use super::paint::{Style, styled};
use super::svg::{Anchor, SvgWriter};

const ROW: f64 = 20.0;
const RAMP_WIDTH: f64 = 72.0;

/// One entry.
#[derive(Debug, Clone)]
pub(crate) enum Key {
    Patch(Style, String),
    Dot(Style, String),
    Line(Colour, String),
    Path(Colour, String),
    Ramp([String; 2]),
}

/// The height that a legend takes up at this width, in drawing units.
pub(crate) fn height(keys: &[Key], width: f64) -> f64 {
    places(keys, width).last().map_or(0.0, |[_, row]| 6.0 + (row + 1.0) * ROW)
}

/// Draws a legend whose upper left corner is at `origin`.
pub(crate) fn draw(svg: &mut SvgWriter, keys: &[Key], origin: [f64; 2], width: f64) {
    for (key, [x, row]) in keys.iter().zip(places(keys, width)) {
        key.draw(svg, origin[0] + x, origin[1] + 18.0 + row * ROW);
    }
}

/// Where each entry goes: x, and the row.
fn places(keys: &[Key], width: f64) -> Vec<[f64; 2]> {
    let (mut x, mut row) = (0.0, 0.0);
    let mut places = Vec::new();
    for key in keys {
        if x > 0.0 && x + key.width() > width {
            (x, row) = (0.0, row + 1.0);
        }
        places.push([x, row]);
        x += key.width() + 14.0;
    }
    places
}

/// About how wide a text is; the reader's font decides.
fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * 6.1
}

impl Key {
    /// Width in drawing units.
    pub(crate) fn width(&self) -> f64 {
        match self {
            Key::Patch(_, label) => 18.0 + text_width(label),
            Key::Dot(_, label) => 16.0 + text_width(label),
            Key::Line(_, label) => 23.0 + text_width(label),
            Key::Path(_, label) => 29.0 + text_width(label),
            Key::Ramp([start, end]) => text_width(start) + text_width(end) + RAMP_WIDTH + 12.0,
        }
    }

    /// Draws the entry from x on, its text's baseline at y.
    pub(crate) fn draw(&self, svg: &mut SvgWriter, x: f64, y: f64) {
        let write =
            |svg: &mut SvgWriter, x, label: &str| svg.label(x, y, Anchor::Start, Colour::INK, 11.0, label);
        match self {
            Key::Patch(style, label) => {
                let patch =
                    svg.element("rect").num("x", x).num("y", y - 9.5).num("width", 13.0).num("height", 11.0);
                styled(patch, style).text("rx", "2").close();
                write(svg, x + 18.0, label);
            }
            Key::Dot(style, label) => {
                styled(circle(svg, [x + 6.0, y - 4.0], 5.0), style).close();
                write(svg, x + 16.0, label);
            }
            Key::Line(colour, label) => {
                svg.line([x, y - 4.0], [x + 18.0, y - 4.0], *colour, 2.5);
                write(svg, x + 23.0, label);
            }
            Key::Path(colour, label) => {
                svg.line([x + 4.0, y - 4.0], [x + 20.0, y - 4.0], *colour, 2.0);
                let start = Style::fill(Colour::WHITE).outlined(*colour, 1.6);
                styled(circle(svg, [x + 4.0, y - 4.0], 3.0), &start).close();
                styled(circle(svg, [x + 20.0, y - 4.0], 3.2), &Style::fill(*colour)).close();
                write(svg, x + 29.0, label);
            }
            Key::Ramp([start, end]) => {
                const CELLS: usize = 24;
                write(svg, x, start);
                let bar = x + text_width(start) + 6.0;
                for cell in 0..CELLS {
                    let colour = Colour::sequential(cell as f64 / (CELLS - 1) as f64);
                    let offset = cell as f64 * RAMP_WIDTH / CELLS as f64;
                    // Each cell reaches to the bar's end, below the next ones, so that no seam shows.
                    let cell = svg.element("rect").num("x", bar + offset).num("y", y - 8.0);
                    cell.num("width", RAMP_WIDTH - offset)
                        .num("height", 8.0)
                        .text("fill", &colour.hex())
                        .close();
                }
                write(svg, bar + RAMP_WIDTH + 6.0, end);
            }
        }
    }
}

fn circle(svg: &mut SvgWriter, [x, y]: [f64; 2], radius: f64) -> super::svg::Element<'_> {
    svg.element("circle").num("cx", x).num("cy", y).num("r", radius)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_wrap_into_rows() {
        let keys: Vec<_> = (0..3).map(|_| Key::Line(Colour::INK, "0123456789".into())).collect();
        let rows = |width| places(&keys, width).iter().map(|p| p[1]).collect::<Vec<_>>();
        assert_eq!(
            (rows(400.0), rows(200.0), rows(1.0)),
            (vec![0.0; 3], vec![0.0, 0.0, 1.0], vec![0.0, 1.0, 2.0])
        );
        assert_eq!(height(&[], 100.0), 0.0);
    }
}
