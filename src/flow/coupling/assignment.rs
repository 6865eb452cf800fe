//! The linear assignment problem: for a square matrix of costs, the pairing of rows with columns of least total cost.
//!
//! Shortest augmenting paths with dual variables after Jonker and Volgenant, "A shortest augmenting path algorithm for dense
//! and sparse linear assignment problems", 1987: column reduction, reduction transfer and augmenting row reduction pair most
//! rows; each that is left is paired along a shortest path. Costs are f32, duals f64. O(n^3) at worst.

use crate::flow::{FlowError, Result};
use multiversion::multiversion;

/// An optimal assignment, with the dual variables that prove it.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The column of every row.
    pub columns: Vec<u32>,
    /// The sum of the paired costs.
    pub cost: f64,
    /// A dual variable per row: rows\[i\] + cols\[j\] <= cost[i, j], and equal where i and j are paired, up to rounding in f64.
    pub rows: Vec<f64>,
    /// A dual variable per column.
    pub cols: Vec<f64>,
}

/// No row, no column.
const NONE: u32 = u32::MAX;

/// Pairs the rows of `cost` \[n, n\] (row-major) with its columns at the least total cost. Which of several optimal pairings
/// is returned depends on the costs alone.
///
/// # Errors
/// [`FlowError::Length`] if there are not n^2 costs, [`FlowError::Cost`] if one of them is not finite.
pub fn assign(cost: &[f32], n: usize) -> Result<Assignment> {
    if Some(cost.len()) != n.checked_mul(n) || n >= NONE as usize {
        let needed = format!("{n} x {n}");
        return Err(FlowError::Length { what: "cost matrix", found: cost.len(), needed });
    }
    if let Some(at) = cost.iter().position(|c| !c.is_finite()) {
        return Err(FlowError::Cost { row: at / n, col: at % n, found: cost[at] });
    }
    let mut state = State {
        n,
        cost,
        column_of: vec![NONE; n],
        row_of: vec![NONE; n],
        v: vec![0.0; n],
        distance: vec![0.0; n],
        open: vec![0.0; n],
        settled: Vec::with_capacity(n),
        reached: Vec::with_capacity(n + 1),
    };
    let mut free = state.reduce_columns();
    for _ in 0..2 {
        free = state.reduce_rows(free);
    }
    free.into_iter().for_each(|row| state.augment(row));
    let at = |i: usize| state.column_of[i] as usize;
    let paired = |i: usize| f64::from(cost[i * n + at(i)]);
    Ok(Assignment {
        cost: (0..n).map(paired).sum(),
        rows: (0..n).map(|i| paired(i) - state.v[at(i)]).collect(),
        cols: state.v,
        columns: state.column_of,
    })
}

/// A partial assignment in which every paired row has its column of least reduced cost (cost - v).
struct State<'a> {
    n: usize,
    cost: &'a [f32],
    column_of: Vec<u32>,
    row_of: Vec<u32>,
    v: Vec<f64>,
    /// Of the search for a path: the length of the shortest path to every column so far, infinity once it is settled.
    distance: Vec<f64>,
    /// The columns' duals, minus infinity once settled: no path to them is shorter.
    open: Vec<f64>,
    /// Settled columns with the lengths of their paths.
    settled: Vec<(usize, f64)>,
    /// The free row, then the row of each settled column; a path by way of it to column j is cost - v + this long.
    reached: Vec<(u32, f64)>,
}

