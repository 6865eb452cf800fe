//! Colours that people with any kind of colour vision can tell apart.

/// An sRGB colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour(
    /// Red, green and blue, 0 to 255.
    pub [u8; 3],
);

/// Categories: Okabe and Ito's palette without black, ordered so that neighbours differ most on a light background.
pub const OKABE_ITO: [Colour; 7] = [
    Colour([0, 114, 178]),
    Colour([213, 94, 0]),
    Colour([0, 158, 115]),
    Colour([204, 121, 167]),
    Colour([86, 180, 233]),
    Colour([230, 159, 0]),
    Colour([184, 168, 0]),
];

/// Nine evenly spaced anchors of matplotlib's plasma map.
const PLASMA: [[u8; 3]; 9] = [
    [13, 8, 135],
    [76, 2, 161],
    [126, 3, 168],
    [169, 35, 149],
    [204, 71, 120],
    [229, 107, 93],
    [248, 149, 64],
    [253, 197, 39],
    [240, 249, 33],
];

/// Where the sequential map stops: beyond it, plasma's yellow is too pale for a light background.
const SEQUENTIAL_END: f64 = 0.82;

impl Colour {
    /// Text and the lines that matter most.
    pub const INK: Colour = Colour([31, 41, 55]);
    /// Secondary text and axis labels.
    pub const MUTED: Colour = Colour([91, 101, 116]);
    /// Grid lines and frames.
    pub const RULE: Colour = Colour([221, 225, 231]);
    /// The background of a drawing area.
    pub const GROUND: Colour = Colour([248, 249, 251]);
    /// White.
    pub const WHITE: Colour = Colour([255, 255, 255]);

    /// The colour for `fraction` of the way from start (0, deep blue) to end (1, amber): perceptually uniform, and
    /// darker than a light background all along. Outside 0..1 it is bounded; NaN is the start.
    pub fn sequential(fraction: f64) -> Colour {
        let fraction = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
        let place = fraction * SEQUENTIAL_END * (PLASMA.len() - 1) as f64;
        let below = (place as usize).min(PLASMA.len() - 2);
        let part = place - below as f64;
        let channel = |c: usize| {
            let (a, b) = (f64::from(PLASMA[below][c]), f64::from(PLASMA[below + 1][c]));
            (a + (b - a) * part).round() as u8
        };
        Colour([channel(0), channel(1), channel(2)])
    }

    /// The colour of category `index`; the palette repeats after seven.
    pub fn category(index: usize) -> Colour {
        OKABE_ITO[index % OKABE_ITO.len()]
    }

    /// The colour as CSS and SVG write it: `#rrggbb`.
    pub fn hex(self) -> String {
        let [r, g, b] = self.0;
        format!("#{r:02x}{g:02x}{b:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequential_is_bounded_and_brightens() {
        assert_eq!(Colour::sequential(f64::NAN), Colour::sequential(-3.0));
        assert_eq!(Colour::sequential(7.0), Colour::sequential(1.0));
        let luma = |t| {
            let [r, g, b] = Colour::sequential(t).0.map(f64::from);
            0.2126 * r + 0.7152 * g + 0.0722 * b
        };
        assert!((0..20).all(|i| luma(f64::from(i) / 20.0) < luma(f64::from(i + 1) / 20.0)));
    }

    #[test]
    fn categories_repeat() {
        assert_eq!(Colour::category(0), Colour::category(7));
        assert_eq!(Colour::category(0).hex(), "#0072b2");
    }
}
