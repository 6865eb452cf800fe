//! How a twin with several outputs splits its rows over the threads, without allocating.

use super::TwinCx;

/// Most tasks of one call.
const TASKS: usize = 64;

/// Rows per task: all of them when the work (`cost` scalar operations in all) is not worth a hand-off of about 5 us.
pub fn rows_per_task(cx: &TwinCx<'_>, rows: usize, cost: usize) -> usize {
    if cx.threads <= 1 || cost < 40_000 || rows < 2 {
        rows.max(1)
    } else {
        rows.div_ceil(cx.threads.min(TASKS))
    }
}

/// Calls `f(task, item)` for every item (at most 64: see [`rows_per_task`]), on the pool's threads when there is more
/// than one.
pub fn for_each<T: Send>(items: impl Iterator<Item = T>, f: impl Fn(usize, T) + Sync) {
    use rayon::prelude::*;
    let mut tasks = [const { None }; TASKS];
    let mut count = 0;
    for item in items {
        assert!(count < TASKS, "found more than {TASKS} tasks");
        tasks[count] = Some(item);
        count += 1;
    }
    let run = |(i, item): (usize, &mut Option<T>)| item.take().into_iter().for_each(|item| f(i, item));
    match count {
        0 | 1 => tasks[..count].iter_mut().enumerate().for_each(run),
        _ => tasks[..count].par_iter_mut().enumerate().with_max_len(1).for_each(run),
    }
}
