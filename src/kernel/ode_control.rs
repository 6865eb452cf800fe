//! `ode_control`: per-sample adaptive step control of an embedded Runge-Kutta pair (Hairer's PI controller).
//!
//! Each sample has its own time and step size in a control record of [`RECORD`] words: 0 t, 1 h (0 once done), 2 error norm
//! of the last accepted step, 3 accepted steps (u32), 4 rejected steps (u32), 5 a [`Flag`] (u32), 6 error norm of the last
//! attempt, 7 whether the last attempt was rejected (u32). `active` counts the samples that still move, down from `rows`:
//! no step has to zero it. A host reads it; an indirect dispatch stops because the last sample to finish also zeroes
//! the grids behind the counts.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::ode_combine::MAX_STAGES;
use super::parallel::{for_each, rows_per_task};
use super::{Arg, BufferId, Command, Kernel, TwinCx, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};
use std::sync::atomic::{AtomicU32, Ordering};

/// Words per control record.
pub const RECORD: usize = 8;
/// Words before the grids in the `active` buffer: samples that still move, samples that failed.
pub const COUNTS: usize = 2;

/// Where a sample stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Flag {
    /// It still moves.
    Active = 0,
    /// It reached the end time.
    Done = 1,
    /// Its step size fell below the smallest; x is the last accepted state.
    Failed = 2,
}

/// How steps are accepted and sized.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ControlParams {
    /// Relative tolerance.
    pub rtol: f32,
    /// Absolute tolerance, in units of x.
    pub atol: f32,
    /// Time at which a sample is done; may lie before the start.
    pub t_end: f32,
    /// Factor on the step size that the error estimate suggests, in (0, 1).
    pub safety: f32,
    /// Least factor between two step sizes; also the factor after a non-finite error.
    pub min_factor: f32,
    /// Largest factor between two step sizes.
    pub max_factor: f32,
    /// Exponent of the error norm.
    pub alpha: f32,
    /// Exponent of the previous error norm (0: no PI control).
    pub beta: f32,
    /// Least step size; a sample that needs less has failed.
    pub h_min: f32,
    /// Indirect grids (x, y, z) behind the counts of the `active` buffer.
    pub grids: u32,
}

impl ControlParams {
    /// Hairer's constants for a pair whose higher order is `order` (5 for Dormand-Prince and Tsitouras, 3 for
    /// Bogacki-Shampine).
    pub fn new(order: u32, rtol: f32, atol: f32, t_end: f32) -> ControlParams {
        let beta = 0.04;
        ControlParams {
            rtol,
            atol,
            t_end,
            safety: 0.9,
            min_factor: 0.2,
            max_factor: 10.0,
            alpha: 1.0 / order.max(1) as f32 - 0.75 * beta,
            beta,
            h_min: 1e-6,
            grids: 0,
        }
    }
}

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    rows: u32,
    cols: u32,
    stages: u32,
    fsal: u32,
    rtol: f32,
    atol: f32,
    t_end: f32,
    safety: f32,
    min_factor: f32,
    max_factor: f32,
    alpha: f32,
    beta: f32,
    h_min: f32,
    grids: u32,
    pad: [u32; 2],
    coefficients: [f32; 8],
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "ode_control",
    access: &[Access::ReadWrite, Access::Read, Access::ReadWrite, Access::ReadWrite, Access::ReadWrite],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::ode_control::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::ode_control::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::ode_control::ONLY.workgroup[0] == 64);

/// The control records of `rows` samples that start at t0 with a first step of size |h0| towards `t_end`.
pub fn records(rows: usize, t0: f32, t_end: f32, h0: f32) -> Vec<f32> {
    record(t0, t_end, h0).repeat(rows)
}

