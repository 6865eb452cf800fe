//! Numbers and text as short strings: SVG coordinates, axis labels, escaped text.

use std::fmt::Write;

/// Escapes text for HTML and XML, in content and in quoted attributes alike. Characters that XML forbids (control
/// characters other than tab and line breaks) become U+FFFD.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(c),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// The value with `digits` significant digits and no trailing zeros: `0.01234` to 2 digits is `0.012`. Very small and
/// very large values use an exponent (`1.2e-5`). A value that is not finite reads "n/a".
pub fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return "n/a".into();
    }
    if value == 0.0 {
        return "0".into();
    }
    let digits = digits.clamp(1, 17);
    // Rounding first, so that 9.99 to two digits is judged as 10.
    let scientific = format!("{:.*e}", digits - 1, value);
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..7).contains(&exponent) {
        let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
        trim_zeros(&format!("{:.*}", decimals, value)).to_owned()
    } else {
        format!("{}e{exponent}", trim_zeros(mantissa))
    }
}

/// The value with three significant digits and an SI suffix: `1234567.0` is `1.23M`, `950.0` is `950`.
pub fn si(value: f64) -> String {
    const SUFFIXES: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    for (scale, suffix) in SUFFIXES {
        // The bound is where three digits round up to the next thousand.
        if value.is_finite() && value.abs() >= scale * 0.9995 && value.abs() < 1e15 {
            return format!("{}{suffix}", significant(value / scale, 3));
        }
    }
    significant(value, 3)
}

/// An integer with thin spaces between groups of three digits: `12 345 678`.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{2009}');
        }
        out.push(c);
    }
    out
}

/// The decimal without zeros at its end: `1.50` is `1.5`.
pub(crate) fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// A coordinate in tenths of a drawing unit, bounded so that far-away points stay short. NaN is 0.
pub(crate) fn tenths(value: f64) -> i64 {
    (value.clamp(-9999.9, 9999.9) * 10.0).round() as i64
}

/// Appends tenths of a unit as the shortest decimal: `-5` is `-.5`, `120` is `12`.
pub(crate) fn push_tenths(out: &mut String, tenths: i64) {
    let (whole, part) = (tenths.abs() / 10, tenths.abs() % 10);
    if tenths < 0 {
        out.push('-');
    }
    // Writing to a String cannot fail.
    let _ = match (whole, part) {
        (_, 0) => write!(out, "{whole}"),
        (0, _) => write!(out, ".{part}"),
        _ => write!(out, "{whole}.{part}"),
    };
}

/// A coordinate to a tenth, as text.
pub(crate) fn coordinate(value: f64) -> String {
    let mut out = String::new();
    push_tenths(&mut out, tenths(value));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_every_special_character() {
        assert_eq!(escape("<a href='x'>\"&\u{0}"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;\u{fffd}");
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in
            [(0.012345, "0.0123"), (100.0, "100"), (1e-5, "1e-5"), (9.999, "10"), (-2.5, "-2.5")]
        {
            assert_eq!(significant(value, 3), text);
        }
        assert_eq!(significant(f64::NAN, 3), "n/a");
        for (value, text) in [(1_234_567.0, "1.23M"), (999.7, "1k"), (950.0, "950"), (f64::INFINITY, "n/a")] {
            assert_eq!(si(value), text);
        }
        assert_eq!(grouped(1_234_567), "1\u{2009}234\u{2009}567");
    }

    #[test]
    fn coordinates_are_short_and_bounded() {
        for (value, expected) in [(12.04, "12"), (-0.45, "-.5"), (0.0, "0"), (-0.01, "0"), (1e30, "9999.9")] {
            assert_eq!(coordinate(value), expected);
        }
        assert_eq!(coordinate(f64::NAN), "0");
    }
}