impl<'a> State<'a> {
    fn row(&self, i: u32) -> &'a [f32] {
        &self.cost[i as usize * self.n..(i as usize + 1) * self.n]
    }

    fn pair(&mut self, i: u32, j: usize) {
        self.column_of[i as usize] = j as u32;
        self.row_of[j] = i;
    }

    /// Takes for each column its least cost as dual, pairs it with that row if free, and moves what the pairs have to spare
    /// from columns to rows. Returns the rows left over.
    fn reduce_columns(&mut self) -> Vec<u32> {
        let mut least = vec![f32::INFINITY; self.n];
        let mut argmin = vec![0u32; self.n];
        for (i, row) in self.cost.chunks(self.n.max(1)).enumerate() {
            for ((least, argmin), c) in least.iter_mut().zip(&mut argmin).zip(row) {
                if *c < *least {
                    (*least, *argmin) = (*c, i as u32);
                }
            }
        }
        let mut wanted = vec![0u32; self.n];
        for j in (0..self.n).rev() {
            self.v[j] = f64::from(least[j]);
            wanted[argmin[j] as usize] += 1;
            if wanted[argmin[j] as usize] == 1 {
                self.pair(argmin[j], j);
            }
        }
        let mut free = Vec::new();
        for i in 0..self.n as u32 {
            match wanted[i as usize] {
                0 => free.push(i),
                1 => {
                    // The row has one column of reduced cost 0 that is its alone: the next best bounds what it can spare.
                    let own = self.column_of[i as usize] as usize;
                    let others = self.row(i).iter().zip(&self.v).enumerate().filter(|(j, _)| *j != own);
                    let spare = others.map(|(_, (c, v))| f64::from(*c) - v).fold(f64::INFINITY, f64::min);
                    if spare.is_finite() {
                        self.v[own] -= spare;
                    }
                }
                _ => {}
            }
        }
        free
    }

    /// Gives each free row its best column, whose dual falls so far that the second best is as good; the row that had the
    /// column is free again, and goes on at once if the dual fell. Returns the rows left over.
    fn reduce_rows(&mut self, mut free: Vec<u32>) -> Vec<u32> {
        let mut left = Vec::new();
        if self.n < 2 {
            return free;
        }
        // Near-identical rows chase each other for long, by little at a time: the paths pair whatever is left sooner.
        let mut budget = self.n + free.len();
        free.reverse();
        while let Some(i) = free.pop() {
            if budget == 0 {
                left.push(i);
                continue;
            }
            budget -= 1;
            let [(first, j1), (second, j2)] = two_least(self.row(i), &self.v);
            let lowered = self.v[j1] - (second - first);
            let lowers = lowered < self.v[j1];
            let mut j = j1;
            if lowers {
                self.v[j1] = lowered;
            } else if self.row_of[j1] != NONE {
                j = j2;
            }
            let displaced = self.row_of[j];
            self.pair(i, j);
            if displaced != NONE {
                self.column_of[displaced as usize] = NONE;
                if lowers { free.push(displaced) } else { left.push(displaced) }
            }
        }
        left
    }

    /// Pairs a free row along the shortest path of alternating reduced costs to a free column (Dijkstra).
    fn augment(&mut self, free: u32) {
        self.distance.fill(f64::INFINITY);
        self.open.copy_from_slice(&self.v);
        self.settled.clear();
        self.reached.clear();
        self.reached.push((free, 0.0));
        let (mut row, mut offset) = (free, 0.0);
        let (last, length) = loop {
            let length = relax(self.row(row), &self.open, offset, &mut self.distance);
            let j = nearest(&self.distance, length, &self.row_of);
            if self.row_of[j] == NONE {
                break (j, length);
            }
            self.settled.push((j, length));
            (self.distance[j], self.open[j]) = (f64::INFINITY, f64::NEG_INFINITY);
            row = self.row_of[j];
            offset = length - (f64::from(self.row(row)[j]) - self.v[j]);
            self.reached.push((row, offset));
        };
        // Backwards: the first row by way of which a column is as near as it is was reached before the column was settled. To
        // search for it costs less than to note a row for every column at every step.
        let (mut j, mut distance) = (last, length);
        loop {
            let via = |(i, offset): &(u32, f64)| f64::from(self.row(*i)[j]) - self.v[j] + offset;
            let k = self.reached.iter().position(|r| via(r) == distance).unwrap_or(0);
            self.pair(self.reached[k].0, j);
            if k == 0 {
                break;
            }
            (j, distance) = self.settled[k - 1];
        }
        for (j, distance) in &self.settled {
            self.v[*j] += distance - length;
        }
    }
}

