//! How the shapes of a scene look: fill, outline, the colours of a bundle of lines.

use super::colour::Colour;
use super::svg::Element;

/// How a shape looks. Widths and point radii are CSS pixels at the figure's natural size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Style {
    /// Colour of the inside, if filled.
    pub fill: Option<Colour>,
    /// Colour of the outline, if drawn.
    pub stroke: Option<Colour>,
    /// Width of the outline.
    pub width: f64,
    /// 0 (invisible) to 1 (opaque).
    pub opacity: f64,
    /// True for a dashed outline.
    pub dashed: bool,
}

impl Style {
    /// Filled, without outline.
    pub fn fill(colour: Colour) -> Style {
        Style { fill: Some(colour), stroke: None, width: 0.0, opacity: 1.0, dashed: false }
    }

    /// An outline of the given width, not filled.
    pub fn stroke(colour: Colour, width: f64) -> Style {
        Style { fill: None, stroke: Some(colour), width, opacity: 1.0, dashed: false }
    }

    /// Adds an outline.
    pub fn outlined(self, colour: Colour, width: f64) -> Style {
        Style { stroke: Some(colour), width, ..self }
    }

    /// Sets the opacity, 0 to 1.
    pub fn opacity(self, opacity: f64) -> Style {
        Style { opacity, ..self }
    }

    /// Makes the outline dashed.
    pub fn dashed(self) -> Style {
        Style { dashed: true, ..self }
    }
}

/// How a bundle of polylines is coloured.
#[derive(Debug, Clone, PartialEq)]
pub enum LineColour {
    /// All alike.
    One(Colour),
    /// By the place along the line, from the sequential map's start to its end.
    Along,
    /// By category: one index per line. Lines without one count as category 0.
    Category(Vec<usize>),
}

/// Writes a style's attributes.
pub(crate) fn styled<'a>(element: Element<'a>, style: &Style) -> Element<'a> {
    let fill = style.fill.map_or_else(|| "none".into(), Colour::hex);
    let element = element.text("fill", &fill).fraction("opacity", style.opacity);
    let Some(stroke) = style.stroke else { return element };
    let element = element.text("stroke", &stroke.hex()).num("stroke-width", style.width);
    if style.dashed { element.text("stroke-dasharray", "5 3") } else { element }
}