/// The control record of one such sample.
pub fn record(t0: f32, t_end: f32, h0: f32) -> [f32; RECORD] {
    let left = t_end - t0;
    let h = h0.abs().min(left.abs()).copysign(left);
    [t0, h, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
}

/// The `active` buffer before the first step: counts, then the indirect grids.
pub fn counts(rows: usize, grids: &[[u32; 3]]) -> Vec<u32> {
    [&[rows as u32, 0], grids.as_flattened()].concat()
}

/// Judges the step from x to x_new \[rows, cols\] by its error estimate h sum_s error_coefficients\[s\] K_s, with K
/// \[stages, rows cols\]; all dense at offset 0. An accepted step moves x and t and, with `fsal`, copies the last stage to
/// stage 0. `ctl` and `active` as the module says ([`records`], [`counts`]). At most [`MAX_STAGES`] coefficients count; a
/// stage whose coefficient is zero is not read.
#[allow(clippy::too_many_arguments)]
pub fn command(
    control: &ControlParams,
    [rows, cols]: [usize; 2],
    stages: usize,
    error_coefficients: &[f32],
    fsal: bool,
    x: BufferId,
    x_new: BufferId,
    k: BufferId,
    ctl: BufferId,
    active: BufferId,
) -> Command {
    debug_assert!(error_coefficients.len() <= stages && stages <= MAX_STAGES);
    let mut coefficients = [0.0; 8];
    for (to, from) in coefficients[..MAX_STAGES.min(stages)].iter_mut().zip(error_coefficients) {
        *to = *from;
    }
    let params = Params {
        rows: rows as u32,
        cols: cols as u32,
        stages: stages as u32,
        fsal: u32::from(fsal && stages > 1),
        rtol: control.rtol,
        atol: control.atol,
        t_end: control.t_end,
        safety: control.safety,
        min_factor: control.min_factor,
        max_factor: control.max_factor,
        alpha: control.alpha,
        beta: control.beta,
        h_min: control.h_min,
        grids: control.grids,
        pad: [0; 2],
        coefficients,
    };
    let args = [x, x_new, k, ctl, active];
    Command::new(&KERNEL, &variant::ode_control::ONLY, &params, &args, fold(rows, 1))
}

/// Columns whose error is held at a time.
const ERROR_BLOCK: usize = 256;

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let n = (p.rows * p.cols) as usize;
    let (all, records) = (Span::dense(0, n), Span::dense(0, p.rows as usize * RECORD));
    let used = |s: &usize| p.coefficients[*s] != 0.0;
    let stages: Vec<usize> = (0..(p.stages as usize).min(MAX_STAGES)).filter(used).collect();
    // Of samples that all still move and whose steps are all accepted.
    let cost = Cost::new((2 * stages.len() + 6) * n).reads(0, all).reads(1, all).reads(3, records);
    let stage = |cost: Cost, s: usize| cost.reads(2, Span::dense((s * n) as u32, n));
    let cost = stages.iter().fold(cost, |cost, s| stage(cost, *s)).writes(0, all).writes(3, records);
    match p.fsal != 0 {
        true if stages.contains(&(p.stages as usize - 1)) => cost.writes(2, all),
        true => stage(cost, p.stages as usize - 1).writes(2, all),
        false => cost,
    }
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, x_new, k, ctl, active] = args else { unreachable!("ode_control has five bindings") };
    let (rows, cols, stages) = (p.rows as usize, p.cols as usize, p.stages as usize);
    let n = rows * cols;
    if n == 0 || stages == 0 {
        return;
    }
    let x_new = x_new.read();
    let (first, rest) = k.write().split_at_mut(n);
    let rest = &*rest;
    let (finished, failed) = (AtomicU32::new(0), AtomicU32::new(0));
    let per = rows_per_task(cx, rows, n * (8 + 2 * stages));
    let tasks = x.write()[..n]
        .chunks_mut(per * cols)
        .zip(first.chunks_mut(per * cols))
        .zip(ctl.write()[..rows * RECORD].chunks_mut(per * RECORD));
    for_each(cx, tasks, |task, ((x, first), ctl): ((&mut [f32], &mut [f32]), &mut [f32])| {
        let samples = x.chunks_mut(cols).zip(first.chunks_mut(cols)).zip(ctl.as_chunks_mut::<RECORD>().0);
        for (r, ((x, first), record)) in samples.enumerate() {
            if record[5].to_bits() != Flag::Active as u32 {
                continue;
            }
            let at = (task * per + r) * cols;
            let x_new = &x_new[at..at + cols];
            let stage = |s: usize| &rest[(s - 1) * n + at..][..cols];
            let mut sum = 0.0;
            let mut error = [0.0; ERROR_BLOCK];
            for from in (0..cols).step_by(ERROR_BLOCK) {
                let span = from..cols.min(from + ERROR_BLOCK);
                let error = &mut error[..span.len()];
                error.fill(0.0);
                for (s, c) in p.coefficients[..stages.min(MAX_STAGES)].iter().enumerate() {
                    if *c != 0.0 {
                        let k = if s == 0 { &*first } else { stage(s) };
                        add(record[1] * c, &k[span.clone()], error);
                    }
                }
                sum = scaled(sum, error, &x[span.clone()], &x_new[span], p.rtol, p.atol);
            }
            let norm = (sum / cols as f32).sqrt();
            let finite = norm.is_finite() && x_new.iter().all(|v| v.is_finite());
            if judge(p, record, norm, finite) {
                x.copy_from_slice(x_new);
                if p.fsal != 0 {
                    first.copy_from_slice(stage(stages - 1));
                }
            }
            let flag = record[5].to_bits();
            if flag != Flag::Active as u32 {
                finished.fetch_add(1, Ordering::Relaxed);
                failed.fetch_add(u32::from(flag == Flag::Failed as u32), Ordering::Relaxed);
            }
        }
    });
    let active = active.write_u32();
    let finished = finished.into_inner();
    active[1] += failed.into_inner();
    active[0] = active[0].saturating_sub(finished);
    if finished > 0 && active[0] == 0 {
        active[COUNTS..COUNTS + 3 * p.grids as usize].fill(0);
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2+fma"))]
fn add(factor: f32, k: &[f32], y: &mut [f32]) {
    for (y, k) in y.iter_mut().zip(k) {
        *y += factor * k;
    }
}

/// `sum` and the squares of the error over the tolerance.
fn scaled(mut sum: f32, error: &[f32], x: &[f32], x_new: &[f32], rtol: f32, atol: f32) -> f32 {
    for ((e, x), x_new) in error.iter().zip(x).zip(x_new) {
        let q = e / (atol + rtol * x.abs().max(x_new.abs()));
        sum += q * q;
    }
    sum
}

/// Accepts or rejects an attempt and sizes the next one; whether x moves.
fn judge(p: &Params, record: &mut [f32; RECORD], norm: f32, finite: bool) -> bool {
    let (t, h) = (record[0], record[1]);
    let error = norm.max(1e-10);
    let accept = finite && norm <= 1.0;
    let bump = |word: &mut f32| *word = f32::from_bits(word.to_bits() + 1);
    if finite {
        record[6] = norm;
    }
    let (now, size);
    if accept {
        bump(&mut record[3]);
        if (p.t_end - t).abs() <= h.abs() {
            record[0] = p.t_end;
            record[1] = 0.0;
            record[2] = norm.max(1e-4);
            record[5] = f32::from_bits(Flag::Done as u32);
            record[7] = 0.0;
            return true;
        }
        // Right after a rejection the step does not grow.
        let most = if record[7].to_bits() == 0 { p.max_factor } else { 1.0 };
        let factor = p.safety * error.powf(-p.alpha) * record[2].powf(p.beta);
        size = (h.abs() * factor.min(most).max(p.min_factor)).max(p.h_min);
        now = t + h;
        record[2] = norm.max(1e-4);
        record[7] = 0.0;
    } else {
        bump(&mut record[4]);
        let factor = if finite { p.safety * error.powf(-p.alpha) } else { p.min_factor };
        size = h.abs() * factor.min(p.safety).max(p.min_factor);
        now = t;
        record[7] = f32::from_bits(1);
        if size < p.h_min {
            record[1] = 0.0;
            record[5] = f32::from_bits(Flag::Failed as u32);
            return false;
        }
    }
    let left = p.t_end - now;
    record[0] = now;
    // A step that would almost arrive is stretched to arrive.
    record[1] = if 1.01 * size >= left.abs() { left } else { size.copysign(left) };
    accept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::case::Case;
    use crate::kernel::ode_combine::{self, StepSize};
    use crate::selftest::golden::Golden;

    /// Dormand and Prince's 5(4) pair.
    const STAGES: [&[f32]; 6] = [
        &[1.0 / 5.0],
        &[3.0 / 40.0, 9.0 / 40.0],
        &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
        &[19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0],
        &[9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
        &[35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0],
    ];
    const ERROR: [f32; 7] =
        [71.0 / 57600.0, 0.0, -71.0 / 16695.0, 71.0 / 1920.0, -17253.0 / 339200.0, 22.0 / 525.0, -1.0 / 40.0];

    fn run(command: Command, buffers: &mut Vec<Vec<f32>>) {
        let case = Case {
            label: String::new(),
            command,
            buffers: std::mem::take(buffers),
            expect: Vec::new(),
            exact: false,
            tolerance: 0.0,
        };
        *buffers = case.run_twin(1);
        for (buffer, before) in buffers.iter_mut().zip(&case.buffers) {
            buffer.truncate(before.len());
        }
    }

    /// Integrates `field(row, x, k)` from t0 to t1; the states, the control records and the counts.
    fn integrate(
        x0: &[f32],
        [rows, cols]: [usize; 2],
        [t0, t1]: [f32; 2],
        field: impl Fn(usize, &[f32], &mut [f32]),
    ) -> (Vec<f32>, Vec<f32>, Vec<u32>) {
        let n = rows * cols;
        let control = ControlParams { grids: 1, ..ControlParams::new(5, 1e-5, 1e-6, t1) };
        let active: Vec<f32> = counts(rows, &[[3, 1, 1]]).iter().map(|v| f32::from_bits(*v)).collect();
        // x, proposed x, K, control, active, unused.
        let mut b = vec![
            x0.to_vec(),
            vec![0.0; n],
            vec![f32::NAN; 7 * n],
            records(rows, t0, t1, 0.05),
            active,
            vec![0.0],
        ];
        let id = [0, 1, 2, 3, 4, 5].map(BufferId);
        let eval = |x: &[f32], k: &mut [f32]| {
            for (i, (x, k)) in x.chunks(cols).zip(k.chunks_mut(cols)).enumerate() {
                field(i, x, k);
            }
        };
        eval(x0, &mut b[2][..n]);
        for _ in 0..1000 {
            for (s, row) in STAGES.iter().enumerate() {
                let h = StepSize::PerRow(id[3], 1, RECORD);
                let y = (id[1], 0);
                run(ode_combine::command([rows, cols], row, h, (id[0], 0), (id[2], 0), y, id[5]), &mut b);
                let proposed = b[1].clone();
                eval(&proposed, &mut b[2][(s + 1) * n..(s + 2) * n]);
            }
            run(command(&control, [rows, cols], 7, &ERROR, true, id[0], id[1], id[2], id[3], id[4]), &mut b);
            if b[4][0].to_bits() == 0 {
                break;
            }
        }
        let active = b[4].iter().map(|v| v.to_bits()).collect();
        (b.remove(0), b.remove(2), active)
    }

    #[test]
    fn dormand_prince_follows_the_golden_case_forwards_and_back() {
        let golden = Golden::read("solver_adaptive_analytic");
        let (rate, x0, shape) = (golden.f32("in.rate"), golden.f32("in.x0"), golden.shape("in.x0"));
        let shape = [shape[0], shape[1]];
        let field = |i: usize, x: &[f32], k: &mut [f32]| {
            k.iter_mut().zip(x).for_each(|(k, x)| *k = -rate[i] * (x - 1.0));
        };
        let (x, ctl, active) = integrate(&x0, shape, [0.0, 1.0], field);
        golden.check("out.y", &x);
        assert_eq!(active, [0, 0, 0, 0, 0]);
        for record in ctl.chunks(RECORD) {
            assert_eq!((record[0], record[1], record[5].to_bits()), (1.0, 0.0, Flag::Done as u32));
        }
        let steps = |r: &[f32]| r[3].to_bits();
        assert!(ctl.chunks(RECORD).map(steps).min() < ctl.chunks(RECORD).map(steps).max());
        // From 1 to 0 along the negated field: the same end.
        let reversed = |i: usize, x: &[f32], k: &mut [f32]| {
            k.iter_mut().zip(x).for_each(|(k, x)| *k = rate[i] * (x - 1.0));
        };
        let (back, _, _) = integrate(&x0, shape, [1.0, 0.0], reversed);
        golden.check("out.y", &back);
    }

    #[test]
    fn a_field_that_blows_up_fails_alone() {
        let field = |i: usize, x: &[f32], k: &mut [f32]| {
            k.iter_mut().zip(x).for_each(|(k, x)| *k = if i == 1 { f32::NAN } else { -*x });
        };
        let (x, ctl, active) = integrate(&[1.0, 2.0, 3.0], [3, 1], [0.0, 1.0], field);
        assert_eq!(active, [0, 1, 0, 0, 0]);
        assert_eq!((x[1], ctl[RECORD + 5].to_bits()), (2.0, Flag::Failed as u32));
        assert!((x[2] - 3.0 * (-1.0f32).exp()).abs() < 1e-4);
    }
}
