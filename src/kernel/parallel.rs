//! How a twin with several outputs splits its rows over the threads.

use super::TwinCx;

/// Rows per task: all of them when the work (`cost` scalar operations in all) is not worth a hand-off of about 5 us.
pub fn rows_per_task(cx: &TwinCx<'_>, rows: usize, cost: usize) -> usize {
    if cx.threads <= 1 || cost < 40_000 || rows < 2 { rows.max(1) } else { rows.div_ceil(cx.threads) }
}

/// Calls `f(task, item)` for every item, on the pool's threads when there is more than one.
pub fn for_each<T: Send>(items: Vec<T>, f: impl Fn(usize, T) + Sync) {
    use rayon::prelude::*;
    if items.len() < 2 {
        return items.into_iter().enumerate().for_each(|(i, item)| f(i, item));
    }
    items.into_par_iter().enumerate().for_each(|(i, item)| f(i, item));
}
