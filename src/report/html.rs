//! One HTML page with nothing to download: style sheet and figures are inside, every text is escaped.

use std::path::Path;

use super::ReportError;
use super::format::{escape, significant};
use super::svg::Figure;
use super::table::Table;

const STYLE: &str = include_str!("style.css");

/// A report: title, sections in order, one HTML document. The same content always gives the same bytes; nothing such
/// as the time of day is added.
#[derive(Debug, Clone, Default)]
pub struct Page {
    title: String,
    subtitle: String,
    sections: Vec<Section>,
    footer: String,
}

/// A titled part of a [`Page`]: paragraphs, tiles, figures and tables in the order in which they are added.
#[derive(Debug, Clone, Default)]
pub struct Section {
    title: String,
    blocks: Vec<Block>,
}

/// A number worth reading from across the room.
#[derive(Debug, Clone)]
pub struct Tile {
    value: String,
    label: String,
    note: String,
}

#[derive(Debug, Clone)]
enum Block {
    Text(String),
    Code(String),
    Tiles(Vec<Tile>),
    Pairs(Vec<(String, String)>),
    List(Vec<String>),
    Table(Table),
    Wide(Figure, String),
    Grid(Vec<(Figure, String)>),
    Row(Vec<(Figure, String)>),
}

impl Tile {
    /// The number, formatted with its unit ("1.2 ms"), and what it is ("latency, p99").
    pub fn new(value: impl Into<String>, label: impl Into<String>) -> Tile {
        Tile { value: value.into(), label: label.into(), note: String::new() }
    }

    /// Adds a smaller remark, for example the conditions of a measurement.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

impl Section {
    /// An empty section.
    pub fn new(title: impl Into<String>) -> Section {
        Section { title: title.into(), blocks: Vec::new() }
    }

    /// Adds a paragraph.
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.blocks.push(Block::Text(text.into()));
        self
    }

    /// Adds text whose line breaks count, in a fixed-width face: a command line, a configuration file.
    pub fn code(mut self, text: impl Into<String>) -> Self {
        self.blocks.push(Block::Code(text.into()));
        self
    }

    /// Adds a big number; consecutive ones share a row.
    pub fn tile(mut self, tile: Tile) -> Self {
        match self.blocks.last_mut() {
            Some(Block::Tiles(tiles)) => tiles.push(tile),
            _ => self.blocks.push(Block::Tiles(vec![tile])),
        }
        self
    }

    /// Adds a list of names and values.
    pub fn pairs<K: Into<String>, V: Into<String>>(
        mut self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.blocks.push(Block::Pairs(pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect()));
        self
    }

    /// Adds a list of sentences, a mark before each.
    pub fn list<T: Into<String>>(mut self, items: impl IntoIterator<Item = T>) -> Self {
        self.blocks.push(Block::List(items.into_iter().map(Into::into).collect()));
        self
    }

    /// Adds a table.
    pub fn table(mut self, table: Table) -> Self {
        self.blocks.push(Block::Table(table));
        self
    }

    /// Adds a figure as wide as the page (0.6 to 2 times its natural width; a narrow screen scrolls). An empty caption is left out.
    pub fn figure(mut self, figure: Figure, caption: impl Into<String>) -> Self {
        self.blocks.push(Block::Wide(figure, caption.into()));
        self
    }

    /// Adds figures of equal width, as many to a row as fit (three on a desktop): for many of one kind.
    pub fn figures<C: Into<String>>(mut self, figures: impl IntoIterator<Item = (Figure, C)>) -> Self {
        self.blocks.push(Block::Grid(figures.into_iter().map(|(f, c)| (f, c.into())).collect()));
        self
    }

    /// Adds figures side by side, their widths in proportion to their shapes so that their heights agree.
    pub fn figure_row<C: Into<String>>(mut self, figures: impl IntoIterator<Item = (Figure, C)>) -> Self {
        self.blocks.push(Block::Row(figures.into_iter().map(|(f, c)| (f, c.into())).collect()));
        self
    }

    fn html(&self, out: &mut String, index: usize) {
        out.push_str(&format!("<section id=\"s{index}\"><h2>{}</h2>", escape(&self.title)));
        for block in &self.blocks {
            block.html(out);
        }
        out.push_str("</section>\n");
    }
}