/// Columns looked at side by side.
const LANES: usize = 8;

/// Calls `f(lane, cost, v)` for every column.
#[inline(always)]
fn each(cost: &[f32], v: &[f64], mut f: impl FnMut(usize, f32, f64)) {
    let ((costs, cost), (duals, v)) = (cost.as_chunks::<LANES>(), v.as_chunks::<LANES>());
    for (cost, v) in costs.iter().zip(duals) {
        for l in 0..LANES {
            f(l, cost[l], v[l]);
        }
    }
    for (l, (cost, v)) in cost.iter().zip(v).enumerate() {
        f(l, *cost, *v);
    }
}

#[inline(always)]
fn lesser(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

/// The least and the second least of cost - v, with their columns (at least two).
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn two_least(cost: &[f32], v: &[f64]) -> [(f64, usize); 2] {
    // Each lane keeps its own two least.
    let (mut first, mut second) = ([f64::INFINITY; LANES], [f64::INFINITY; LANES]);
    each(cost, v, |l, c, v| {
        let x = f64::from(c) - v;
        second[l] = lesser(if x > first[l] { x } else { first[l] }, second[l]);
        first[l] = lesser(x, first[l]);
    });
    let place = |wanted: f64, skip: usize| {
        let (costs, duals) = (cost.as_chunks::<LANES>().0, v.as_chunks::<LANES>().0);
        let mut blocks = costs.iter().zip(duals).map(|(cost, v)| {
            let same: [u64; LANES] = std::array::from_fn(|l| u64::from(f64::from(cost[l]) - v[l] == wanted));
            same.into_iter().fold(0, |any, s| any | s)
        });
        // From the first block with such a column on; the column to be skipped may be alone in it.
        let from = LANES * blocks.position(|any| any != 0).unwrap_or(costs.len());
        let mut columns = (from..cost.len()).filter(|j| *j != skip);
        columns.find(|j| f64::from(cost[*j]) - v[*j] == wanted).unwrap_or(0)
    };
    let least = first.into_iter().fold(f64::INFINITY, lesser);
    let at = place(least, usize::MAX);
    // The least of the other lanes, and of what came second in its own.
    first[at % LANES] = f64::INFINITY;
    let next = first.into_iter().chain(second).fold(f64::INFINITY, lesser);
    [(least, at), (next, place(next, at))]
}

/// Shortens the paths to all open columns by way of a row: distance = min(distance, cost - v + offset). Returns the least
/// distance.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn relax(cost: &[f32], open: &[f64], offset: f64, distance: &mut [f64]) -> f64 {
    let mut least = [f64::INFINITY; LANES];
    let ((costs, cost), (duals, open)) = (cost.as_chunks::<LANES>(), open.as_chunks::<LANES>());
    let (distances, distance) = distance.as_chunks_mut::<LANES>();
    for ((cost, open), distance) in costs.iter().zip(duals).zip(distances) {
        for l in 0..LANES {
            distance[l] = lesser(f64::from(cost[l]) - open[l] + offset, distance[l]);
            least[l] = lesser(distance[l], least[l]);
        }
    }
    for ((cost, open), distance) in cost.iter().zip(open).zip(distance) {
        *distance = lesser(f64::from(*cost) - open + offset, *distance);
        least[0] = lesser(*distance, least[0]);
    }
    least.into_iter().fold(f64::INFINITY, lesser)
}

/// A column at the least distance: a free one if there is one, else the first.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn nearest(distance: &[f64], least: f64, row_of: &[u32]) -> usize {
    let mut first = None;
    for (block, distance) in distance.chunks(2 * LANES).enumerate() {
        if !distance.iter().fold(false, |any, d| any | (*d == least)) {
            continue;
        }
        for (l, _) in distance.iter().enumerate().filter(|(_, d)| **d == least) {
            let j = 2 * LANES * block + l;
            if row_of[j] == NONE {
                return j;
            }
            first = first.or(Some(j));
        }
    }
    first.unwrap_or(0)
}

#[cfg(test)]
mod tests;
