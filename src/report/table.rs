//! Tables of text and numbers for a page.

use super::format::escape;

/// A table with a head. Columns that hold only numbers (a unit may follow them) align right, all others left.
#[derive(Debug, Clone, Default)]
pub struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    bars: Option<(usize, Vec<f64>)>,
}

impl Table {
    /// A table with these column titles and no rows yet.
    pub fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Table {
        Table { head: head.into_iter().map(Into::into).collect(), ..Table::default() }
    }

    /// Adds a row. Missing cells stay empty; cells beyond the head are left out.
    pub fn row<S: Into<String>>(mut self, cells: impl IntoIterator<Item = S>) -> Self {
        let mut cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        cells.resize(self.head.len(), String::new());
        self.rows.push(cells);
        self
    }

    /// Draws a bar behind each cell of `column` (from 0): row by row, `values` as a part of the greatest of them.
    pub fn bars(mut self, column: usize, values: impl IntoIterator<Item = f64>) -> Self {
        self.bars = Some((column, values.into_iter().collect()));
        self
    }

    /// True if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn html(&self) -> String {
        if self.is_empty() {
            return "<p class=\"none\">no data</p>".into();
        }
        let numeric: Vec<bool> = (0..self.head.len()).map(|c| self.is_numeric(c)).collect();
        let class = |column: usize| if numeric[column] { " class=\"num\"" } else { "" };
        let mut out = String::from("<div class=\"scroll\"><table><thead><tr>");
        for (column, title) in self.head.iter().enumerate() {
            out.push_str(&format!("<th scope=\"col\"{}>{}</th>", class(column), escape(title)));
        }
        out.push_str("</tr></thead><tbody>");
        for (index, row) in self.rows.iter().enumerate() {
            out.push_str("<tr>");
            for (column, cell) in row.iter().enumerate() {
                let bar = self.bar(index, column);
                out.push_str(&format!("<td{}{bar}>{}</td>", class(column), escape(cell)));
            }
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table></div>");
        out
    }

    fn bar(&self, row: usize, column: usize) -> String {
        let Some((_, values)) = self.bars.as_ref().filter(|(c, _)| *c == column) else {
            return String::new();
        };
        let most = values.iter().copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
        match values.get(row) {
            Some(value) if *value > 0.0 && value.is_finite() => {
                let percent = super::format::significant((value / most * 1000.0).round() / 10.0, 4);
                format!(" style=\"--bar:{percent}%\"")
            }
            _ => String::new(),
        }
    }

    fn is_numeric(&self, column: usize) -> bool {
        let cells =
            self.rows.iter().map(|row| row[column].trim()).filter(|cell| !matches!(*cell, "" | "–" | "n/a"));
        let mut any = false;
        let all = cells.inspect(|_| any = true).all(|c| {
            c.trim_start_matches(['-', '+', '±', '<', '>']).starts_with(|c: char| c.is_ascii_digit())
        });
        any && all
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::well_formed;
    use super::*;

    #[test]
    fn numbers_align_right_and_text_is_escaped() {
        let table =
            Table::new(["name", "ms <p50>"]).row(["a & b", "1.25 ms"]).row(["<i>"]).bars(1, [2.0, f64::NAN]);
        let html = table.html();
        well_formed(&html);
        assert!(html.contains("<td class=\"num\" style=\"--bar:100%\">1.25 ms</td>"));
        assert!(html.contains("<td>&lt;i&gt;</td><td class=\"num\"></td>"));
    }

    #[test]
    fn no_rows_is_no_data() {
        assert!(Table::new(["a"]).html().contains("no data"));
        well_formed(&Table::new([""; 0]).row(["x"]).html());
    }
}
