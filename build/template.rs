//! The shader template language, expanded at build time.
//!
//! In a file `shaders/NAME.wgsl`:
//! - `//! variants form=nn,nt tile=small,large` makes one variant per combination, named
//!   `NAME_nn_small`, ...; each choice defines the flag `form_nn`, `tile_small`, ...
//! - `//! where small: TM=32 TN=32` gives the constants of a choice (of any axis); without a choice
//!   (`//! where TM=4`) they hold for every variant.
//! - `#include "shared/x.wgsl"` pastes a file (once); `#if flag`, `#if !flag`, `#if A == 2`, `#else`, `#endif`;
//!   `#for i in 0..TM/4` ... `#end` repeats its lines with `$i` replaced;
//! - `$NAME` and `$(TM / 4 + i)` are replaced by their value.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub struct Expanded {
    pub name: String,
    pub source: String,
    pub constants: Vec<(String, u32)>,
}

type Result<T> = std::result::Result<T, String>;
/// The constants of a choice, or of every variant.
type Choice = (Option<String>, Vec<(String, i64)>);

pub fn expand_file(root: &Path, file: &Path) -> Result<Vec<Expanded>> {
    let text = read(file)?;
    let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    let mut axes: Vec<(String, Vec<String>)> = Vec::new();
    let mut choices: Vec<Choice> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("//! variants ") {
            for axis in rest.split_whitespace() {
                let (name, values) =
                    axis.split_once('=').ok_or(format!("needed axis=value,value, found {axis}"))?;
                axes.push((name.into(), values.split(',').map(String::from).collect()));
            }
        } else if let Some(rest) = line.strip_prefix("//! where ") {
            let (choice, constants) = match rest.split_once(':') {
                Some((c, rest)) => (Some(c.trim().to_string()), rest),
                None => (None, rest),
            };
            let mut list = Vec::new();
            for pair in constants.split_whitespace() {
                let (k, v) = pair.split_once('=').ok_or(format!("needed NAME=value, found {pair}"))?;
                list.push((k.to_string(), v.parse().map_err(|_| format!("needed an integer, found {v}"))?));
            }
            choices.push((choice, list));
        }
    }
    let mut combinations: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for (axis, values) in &axes {
        combinations = combinations
            .into_iter()
            .flat_map(|c| values.iter().map(move |v| [c.clone(), vec![(axis.clone(), v.clone())]].concat()))
            .collect();
    }
    combinations
        .into_iter()
        .map(|combination| {
            let mut scope = Scope::default();
            let mut name = stem.to_string();
            for (axis, value) in &combination {
                scope.flags.insert(format!("{axis}_{value}"));
                name = format!("{name}_{value}");
            }
            for (choice, list) in &choices {
                if choice.as_ref().is_none_or(|c| combination.iter().any(|(_, v)| v == c)) {
                    scope.constants.extend(list.iter().cloned());
                }
            }
            let mut seen = BTreeSet::new();
            let lines: Vec<String> = text.lines().map(String::from).collect();
            let mut source = String::new();
            expand(root, &lines, &scope, &mut seen, &mut source)
                .map_err(|e| format!("variant {name}: {e}"))?;
            let constants = scope.constants.iter().map(|(k, v)| (k.clone(), *v as u32)).collect();
            Ok(Expanded { name, source, constants })
        })
        .collect()
}

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))
}

#[derive(Default, Clone)]
struct Scope {
    flags: BTreeSet<String>,
    constants: BTreeMap<String, i64>,
}

fn expand(
    root: &Path,
    lines: &[String],
    scope: &Scope,
    seen: &mut BTreeSet<String>,
    out: &mut String,
) -> Result<()> {
    let mut i = 0;
    while i < lines.len() {
        let line = &lines[i];
        let word = line.trim_start();
        if word.starts_with("//!") {
            i += 1;
        } else if let Some(rest) = word.strip_prefix("#include ") {
            let name = rest.trim().trim_matches('"');
            if seen.insert(name.to_string()) {
                let inner: Vec<String> = read(&root.join(name))?.lines().map(String::from).collect();
                expand(root, &inner, scope, seen, out)?;
            }
            i += 1;
        } else if let Some(condition) = word.strip_prefix("#if ") {
            let (end, middle) = block(lines, i, "#if ", "#endif", Some("#else"))?;
            let otherwise = middle.unwrap_or(end);
            if holds(condition, scope)? {
                expand(root, &lines[i + 1..otherwise], scope, seen, out)?;
            } else if middle.is_some() {
                expand(root, &lines[otherwise + 1..end], scope, seen, out)?;
            }
            i = end + 1;
        } else if let Some(head) = word.strip_prefix("#for ") {
            let (end, _) = block(lines, i, "#for ", "#end", None)?;
            let (name, range) =
                head.split_once(" in ").ok_or(format!("needed `#for i in a..b`, found {line}"))?;
            let (from, to) = range.split_once("..").ok_or(format!("needed a range a..b, found {range}"))?;
            for value in evaluate(from, scope)?..evaluate(to, scope)? {
                let mut inner = scope.clone();
                inner.constants.insert(name.trim().to_string(), value);
                expand(root, &lines[i + 1..end], &inner, seen, out)?;
            }
            i = end + 1;
        } else if word.starts_with('#') {
            return Err(format!("unknown directive: {line}"));
        } else {
            out.push_str(&substitute(line, scope)?);
            out.push('\n');
            i += 1;
        }
    }
    Ok(())
}

