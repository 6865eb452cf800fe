//! How a twin with several outputs splits its rows over the threads, without allocating.

use super::TwinCx;
use crate::device::Team;
use std::sync::Mutex;

/// Most tasks of one call.
const TASKS: usize = Team::MOST;

/// Rows per task: all of them when the work (`cost` scalar operations in all) is not worth a hand-off.
pub fn rows_per_task(cx: &TwinCx<'_>, rows: usize, cost: usize) -> usize {
    rows.div_ceil(cx.threads(cost)).max(1)
}

/// Calls `f(task, item)` for every item (at most 64: see [`rows_per_task`]), on the team when there is more than one.
pub fn for_each<T: Send>(cx: &TwinCx<'_>, items: impl Iterator<Item = T>, f: impl Fn(usize, T) + Sync) {
    let mut tasks = [const { Mutex::new(None) }; TASKS];
    let mut count = 0;
    for item in items {
        assert!(count < TASKS, "found more than {TASKS} tasks");
        tasks[count] = Mutex::new(Some(item));
        count += 1;
    }
    // Nobody waits: every task is taken once.
    cx.for_each(count, |i| {
        if let Some(item) = tasks[i].lock().ok().and_then(|mut task| task.take()) {
            f(i, item);
        }
    });
}
