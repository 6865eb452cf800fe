//! Cases of `ode_control`: accepted, rejected, finished, last, non-finite and failing attempts in one batch, forwards and
//! backwards in time.

use super::{SIZES, values};
use crate::kernel::case::Case;
use crate::kernel::ode_control::{COUNTS, ControlParams, RECORD, command, counts};
use crate::kernel::{BufferId, Target};

const E: [f32; 7] = [0.0012, 0.0, -0.0043, 0.037, -0.051, 0.042, -0.025];

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for &rows in &SIZES {
        for cols in [1, 7, 65, 130] {
            for (fsal, backwards) in [(true, false), (false, true)] {
                let sign = if backwards { -1.0f32 } else { 1.0 };
                let control = ControlParams {
                    grids: 2,
                    ..ControlParams::new(5, 1e-2, 1e-3, if backwards { 0.0 } else { 1.0 })
                };
                let n = rows * cols;
                let (x, mut x_new, k) = (values(n, 1), values(n, 2), values(7 * n, 3));
                let mut ctl = Vec::new();
                for i in 0..rows {
                    // Small, large and last steps; a finished sample; one whose next shrink fails; a NaN.
                    let (h, flag) = match i % 7 {
                        0 => (0.02, 0),
                        1 => (0.9, 0),
                        2 => (0.25, 1),
                        3 => (1.5e-6, 0),
                        4 => (0.05, 0),
                        5 => (0.75 - 0.25, 0),
                        _ => (0.1, 0),
                    };
                    if i % 7 == 3 || i % 7 == 6 {
                        x_new[i * cols + cols / 2] = if i % 2 == 0 { f32::NAN } else { f32::INFINITY };
                    }
                    let t = 0.5 - sign * if i % 7 == 0 { -0.49 } else { 0.0 };
                    let previous = 0.3 + 0.01 * i as f32;
                    ctl.push([t, sign * h, previous, 0.0, 0.0, f32::from_bits(flag), 0.0, 0.0]);
                    if i % 7 == 4 {
                        ctl[i][7] = f32::from_bits(1);
                    }
                }
                let mut left = ctl.iter().filter(|r| r[5].to_bits() == 0).count();
                let active = counts(left, &[[5, 1, 1], [7, 2, 1]]);
                let (mut want_x, mut want_k) =
                    (x.iter().map(|v| f64::from(*v)).collect::<Vec<_>>(), [f64::NAN].repeat(7 * n));
                let mut want_ctl = Vec::new();
                let mut failures = 0;
                for (i, record) in ctl.iter().enumerate() {
                    let (after, accepted) = oracle(&control, record, &x, &x_new, &k, i, [rows, cols]);
                    if accepted {
                        for e in i * cols..(i + 1) * cols {
                            want_x[e] = f64::from(x_new[e]);
                            if fsal {
                                want_k[e] = f64::from(k[6 * n + e]);
                            }
                        }
                    }
                    if record[5].to_bits() == 0 && after[5] != 0.0 {
                        left -= 1;
                        failures += usize::from(after[5] == f64::from(f32::from_bits(2)));
                    }
                    want_ctl.extend(after);
                }
                let mut want_active = vec![left as f64, failures as f64];
                let grids = &active[COUNTS..];
                want_active.extend(grids.iter().map(|g| if left == 0 { 0.0 } else { f64::from(*g) }));
                // A batch that was finished before stops nothing anew.
                let id = [0, 1, 2, 3, 4].map(BufferId);
                let make = |exact, expect| Case {
                    label: format!("ode_control {rows}x{cols} backwards {backwards} exact {exact}"),
                    command: command(&control, [rows, cols], 7, &E, fsal, id[0], id[1], id[2], id[3], id[4]),
                    buffers: vec![
                        x.clone(),
                        x_new.clone(),
                        k.clone(),
                        ctl.as_flattened().to_vec(),
                        active.iter().map(|v| f32::from_bits(*v)).collect(),
                    ],
                    expect,
                    exact,
                    tolerance: 2e-6,
                };
                out.push(make(false, vec![(0, want_x), (2, want_k), (3, want_ctl.clone())]));
                out.push(make(true, vec![(4, want_active)]));
            }
        }
    }
    out
}

/// The record after an attempt, and whether x moves, in f64.
fn oracle(
    c: &ControlParams,
    record: &[f32; RECORD],
    x: &[f32],
    x_new: &[f32],
    k: &[f32],
    i: usize,
    [rows, cols]: [usize; 2],
) -> ([f64; RECORD], bool) {
    let word = |v: u32| f64::from(f32::from_bits(v));
    let mut r = record.map(f64::from);
    if record[5].to_bits() != 0 {
        return (r, false);
    }
    let (t, h, end) = (r[0], r[1], f64::from(c.t_end));
    let mut sum = 0.0;
    for e in i * cols..(i + 1) * cols {
        let error: f64 = (0..7).map(|s| h * f64::from(E[s]) * f64::from(k[s * rows * cols + e])).sum();
        let size = f64::from(x[e]).abs().max(f64::from(x_new[e]).abs());
        sum += (error / (f64::from(c.atol) + f64::from(c.rtol) * size)).powi(2);
    }
    let norm = (sum / cols as f64).sqrt();
    let finite = x_new[i * cols..(i + 1) * cols].iter().all(|v| v.is_finite());
    let accept = finite && norm <= 1.0;
    if finite {
        r[6] = norm;
    }
    let shrink = f64::from(c.safety) * norm.powf(-f64::from(c.alpha));
    let (min, max) = (f64::from(c.min_factor), f64::from(c.max_factor));
    let size;
    if accept {
        r[3] = word(record[3].to_bits() + 1);
        r[7] = 0.0;
        let previous = std::mem::replace(&mut r[2], norm.max(1e-4));
        if (end - t).abs() <= h.abs() {
            (r[0], r[1], r[5]) = (end, 0.0, word(1));
            return (r, true);
        }
        let most = if record[7].to_bits() == 0 { max } else { 1.0 };
        size = (h.abs() * (shrink * previous.powf(f64::from(c.beta))).min(most).max(min))
            .max(f64::from(c.h_min));
        r[0] = t + h;
    } else {
        r[4] = word(record[4].to_bits() + 1);
        r[7] = word(1);
        let factor = if finite { shrink.min(f64::from(c.safety)).max(min) } else { min };
        size = h.abs() * factor;
        if size < f64::from(c.h_min) {
            (r[1], r[5]) = (0.0, word(2));
            return (r, false);
        }
    }
    let left = end - r[0];
    r[1] = if 1.01 * size >= left.abs() { left } else { size.copysign(left) };
    (r, accept)
}
