//! Test-only: a strict little checker for the markup that this floor writes.

/// Elements of HTML that have no end tag.
const VOID: [&str; 3] = ["meta", "link", "br"];

/// Panics unless `markup` has balanced tags, quoted attributes, known entities, no NaN and no resource to load.
pub(crate) fn well_formed(markup: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = markup.strip_prefix("<!doctype html>").unwrap_or(markup);
    while let Some(start) = rest.find('<') {
        text(&rest[..start]);
        let end = start + rest[start..].find('>').expect("a tag that ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "end tag without its start tag");
            continue;
        }
        let closed = tag.ends_with('/');
        let tag = tag.trim_end_matches('/');
        let name = tag.split_whitespace().next().expect("a tag with a name");
        attributes(tag[name.len()..].trim());
        if name == "style" {
            rest = &rest[rest.find("</style>").expect("a style sheet that ends")..];
        }
        if !closed && !VOID.contains(&name) {
            open.push(name);
        }
    }
    text(rest);
    assert!(open.is_empty(), "unclosed: {open:?}");
    let bare = markup.replace(" xmlns=\"http://www.w3.org/2000/svg\"", "");
    for forbidden in ["http", "NaN", "src=", "url(", "@import", "<script"] {
        assert!(!bare.contains(forbidden), "{forbidden} in the markup");
    }
}

fn attributes(mut rest: &str) {
    while !rest.is_empty() {
        let Some((name, tail)) = rest.split_once("=\"") else {
            panic!("attribute without a quoted value: {rest}");
        };
        assert!(
            name.trim().chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
            "attribute name {name:?}"
        );
        let (value, tail) = tail.split_once('"').expect("a closing quote");
        text(value);
        rest = tail.trim_start();
    }
}

fn text(text: &str) {
    for piece in text.split('&').skip(1) {
        let known = ["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|e| piece.starts_with(e));
        assert!(known, "bare ampersand before {piece:?}");
    }
}
