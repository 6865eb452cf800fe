//! How values move: jumps, full turns, and episodes that end while they move.

use std::f64::consts::TAU;

use super::super::Purpose;
use super::super::column::Column;
use super::super::rows::Rows;
use super::number;
use crate::data::scaling::quantile;
use crate::data::windows::Padding;

/// The steps of one column: the later row, and how far.
fn steps<'a>(
    rows: &'a Rows<'_>,
    (data, dim): (&'a [f32], usize),
    column: usize,
) -> impl Iterator<Item = (usize, f32)> + Clone + 'a {
    let value = move |row: usize| data[row * dim + column];
    let pairs = rows.episodes.iter().flat_map(|episode| episode.rows.start + 1..episode.rows.end);
    pairs.map(move |row| (row, (value(row) - value(row - 1)).abs())).filter(|step| step.1.is_finite())
}

/// Whether large steps of the action are how it is commanded: a goal or a speed that is switched as the task goes on. They are in
/// many episodes; the action stays where it went, and the observation does not jump with it.
fn switched(rows: &Rows<'_>, c: &Column, large: f64) -> bool {
    let value = |row: usize| f64::from(rows.action[row * rows.action_dim + c.index]);
    let (mut all, mut stays, mut episodes) = (0usize, 0usize, 0usize);
    let mut at = Vec::new();
    for episode in &rows.episodes {
        let before = all;
        for row in episode.rows.start + 1..episode.rows.end {
            let step = value(row) - value(row - 1);
            if step.abs() < large || step.is_nan() {
                continue;
            }
            all += 1;
            at.push(row);
            let back = |later: usize| (value(later) - value(row - 1)).abs() < 0.5 * step.abs();
            stays += usize::from(!(row + 1..(row + 3).min(episode.rows.end)).any(back));
        }
        episodes += usize::from(all > before);
    }
    let recurs = episodes >= 3 && 4 * episodes >= rows.episodes.len();
    recurs && 2 * stays > all && 4 * at.iter().filter(|&&row| scene_jumps(rows, row)).count() <= all
}

/// Steps before and after one that it is compared with.
const AROUND: usize = 10;

/// Whether some observation steps much further at this row than it does around it, as it does where two recordings meet.
fn scene_jumps(rows: &Rows<'_>, row: usize) -> bool {
    let Some(episode) = rows.episode_of(row) else { return false };
    let first = (episode.rows.start + 1).max(row.saturating_sub(AROUND));
    let around = first..(row + 1 + AROUND).min(episode.rows.end);
    (0..rows.obs_dim).any(|d| {
        let value = |row: usize| f64::from(rows.obs[row * rows.obs_dim + d]);
        let step = |row: usize| (value(row) - value(row - 1)).abs();
        let usual = around.clone().filter(|&other| other != row).map(step).fold(0.0, f64::max);
        usual > 0.0 && step(row) > 10.0 * usual
    })
}

