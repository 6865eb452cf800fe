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
        from: vec![NONE; n],
        settled: Vec::with_capacity(n),
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
    /// The row before each column on its path.
    from: Vec<u32>,
    /// Settled columns with their lengths.
    settled: Vec<(u32, f64)>,
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
        // Rounding could let rows chase each other for ever: the paths pair whatever is left.
        let mut budget = 4 * self.n + free.len();
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
        self.from.fill(free);
        self.open.copy_from_slice(&self.v);
        self.settled.clear();
        let (mut row, mut offset) = (free, 0.0);
        let (last, length) = loop {
            relax(self.row(row), &self.open, offset, row, &mut self.distance, &mut self.from);
            let (length, j) = nearest(&self.distance, &self.row_of);
            if self.row_of[j] == NONE {
                break (j, length);
            }
            self.settled.push((j as u32, length));
            (self.distance[j], self.open[j]) = (f64::INFINITY, f64::NEG_INFINITY);
            row = self.row_of[j];
            offset = length - (f64::from(self.row(row)[j]) - self.v[j]);
        };
        for (j, distance) in &self.settled {
            self.v[*j as usize] += distance - length;
        }
        let mut j = last;
        loop {
            let i = self.from[j];
            let before = self.column_of[i as usize];
            self.pair(i, j);
            if i == free {
                return;
            }
            j = before as usize;
        }
    }
}

/// The least and the second least of cost - v, with their columns (at least two).
#[multiversion(targets("x86_64+avx2"))]
fn two_least(cost: &[f32], v: &[f64]) -> [(f64, usize); 2] {
    // Several at a time, each lane keeping its own two least; then the least of all lanes.
    const LANES: usize = 8;
    let (mut first, mut second) = ([f64::INFINITY; LANES], [f64::INFINITY; LANES]);
    for (cost, v) in cost.chunks(LANES).zip(v.chunks(LANES)) {
        for (((first, second), c), v) in first.iter_mut().zip(&mut second).zip(cost).zip(v) {
            let x = f64::from(*c) - v;
            let larger = if x > *first { x } else { *first };
            *second = if larger < *second { larger } else { *second };
            *first = if x < *first { x } else { *first };
        }
    }
    let least = first.iter().fold(f64::INFINITY, |a, b| a.min(*b));
    let place = |wanted: f64, skip: usize| {
        let mut places = cost.iter().zip(v).enumerate().filter(|(j, _)| *j != skip);
        places.find(|(_, (c, v))| f64::from(**c) - **v == wanted).map_or(0, |(j, _)| j)
    };
    let at = place(least, usize::MAX);
    let next = {
        // The second least of all: the least of every other lane's first and of the seconds.
        let lane = at % LANES;
        let others = first.iter().enumerate().filter(|(l, _)| *l != lane).map(|(_, x)| *x);
        others.chain(second).fold(f64::INFINITY, f64::min)
    };
    [(least, at), (next, place(next, at))]
}

/// Shortens the paths to all open columns by way of a row: distance = min(distance, cost - v + offset).
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn relax(cost: &[f32], open: &[f64], offset: f64, row: u32, distance: &mut [f64], from: &mut [u32]) {
    for (((c, v), distance), from) in cost.iter().zip(open).zip(distance).zip(from) {
        let x = f64::from(*c) - v + offset;
        let shorter = x < *distance;
        *distance = if shorter { x } else { *distance };
        *from = if shorter { row } else { *from };
    }
}

/// The least distance and its column: a free one if there is one so near, else the first.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn nearest(distance: &[f64], row_of: &[u32]) -> (f64, usize) {
    const LANES: usize = 16;
    let mut lanes = [f64::INFINITY; LANES];
    for block in distance.chunks(LANES) {
        for (least, d) in lanes.iter_mut().zip(block) {
            *least = if *d < *least { *d } else { *least };
        }
    }
    let least = lanes.into_iter().fold(f64::INFINITY, f64::min);
    let mut first = None;
    for (j, d) in distance.iter().enumerate() {
        if *d == least {
            if row_of[j] == NONE {
                return (least, j);
            }
            first = first.or(Some(j));
        }
    }
    (least, first.unwrap_or(0))
}

#[cfg(test)]
mod tests;