impl Block {
    fn html(&self, out: &mut String) {
        match self {
            Block::Text(text) => out.push_str(&format!("<p>{}</p>", escape(text))),
            Block::Code(text) => out.push_str(&format!("<pre>{}</pre>", escape(text))),
            Block::Table(table) => out.push_str(&table.html()),
            Block::Tiles(tiles) => {
                out.push_str("<div class=\"tiles\">");
                for Tile { value, label, note } in tiles {
                    out.push_str("<div class=\"tile\">");
                    for (tag, text) in [("b", value), ("span", label), ("small", note)] {
                        if !text.is_empty() {
                            out.push_str(&format!("<{tag}>{}</{tag}>", escape(text)));
                        }
                    }
                    out.push_str("</div>");
                }
                out.push_str("</div>");
            }
            Block::Pairs(pairs) => {
                out.push_str("<dl>");
                for (key, value) in pairs {
                    out.push_str(&format!("<div><dt>{}</dt><dd>{}</dd></div>", escape(key), escape(value)));
                }
                out.push_str("</dl>");
            }
            Block::List(items) => {
                out.push_str("<ul>");
                items.iter().for_each(|item| out.push_str(&format!("<li>{}</li>", escape(item))));
                out.push_str("</ul>");
            }
            Block::Wide(figure, caption) => {
                let [least, most] = [0.6, 2.0].map(|part| significant(part * figure.size()[0], 6));
                let style = format!(" style=\"min-width:{least}px;max-width:{most}px;margin:0 auto\"");
                out.push_str("<div class=\"scroll\">");
                figure_html(out, figure, caption, &style);
                out.push_str("</div>");
            }
            Block::Grid(figures) => {
                out.push_str("<div class=\"grid\">");
                figures.iter().for_each(|(figure, caption)| figure_html(out, figure, caption, ""));
                out.push_str("</div>");
            }
            Block::Row(figures) => {
                out.push_str("<div class=\"flex\">");
                for (figure, caption) in figures {
                    let [width, height] = figure.size();
                    let aspect = width / height.max(1.0);
                    // A height of 13 rem is where a row wraps; on a telephone the basis gives way.
                    let (grow, basis) = (significant(aspect, 3), significant(aspect * 13.0, 3));
                    let style = format!(" style=\"flex:{grow} 1 min(100%,{basis}rem)\"");
                    figure_html(out, figure, caption, &style);
                }
                out.push_str("</div>");
            }
        }
    }
}

fn figure_html(out: &mut String, figure: &Figure, caption: &str, style: &str) {
    out.push_str(&format!("<figure{style}>"));
    out.push_str(&figure.inline());
    if !caption.is_empty() {
        out.push_str(&format!("<figcaption>{}</figcaption>", escape(caption)));
    }
    out.push_str("</figure>");
}

impl Page {
    /// An empty page.
    pub fn new(title: impl Into<String>) -> Page {
        Page { title: title.into(), ..Page::default() }
    }

    /// Sets the line below the title.
    pub fn subtitle(mut self, subtitle: impl Into<String>) -> Self {
        self.subtitle = subtitle.into();
        self
    }

    /// Adds a section.
    pub fn section(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// Sets the small print at the end, for example version, seed and date.
    pub fn footer(mut self, footer: impl Into<String>) -> Self {
        self.footer = footer.into();
        self
    }

    /// The page as one HTML document. From four sections on it has links to them at the top.
    pub fn to_html(&self) -> String {
        let title = escape(&self.title);
        let mut out = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>");
        out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>");
        out.push_str(&format!(
            "<title>{title}</title>\n<style>\n{STYLE}</style></head>\n<body><header><h1>{title}</h1>"
        ));
        if !self.subtitle.is_empty() {
            out.push_str(&format!("<p class=\"subtitle\">{}</p>", escape(&self.subtitle)));
        }
        if self.sections.len() >= 4 {
            out.push_str("<nav aria-label=\"Sections\">");
            for (index, section) in self.sections.iter().enumerate() {
                out.push_str(&format!("<a href=\"#s{index}\">{}</a>", escape(&section.title)));
            }
            out.push_str("</nav>");
        }
        out.push_str("</header>\n<main>\n");
        for (index, section) in self.sections.iter().enumerate() {
            section.html(&mut out, index);
        }
        out.push_str("</main>\n");
        if !self.footer.is_empty() {
            out.push_str(&format!("<footer>{}</footer>\n", escape(&self.footer)));
        }
        out.push_str("</body></html>\n");
        out
    }

    /// Writes the page to a file, making the folders above it.
    ///
    /// # Errors
    /// [`ReportError::Io`] if the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), ReportError> {
        super::write_file(path.as_ref(), &self.to_html())
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::well_formed;
    use super::*;

    #[test]
    fn every_text_is_escaped() {
        let evil = "<script>alert(\"&'\")</script>";
        let section = Section::new(evil).text(evil).code(evil).tile(Tile::new(evil, evil).note(evil));
        let section = section.pairs([(evil, evil)]).list([evil]).table(Table::new([evil]).row([evil]));
        let section = section.figure(super::super::LossCurve::new(&[]).title(evil).render(), evil);
        let page = Page::new(evil).subtitle(evil).footer(evil);
        let page = (0..4).fold(page, |page, _| page.section(section.clone()));
        let html = page.to_html();
        well_formed(&html);
        assert_eq!(html, page.to_html());
        assert!(html.contains("<nav") && html.matches("&lt;script&gt;").count() > 44);
    }

    #[test]
    fn an_empty_page_is_a_page() {
        let html = Page::new("").to_html();
        well_formed(&html);
        assert!(html.starts_with("<!doctype html>") && html.trim_end().ends_with("</html>"), "{html}");
        assert!(!html.contains("<nav") && !html.contains("<section"), "nothing to go to: {html}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let error = Page::new("t").write(file.path().join("below/report.html"));
        assert!(matches!(error, Err(ReportError::Io { .. })));
    }
}