/// Steps of the action that are far larger than its usual ones.
pub fn jumps(rows: &Rows<'_>, columns: &[Column]) -> Vec<String> {
    let mut found = Vec::new();
    for c in columns.iter().filter(|c| c.is_continuous()) {
        let of_column = || steps(rows, (&rows.action, rows.action_dim), c.index);
        let Some((row, largest)) = of_column().max_by(|a, b| a.1.total_cmp(&b.1)) else { continue };
        let mut sizes: Vec<f32> = of_column().map(|step| step.1).collect();
        sizes.sort_unstable_by(f32::total_cmp);
        let usual = quantile(&sizes, 0.99);
        let largest = f64::from(largest);
        let far = largest > 10.0 * usual && largest > 0.25 * c.range();
        if far && turn(c, &sizes).is_none() && !switched(rows, c, 0.25 * largest) {
            let text = format!(
                "action {}: jumps by {} at {}, where 99 % of the steps are below {}: a glitch, or a cut inside an episode?",
                c.label(),
                number(largest),
                rows.at(row),
                number(usual)
            );
            found.push((largest / c.range(), text));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    found.into_iter().map(|(_, text)| text).collect()
}

/// A full turn, where a column is an angle that is cut at its ends: it stays within one turn, moves little, and now and then goes
/// from one end to the other in a step. `sizes` are its steps, ascending.
fn turn(c: &Column, sizes: &[f32]) -> Option<f64> {
    let full = [TAU, 360.0].into_iter().find(|full| (0.8..1.02).contains(&(c.range() / full)))?;
    let across = sizes.partition_point(|&step| f64::from(step) < 0.8 * full);
    let (most, rest) = (f64::from(*sizes.last()?), &sizes[..across]);
    let wraps = sizes.len() - across;
    (wraps > 0 && most < 1.02 * full && wraps < sizes.len().div_ceil(5) && quantile(rest, 0.99) < 0.25 * full)
        .then_some(full)
}

/// Angles that jump by a full turn where they are cut.
pub fn wraps(
    array: &str,
    rows: &Rows<'_>,
    data: (&[f32], usize),
    columns: &[Column],
    purpose: &Purpose,
) -> Vec<String> {
    let mut lines = Vec::new();
    let angles = [TAU, 360.0].map(|full| 0.8 * full..1.02 * full);
    let said = &purpose.angles[usize::from(array == "action")];
    let known = |c: &Column| said.iter().any(|s| Some(s) == c.name.as_ref() || *s == c.index.to_string());
    for c in columns.iter().filter(|c| c.is_continuous() && angles.iter().any(|a| a.contains(&c.range()))) {
        if known(c) {
            continue;
        }
        let mut sizes: Vec<f32> = steps(rows, data, c.index).map(|step| step.1).collect();
        sizes.sort_unstable_by(f32::total_cmp);
        let Some(full) = turn(c, &sizes) else { continue };
        let across = |step: &(usize, f32)| f64::from(step.1) >= 0.8 * full;
        let mut wraps = steps(rows, data, c.index).filter(across);
        let Some((row, size)) = wraps.next() else { continue };
        let more = match wraps.count() {
            0 => String::new(),
            n => format!(" and {n} times more"),
        };
        let unit = if full > TAU { ", unit = \"degrees\"" } else { "" };
        let way = match array {
            "action" => format!(
                "name it in angles = {{ obs = [..], action = [{}]{unit} }} with relative_to the same joint's observation, or record its \
                 cosine and sine and train objective = \"riemannian\" with the manifold s1 there",
                c.index
            ),
            _ => {
                format!("name it in angles = {{ obs = [{}]{unit} }}, or record its cosine and sine", c.index)
            }
        };
        lines.push(format!(
            "{array} {}: wraps by a full turn: it jumps by {} at {}{more}. Both ends are the same angle, and a policy learns what lies \
             between: {way}",
            c.label(),
            number(size.into()),
            rows.at(row)
        ));
    }
    lines
}

/// Steps at an episode's end that are looked at.
const LAST: usize = 4;

/// Episodes that end in motion, where the end is repeated often enough to be learnt as standing still.
pub fn ends(rows: &Rows<'_>, purpose: &Purpose) -> Vec<String> {
    let (w, dim) = (&purpose.windows, rows.action_dim);
    if purpose.padding == Padding::Mask || w.pad_after == 0 {
        return Vec::new();
    }
    // How much of what is learnt is repeated.
    let (mut padded, mut all) = (0usize, 0usize);
    for length in rows.episodes.iter().map(|episode| episode.rows.len()) {
        if length < w.least_steps() {
            continue;
        }
        let most =
            w.pad_after.min(w.action_offset.saturating_add(w.horizon).saturating_sub(1)).min(w.horizon);
        padded += (1..=most.min(length)).sum::<usize>();
        let reach = w.action_offset.saturating_add(w.horizon);
        let windows = length.saturating_add(w.pad_after).saturating_add(1).saturating_sub(reach).min(length);
        all = all.saturating_add(w.horizon.saturating_mul(windows));
    }
    let share = padded as f64 / all.max(1) as f64;
    if share < SHARE {
        return Vec::new();
    }
    let long: Vec<_> = rows.episodes.iter().filter(|episode| episode.rows.len() > LAST + 1).collect();
    // Root mean square of each dimension's steps.
    let mut square = vec![0.0f64; dim];
    let mut count = 0usize;
    for episode in &long {
        for row in episode.rows.start + 1..episode.rows.end {
            for (d, sum) in square.iter_mut().enumerate() {
                let step = f64::from(rows.action[row * dim + d] - rows.action[(row - 1) * dim + d]);
                *sum += step * step;
            }
            count += 1;
        }
    }
    let usual: Vec<f64> = square.iter().map(|sum| (sum / count.max(1) as f64).sqrt()).collect();
    let moving = usual.iter().filter(|u| **u > 0.0).count();
    if moving == 0 {
        return Vec::new();
    }
    // The last steps: how far in units of the usual, and whether they go anywhere, as noise does not.
    let distance = |a: usize, b: usize| {
        let each = (0..dim).filter(|&d| usual[d] > 0.0);
        let sum: f64 = each
            .map(|d| (f64::from(rows.action[b * dim + d] - rows.action[a * dim + d]) / usual[d]).powi(2))
            .sum();
        (sum / moving as f64).sqrt()
    };
    let in_motion = |end: usize| {
        let (first, last) = (end - 1 - LAST, end - 1);
        let net = distance(first, last);
        let way: f64 = (first..last).map(|row| distance(row, row + 1)).sum();
        net > 0.5 * LAST as f64 && net > 0.6 * way
    };
    let ending = long.iter().filter(|episode| in_motion(episode.rows.end)).count();
    if 3 * ending < rows.episodes.len().max(1) {
        return Vec::new();
    }
    vec![format!(
        "{ending} of {} episodes end in motion, and {:.0} % of the actions that are learnt repeat an episode's last one: a policy learns \
         to stop there; padding = \"mask\" leaves them out",
        rows.episodes.len(),
        100.0 * share
    )]
}

/// The least share of repeated actions that is said.
const SHARE: f64 = 0.05;
