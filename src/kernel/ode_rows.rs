//! `ode_rows`: every step of a solver for a few samples in one workgroup, activations on chip (see
//! [`row_program`](super::row_program)).

use super::call::fold;
use super::row_program::{ACCESS, Params, RowProgram, cost, twin};
use super::variant::{Variant, ode_rows};
use super::{BufferId, Command, Kernel, Target};
use std::ops::Range;

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "ode_rows",
    access: ACCESS,
    params_bytes: size_of::<Params>(),
    variants: VARIANTS,
    twin,
    cost,
};

/// Variants: samples of a workgroup, the most first; then on-chip columns; then the weights' precision.
static VARIANTS: &[&Variant] = &[
    &ode_rows::SLIM32_FULL,
    &ode_rows::ROWS32_FULL,
    &ode_rows::ROWS16_FULL,
    &ode_rows::TALL16_FULL,
    &ode_rows::ROWS8_FULL,
    &ode_rows::TALL8_FULL,
    &ode_rows::SLIM32_HALF,
    &ode_rows::ROWS32_HALF,
    &ode_rows::ROWS16_HALF,
    &ode_rows::TALL16_HALF,
    &ode_rows::ROWS8_HALF,
    &ode_rows::TALL8_HALF,
];

const _: () = {
    let mut i = 0;
    while i < VARIANTS.len() {
        let v = VARIANTS[i];
        assert!(v.params_bytes as usize == size_of::<Params>());
        assert!(v.workgroup[0] == v.constant("LANES"));
        assert!(v.shared_bytes == 4 * v.constant("R") * v.constant("COLUMNS"));
        // Quads are turned by a mask; an invocation owns eight rows.
        assert!(v.constant("R").is_power_of_two() && v.constant("R") >= 8);
        i += 1;
    }
};

/// Workgroups that keep a GPU busy: some tens of processors, a few each.
const BUSY: usize = 256;

/// Every variant that can run a program on a target, best guess for this many rows first: as many samples in a
/// workgroup as still leave enough workgroups, since they share the reading of the weights.
pub fn choices(program: &RowProgram, rows: usize, target: &Target) -> Vec<&'static Variant> {
    let mut out: Vec<&'static Variant> = VARIANTS
        .iter()
        .copied()
        .filter(|v| {
            let widest = (32 * v.constant("LANES") / v.constant("R")) as usize;
            (v.constant("HALF") == 1) == program.half
                && program.columns() <= v.constant("COLUMNS") as usize
                && program.widest() <= widest
                && (!target.gpu
                    || (v.workgroup[0] <= target.invocations && v.shared_bytes <= target.workgroup_bytes))
        })
        .collect();
    let least = |v: &Variant| v.constant("R") == 8;
    out.sort_by_key(|v| !(least(v) || rows.div_ceil(v.constant("R") as usize) >= BUSY));
    out
}

/// The rows `rows` of `program` by a variant of [`choices`]. `buffers`: its [`RowProgram::words`], then
/// what they point into: packed weights, outside biases, outside residuals (any buffer where there are none); `start`,
/// `out`: \[rows, dim\] dense from an element offset.
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
