//! Output for people: aligned tables, numbers with few digits, colour on a terminal only.

use std::io::IsTerminal;
use std::time::Duration;

/// ANSI colours, or none.
#[derive(Clone, Copy)]
pub struct Colour(bool);

impl Colour {
    /// Colours if the stream is a terminal and NO_COLOR is not set.
    pub fn of(stream: &impl IsTerminal) -> Colour {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Colour(stream.is_terminal() && !refused)
    }

    /// Colours of stdout.
    pub fn stdout() -> Colour {
        Colour::of(&std::io::stdout())
    }

    /// No colours.
    pub fn none() -> Colour {
        Colour(false)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Heading.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Less important.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Wrong.
    pub fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// Right.
    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }
}

/// A table with a heading. Columns are as wide as their widest cell; numbers stand to the right.
pub struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column heads; a head that starts with `>` stands to the right, as its column does.
    pub fn new(heads: &[&'static str]) -> Table {
        Table { heads: heads.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The lines, each with its end.
    pub fn render(&self, colour: Colour) -> String {
        let heads: Vec<&str> = self.heads.iter().map(|h| h.trim_start_matches('>')).collect();
        let width = |c: usize| {
            let cells = self.rows.iter().filter_map(|r| r.get(c)).map(|cell| visible(cell));
            cells.chain([visible(heads[c])]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (c, cell) in cells.enumerate().take(widths.len()) {
                let pad = " ".repeat(widths[c] - visible(cell));
                if c > 0 {
                    line.push_str("  ");
                }
                match self.heads[c].starts_with('>') {
                    true => line.push_str(&(pad + cell)),
                    false => line.push_str(&(cell.to_owned() + &pad)),
                }
            }
            line.trim_end().to_owned()
        };
        let mut out = colour.bold(&line(&mut heads.iter().copied())) + "\n";
        for row in &self.rows {
            out += &(line(&mut row.iter().map(String::as_str)) + "\n");
        }
        out
    }
}

/// Characters that take up room: those outside escape sequences.
fn visible(text: &str) -> usize {
    let mut inside = false;
    text.chars()
        .filter(|&c| match (inside, c) {
            (false, '\x1b') => {
                inside = true;
                false
            }
            (true, 'm') => {
                inside = false;
                false
            }
            _ => !inside,
        })
        .count()
}

/// A number with three or four digits that count: `0.0123`, `4.56`, `789`, `12,345`.
pub fn short(value: f64) -> String {
    let size = value.abs();
    match () {
        () if !value.is_finite() => format!("{value}"),
        () if size == 0.0 => "0".into(),
        () if size < 1e-3 => format!("{value:.2e}"),
        () if size < 0.1 => format!("{value:.4}"),
        () if size < 1.0 => format!("{value:.3}"),
        () if size < 100.0 => format!("{value:.2}"),
        () if size < 1000.0 => format!("{value:.1}"),
        () => grouped(value.round() as i64),
    }
}

/// A whole number in groups of three: `1,234,567`.
pub fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if value < 0 { format!("-{out}") } else { out }
}

/// Bytes in binary units: `32 KiB`, `1.5 GiB`.
pub fn bytes(count: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = format!("{value:.1}");
    format!("{} {}", text.strip_suffix(".0").unwrap_or(&text), units[unit])
}

/// A relative error: `3.1e-7`, or `0`.
pub fn error(value: f64) -> String {
    if value == 0.0 { "0".into() } else { format!("{value:.1e}") }
}

/// `1 thing`, `3 things`.
pub fn count(n: usize, thing: &str) -> String {
    format!("{} {thing}{}", grouped(n as i64), if n == 1 { "" } else { "s" })
}

/// A time in at most two units: `2.3 s`, `1 min 1 s`, `2 h 2 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.000_012, "1.20e-5"),
            (0.0123, "0.0123"),
            (0.5, "0.500"),
            (4.5678, "4.57"),
            (123.44, "123.4"),
            (12_345.6, "12,346"),
            (-1e6, "-1,000,000"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(short(value), text);
        }
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(32_768), "32 KiB");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
        assert_eq!(bytes(u64::MAX), "16 EiB");
        assert_eq!(count(1, "case") + &count(1200, "case"), "1 case1,200 cases");
    }

    #[test]
    fn tables_are_aligned_in_colour_too() {
        let mut table = Table::new(&["name", ">n", "verdict"]);
        table.row(vec!["a".into(), "1".into(), Colour(true).green("ok")]);
        table.row(vec!["longer".into(), "1,000".into(), "failed".into()]);
        let lines: Vec<String> = table.render(Colour(false)).lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "name        n  verdict");
        assert_eq!(lines[1], "a           1  \x1b[32mok\x1b[0m");
        assert_eq!(lines[2], "longer  1,000  failed");
    }

    #[test]
    fn durations_are_short() {
        let text = |s: f64| duration(Duration::from_secs_f64(s));
        assert_eq!(
            [text(2.34), text(59.0), text(61.0), text(7322.0)],
            ["2.3 s", "59 s", "1 min 1 s", "2 h 2 min"]
        );
    }
}
