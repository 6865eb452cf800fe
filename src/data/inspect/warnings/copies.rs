//! Frames and episodes that are there more than once.

use super::super::rows::Rows;
use crate::data::choice::listed;

/// Frames that repeat the one before.
pub fn frames(rows: &Rows<'_>) -> Vec<String> {
    let pairs = rows.episodes.iter().flat_map(|episode| episode.rows.start + 1..episode.rows.end);
    let repeats: Vec<usize> = pairs.filter(|&row| rows.repeats(row)).collect();
    let Some(&first) = repeats.first() else { return Vec::new() };
    let share = 100.0 * repeats.len() as f64 / rows.count.max(1) as f64;
    let frames = if repeats.len() == 1 { "frame repeats" } else { "frames repeat" };
    vec![format!(
        "{} {frames} the one before in every value ({share:.2} %), first at {}: pauses, or a recorder that stalled",
        repeats.len(),
        rows.at(first)
    )]
}

/// Episodes that repeat another, in whichever data set.
pub fn episodes(rows: &Rows<'_>) -> Vec<String> {
    let label = |at: usize| rows.label(&rows.episodes[at]);
    let copies: Vec<String> = rows
        .firsts()
        .into_iter()
        .enumerate()
        .filter(|(at, first)| at != first)
        .map(|(at, first)| format!("{} is {} again", label(at), label(first)))
        .collect();
    if copies.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "{} of {} episodes {} there more than once, bit for bit: {}; they count double (and are kept on one side of the validation split)",
        copies.len(),
        rows.episodes.len(),
        if copies.len() == 1 { "is" } else { "are" },
        listed(&copies)
    )]
}
