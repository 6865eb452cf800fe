//! Tasks that ask for different actions in the same states, with nothing in the observation to tell them apart.
//!
//! Some rows are drawn by a fixed seed. Each is compared with the nearest row of another task and with the nearest row of another
//! episode of its own task; distances are between normalised observations. Where other tasks are as near as the own one, and yet their
//! next actions differ much more, the observation does not say which task it is.

use std::collections::HashMap;

use super::super::Purpose;
use super::super::column::Column;
use super::super::rows::{Rows, Set};
use crate::data::choice::listed;
use crate::data::split::SplitMix64;

/// Rows that are compared, all tasks together; the cost is their square times the size of an observation.
const DRAWN: usize = 1200;
/// Tasks that are compared: the first ones, where there are more.
const TASKS: usize = 40;
const SEED: u64 = 0x7461_736b;

/// A drawn row.
struct Drawn {
    task: usize,
    episode: usize,
    obs: Vec<f32>,
    action: Vec<f32>,
}

/// Nearest rows of a drawn one: the distance of the observations and that of the actions, both squared and per value, and the task.
#[derive(Clone, Copy)]
struct Near {
    obs: f32,
    action: f32,
    task: usize,
}

/// A line where tasks contradict each other.
pub fn contradicting(
    sets: &[Set<'_>],
    rows: &Rows<'_>,
    [obs, action]: [&[Column]; 2],
    purpose: &Purpose,
) -> Vec<String> {
    let (texts, of_row) = of_rows(sets, rows);
    if texts.len() < 2 {
        return Vec::new();
    }
    let drawn = draw(rows, &of_row, texts.len().min(TASKS), [obs, action], purpose);
    let nearest = |a: &Drawn, of: &dyn Fn(&Drawn) -> bool| -> Option<Near> {
        let mut best: Option<(f32, &Drawn)> = None;
        for b in drawn.iter().filter(|b| of(b)) {
            let apart = square(&a.obs, &b.obs);
            if best.is_none_or(|(least, _)| apart < least) {
                best = Some((apart, b));
            }
        }
        best.map(|(obs, b)| Near { obs, action: square(&a.action, &b.action), task: b.task })
    };
    let mut pairs: HashMap<[usize; 2], usize> = HashMap::new();
    let (mut across, mut within, mut compared) = (0.0f64, 0.0f64, 0usize);
    for a in &drawn {
        let other = nearest(a, &|b| b.task != a.task);
        let own = nearest(a, &|b| b.task == a.task && b.episode != a.episode);
        let (Some(other), Some(own)) = (other, own) else { continue };
        // As near as the own task, or so near that it does not matter.
        if other.obs > own.obs.max(2.5e-3) {
            continue;
        }
        compared += 1;
        across += f64::from(other.action);
        within += f64::from(own.action);
        if other.action > 4.0 * own.action && other.action > 0.5 {
            *pairs.entry([a.task.min(other.task), a.task.max(other.task)]).or_default() += 1;
        }
    }
    let enough = compared >= 20 && 10 * compared >= drawn.len();
    let n = compared.max(1) as f64;
    if !enough || across / n < 0.5 || across < 4.0 * within {
        return Vec::new();
    }
    let mut worst: Vec<_> = pairs.into_iter().collect();
    worst.sort_by_key(|(pair, count)| (std::cmp::Reverse(*count), *pair));
    let named: Vec<String> =
        worst.iter().map(|([a, b], _)| format!("'{}' and '{}'", texts[*a], texts[*b])).collect();
    vec![format!(
        "{} tasks ask for different actions in the same states, and nothing in the observation says which is meant ({}): the policy will \
         mix them; {}",
        texts.len(),
        listed(&named),
        way_out(sets)
    )]
}

/// What to do about it.
fn way_out(sets: &[Set<'_>]) -> String {
    let Some(first) = sets.first() else { return String::new() };
    let columns: Vec<String> =
        first.source.labels[0].split(" + ").map(|name| format!("\"{name}\"")).collect();
    let has = |set: &Set<'_>| set.source.tasks.as_ref().is_some_and(|tasks| tasks.texts.len() > 1);
    if columns.iter().any(|name| name == "\"task_index\"") {
        return "task_index counts the tasks of each data set from 0: make them one data set with a list of tasks of its own"
            .into();
    }
    let setting = format!("[data] obs = [{}, \"task_index\"]", columns.join(", "));
    match sets.iter().any(has) {
        true => format!("make the task's number an input: {setting}"),
        false => format!("make them one data set, and the task's number an input: {setting}"),
    }
}

/// The texts of all tasks that have rows, and which of them each row is of; a text in several data sets is one task.
fn of_rows(sets: &[Set<'_>], rows: &Rows<'_>) -> (Vec<String>, Vec<Option<usize>>) {
    let (mut texts, mut numbers) = (Vec::<String>::new(), HashMap::<String, usize>::new());
    let mut of_row = Vec::with_capacity(rows.count);
    for (at, set) in sets.iter().enumerate() {
        let count: usize = rows.episodes.iter().filter(|e| e.set == at).map(|e| e.rows.len()).sum();
        let start = of_row.len();
        if let Some(tasks) = &set.source.tasks {
            for &task in tasks.of_row.iter().take(count) {
                let text = usize::try_from(task).ok().and_then(|task| tasks.texts.get(task));
                of_row.push(text.map(|text| {
                    *numbers.entry(text.clone()).or_insert_with(|| {
                        texts.push(text.clone());
                        texts.len() - 1
                    })
                }));
            }
        }
        of_row.resize(start + count, None);
    }
    (texts, of_row)
}

/// Rows of every task, as many of each, with their actions at once and half a horizon later.
fn draw(
    rows: &Rows<'_>,
    of_row: &[Option<usize>],
    tasks: usize,
    [obs, action]: [&[Column]; 2],
    purpose: &Purpose,
) -> Vec<Drawn> {
    let mut by_task: Vec<Vec<(usize, usize)>> = vec![Vec::new(); tasks];
    for (number, episode) in rows.episodes.iter().enumerate() {
        for row in episode.rows.clone() {
            if let Some(Some(task)) = of_row.get(row).filter(|task| task.is_some_and(|task| task < tasks)) {
                by_task[*task].push((row, number));
            }
        }
    }
    let scaled = |row: &[f32], columns: &[Column]| -> Vec<f32> {
        let moving = row.iter().zip(columns).filter(|(_, c)| c.std > 0.0);
        moving.map(|(x, c)| ((f64::from(*x) - c.mean) / c.std) as f32).collect()
    };
    let mut random = SplitMix64(SEED);
    let each = DRAWN / tasks.max(1);
    let mut drawn = Vec::new();
    for (task, mut own) in by_task.into_iter().enumerate() {
        for n in 0..each.min(own.len()) {
            let at = n + (random.draw() % (own.len() - n) as u64) as usize;
            own.swap(n, at);
            let (row, episode) = own[n];
            let later =
                row.saturating_add(purpose.windows.horizon / 2).min(rows.episodes[episode].rows.end - 1);
            let actions = [row, later].map(|row| scaled(rows.action_row(row), action));
            drawn.push(Drawn {
                task,
                episode,
                obs: scaled(rows.obs_row(row), obs),
                action: actions.concat(),
            });
        }
    }
    drawn
}

/// The mean of the squared differences.
fn square(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f32>() / a.len().max(1) as f32
}
