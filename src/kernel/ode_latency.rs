//! `ode_latency`: every step of a solver for one sample or a few in one workgroup that works on one product at a time (see
//! [`row_program`](super::row_program)).

use super::call::fold;
use super::row_program::{ACCESS, Params, RowProgram, cost, twin};
use super::variant::{Variant, ode_latency};
use super::{BufferId, Command, Kernel, Target};
use std::ops::Range;

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "ode_latency",
    access: ACCESS,
    params_bytes: size_of::<Params>(),
    variants: VARIANTS,
    twin,
    cost,
};

/// Variants, the fastest for its purpose first: weights on chip, many invocations, few, four samples; then the weights'
/// precision.
static VARIANTS: &[&Variant] = &[
    &ode_latency::RESIDENT_FULL,
    &ode_latency::WIDE_FULL,
    &ode_latency::ONE_FULL,
    &ode_latency::FOUR_FULL,
    &ode_latency::RESIDENT_HALF,
    &ode_latency::WIDE_HALF,
    &ode_latency::ONE_HALF,
    &ode_latency::FOUR_HALF,
];

/// Samples for which it is meant.
pub const MOST_ROWS: usize = 4;

const _: () = {
    let mut i = 0;
    while i < VARIANTS.len() {
        let v = VARIANTS[i];
        let [r, lanes] = [v.constant("R"), v.constant("LANES")];
        assert!(v.params_bytes as usize == size_of::<Params>());
        assert!(v.workgroup[0] == lanes && lanes.is_multiple_of(64) && r * 64 <= lanes);
        assert!(v.shared_bytes == 4 * r * v.constant("COLUMNS") + 16 * r * lanes + v.constant("LOCAL"));
        assert!(r as usize <= MOST_ROWS);
        i += 1;
    }
};

/// Every variant that can run a program on a target, best guess for so many rows first.
pub fn choices(program: &RowProgram, rows: usize, target: &Target) -> Vec<&'static Variant> {
    let mut out: Vec<&'static Variant> = VARIANTS
        .iter()
        .copied()
        .filter(|v| {
            let local = v.constant("LOCAL") as usize;
            let bytes = if program.half { 8 } else { 16 } * program.packed;
            (v.constant("HALF") == 1) == program.half
                && program.columns() <= v.constant("COLUMNS") as usize
                && (local == 0 || bytes <= local)
                && (!target.gpu
                    || (v.workgroup[0] <= target.invocations && v.shared_bytes <= target.workgroup_bytes))
        })
        .collect();
    // Several samples share what one workgroup reads.
    out.sort_by_key(|v| (v.constant("R") == 1) == (rows > 1));
    out
}

/// The rows `rows` of `program` by a variant of [`choices`]; arguments as for [`ode_rows`](super::ode_rows::command). No
/// result of the program may lie where its operand lies.
pub fn command(
    variant: &'static Variant,
    program: &RowProgram,
    rows: Range<usize>,
    buffers: [BufferId; 4],
    start: (BufferId, usize),
    out: (BufferId, usize),
) -> Command {
    let [table, weights, biases, outside] = buffers;
    let params = program.params(rows.clone(), [start.1, out.1]);
    let grid = fold(rows.len(), variant.constant("R"));
    Command::new(&KERNEL, variant, &params, &[table, weights, biases, outside, start.0, out.0], grid)
}