/// The line that closes the block opened at `start`, and the line of its `#else` if it has one.
fn block(
    lines: &[String],
    start: usize,
    open: &str,
    close: &str,
    middle: Option<&str>,
) -> Result<(usize, Option<usize>)> {
    let (mut depth, mut at) = (0, None);
    for (i, line) in lines.iter().enumerate().skip(start) {
        let word = line.trim();
        if word.starts_with(open) {
            depth += 1;
        } else if word == close {
            depth -= 1;
            if depth == 0 {
                return Ok((i, at));
            }
        } else if depth == 1 && Some(word) == middle {
            at = Some(i);
        }
    }
    Err(format!("no {close} for: {}", lines[start]))
}

fn holds(condition: &str, scope: &Scope) -> Result<bool> {
    let condition = condition.trim();
    if let Some((a, b)) = condition.split_once("==") {
        return Ok(evaluate(a, scope)? == evaluate(b, scope)?);
    }
    if let Some((a, b)) = condition.split_once("||") {
        return Ok(holds(a, scope)? || holds(b, scope)?);
    }
    Ok(match condition.strip_prefix('!') {
        Some(flag) => !scope.flags.contains(flag.trim()),
        None => scope.flags.contains(condition),
    })
}

fn substitute(line: &str, scope: &Scope) -> Result<String> {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (expression, after) = if let Some(inner) = rest.strip_prefix('(') {
            let mut depth = 1;
            let end = inner
                .char_indices()
                .find(|(_, c)| {
                    depth += i32::from(*c == '(') - i32::from(*c == ')');
                    depth == 0
                })
                .ok_or(format!("unclosed $( in: {line}"))?
                .0;
            (&inner[..end], &inner[end + 1..])
        } else {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            (&rest[..end], &rest[end..])
        };
        out.push_str(&evaluate(expression, scope)?.to_string());
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Integer expressions: names, numbers, + - * / % and parentheses.
fn evaluate(text: &str, scope: &Scope) -> Result<i64> {
    let tokens = tokens(text)?;
    let mut at = 0;
    let value = sum(&tokens, &mut at, scope)?;
    if at == tokens.len() { Ok(value) } else { Err(format!("cannot read the expression {text:?}")) }
}

fn tokens(text: &str) -> Result<Vec<String>> {
    let mut out: Vec<String> = Vec::new();
    for c in text.chars() {
        if c.is_whitespace() {
            out.push(String::new());
        } else if c.is_alphanumeric() || c == '_' {
            match out.last_mut() {
                Some(last) if last.chars().all(|c| c.is_alphanumeric() || c == '_') => last.push(c),
                _ => out.push(c.to_string()),
            }
        } else if "+-*/%()".contains(c) {
            out.push(c.to_string());
        } else {
            return Err(format!("unexpected {c:?} in the expression {text:?}"));
        }
    }
    out.retain(|t| !t.is_empty());
    Ok(out)
}

fn sum(tokens: &[String], at: &mut usize, scope: &Scope) -> Result<i64> {
    let mut value = product(tokens, at, scope)?;
    while let Some(op @ ("+" | "-")) = tokens.get(*at).map(String::as_str) {
        *at += 1;
        let right = product(tokens, at, scope)?;
        value = if op == "+" { value + right } else { value - right };
    }
    Ok(value)
}

fn product(tokens: &[String], at: &mut usize, scope: &Scope) -> Result<i64> {
    let mut value = atom(tokens, at, scope)?;
    while let Some(op @ ("*" | "/" | "%")) = tokens.get(*at).map(String::as_str) {
        *at += 1;
        let right = atom(tokens, at, scope)?;
        value = match op {
            "*" => value * right,
            _ if right == 0 => return Err("division by zero in a shader expression".into()),
            "/" => value / right,
            _ => value % right,
        };
    }
    Ok(value)
}

fn atom(tokens: &[String], at: &mut usize, scope: &Scope) -> Result<i64> {
    let token = tokens.get(*at).ok_or("an expression ends too early")?;
    *at += 1;
    if token == "(" {
        let value = sum(tokens, at, scope)?;
        *at += 1;
        return Ok(value);
    }
    if let Ok(number) = token.parse() {
        return Ok(number);
    }
    scope.constants.get(token).copied().ok_or(format!("unknown name {token} in a shader expression"))
}
