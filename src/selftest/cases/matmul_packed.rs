//! Cases of `matmul_packed`, `matmul_half` and `matmul_coop`: every tile's left-over rows, panels that are not full, strided and offset operands, every epilogue.

use super::matmul::{BIAS, RESIDUAL, act, epilogues};
use super::{at, id, values};
use crate::kernel::case::Case;
use crate::kernel::matmul::{
    Call, Epilogue, Form, MatrixUnit, Mode, coop_command, half_command, packed_command,
};
use crate::kernel::pack_weights::Layout;
use crate::kernel::{Target, View};
use half::f16;

/// m, n, k; then what the leading dimensions of A and C exceed the extents by.
const SHAPES: &[([usize; 3], usize)] = &[
    ([1, 1, 1], 0),
    ([7, 31, 33], 1),
    ([31, 33, 7], 0),
    ([33, 65, 31], 3),
    ([65, 7, 65], 2),
    ([13, 100, 4], 0),
    ([24, 300, 40], 0),
    ([5, 6, 0], 0),
    // Several blocks of rows on the CPU, split over threads; several parts of the depth.
    ([300, 200, 96], 4),
    ([30, 40, 2600], 0),
    // Few rows, split over threads by columns.
    ([16, 700, 130], 0),
    ([19, 33, 1500], 0),
];

/// The same for few rows: single ones and several, whole and partial vectors of the depth, columns that split over threads.
const FEW: &[([usize; 3], usize)] = &[
    ([1, 1, 1], 0),
    ([1, 31, 33], 1),
    ([1, 65, 256], 0),
    ([7, 33, 65], 3),
    ([3, 7, 31], 0),
    ([16, 12, 40], 2),
    ([4, 6, 0], 0),
    ([5, 700, 130], 0),
];

/// The same for matrix units: edges that are no multiples of a tile, one slab of depth and several, a last one that is not full.
const UNITS: &[([usize; 3], usize)] = &[
    ([1, 1, 4], 0),
    ([7, 31, 36], 4),
    ([31, 33, 8], 0),
    ([64, 64, 32], 0),
    ([65, 70, 132], 8),
    ([33, 130, 100], 0),
    ([150, 65, 64], 4),
    ([5, 6, 0], 0),
];

/// How a case's weights are packed, and who multiplies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Panels,
    Halves,
    Units(MatrixUnit),
}

/// The cases of `matmul_packed`.
pub fn cases(_target: &Target) -> Vec<Case> {
    all(SHAPES, [33, 65, 31], By::Panels)
}

/// The cases of `matmul_coop`: none on a GPU without matrix units.
pub fn coop_cases(target: &Target) -> Vec<Case> {
    match target.matrix {
        Some(unit) => all(UNITS, [33, 65, 68], By::Units(unit)),
        // The twin does not depend on the unit.
        None if !target.gpu => all(UNITS, [33, 65, 68], By::Units(MatrixUnit::M16)),
        None => Vec::new(),
    }
}

/// The cases of `matmul_half`.
pub fn half_cases(_target: &Target) -> Vec<Case> {
    all(FEW, [7, 65, 31], By::Halves)
}

fn all(shapes: &[([usize; 3], usize)], every: [usize; 3], by: By) -> Vec<Case> {
    let mut out: Vec<Case> = Vec::new();
    for &(shape, more) in shapes {
        let (label, epilogue) = epilogues(shape).swap_remove(6);
        out.push(case(shape, more, &label, epilogue, by));
    }
    for (label, epilogue) in epilogues(every) {
        out.push(case(every, if matches!(by, By::Units(_)) { 4 } else { 1 }, &label, epilogue, by));
    }
    out
}

fn case([m, n, k]: [usize; 3], more: usize, label: &str, epilogue: Epilogue, by: By) -> Case {
    let units = matches!(by, By::Units(_));
    // Matrix units read A by fours.
    let (a_view, c_view) = (View::strided(if units { 4 } else { 3 }, k + more), View::strided(2, n + more));
    let mut plain = values(k * n, 2);
    let packed = match by {
        By::Halves | By::Units(_) => {
            plain.iter_mut().for_each(|v| *v = f16::from_f32(*v).to_f32());
            halves(&plain, [n, k])
        }
        By::Panels => panels(&plain, [n, k]),
    };
    let mut rows = values(4 + m * (k + more) + 4, 1);
    if units {
        rows.iter_mut().for_each(|v| *v = f16::from_f32(*v).to_f32());
    }
    let buffers = vec![
        rows,
        packed,
        values(n + 5, 3),
        values(m * (n + 3) + 2, 4),
        vec![0.0; c_view.at(m - 1, n - 1) + 2],
        vec![f32::NAN; 4],
    ];
    let call = Call {
        form: Form::NN,
        size: [m, n, k],
        a: (id(0), a_view),
        // Where the plain matrix would lie: not read.
        b: (id(1), View::dense(0, n)),
        c: (id(4), c_view),
        epilogue,
    };
    let mut want = vec![f64::NAN; buffers[4].len()];
    for i in 0..m {
        for j in 0..n {
            let product: f64 =
                (0..k).map(|d| at(&buffers[0], &a_view, i, d) * f64::from(plain[d * n + j])).sum();
            let bias = epilogue.bias.map_or(0.0, |(_, from)| f64::from(buffers[BIAS.0 as usize][from + j]));
            let r = epilogue.residual.map_or(0.0, |(_, v)| at(&buffers[RESIDUAL.0 as usize], &v, i, j));
            let (alpha, beta) = (f64::from(epilogue.alpha), f64::from(epilogue.beta));
            want[c_view.at(i, j)] = match epilogue.mode {
                Mode::Plain => act(epilogue.act, alpha * (product + bias) + beta * r)[0],
                Mode::MulDerivative => act(epilogue.act, r)[1] * alpha * product,
            };
        }
    }
    Case {
        label: format!("packed, {by:?}, {m}x{n}x{k} +{more} {label}"),
        command: match by {
            By::Halves => half_command(&call, (id(1), 8), id(5)),
            By::Units(unit) => coop_command(unit, &call, (id(1), 8), id(5)),
            By::Panels => packed_command(&call, (id(1), 4), id(5)),
        },
        buffers,
        expect: vec![(4, want)],
        exact: false,
        // Units round their sums in ways of their own.
        tolerance: if units { 1e-4 } else { 1e-5 },
    }
}

/// [k, n] in panels, after four words of something else.
fn panels(plain: &[f32], [n, k]: [usize; 2]) -> Vec<f32> {
    let [panel, _, depth] = Layout::Panels.shape([n, k]);
    let mut packed = vec![f32::NAN; 4];
    packed.resize(4 + Layout::Panels.elements([n, k]), 0.0);
    for d in 0..k {
        for j in 0..n {
            packed[4 + (j / panel * depth + d) * panel + j % panel] = plain[d * n + j];
        }
    }
    packed
}

/// [k, n] as columns of halves, after eight of something else.
fn halves(plain: &[f32], [n, k]: [usize; 2]) -> Vec<f32> {
    let [column, ..] = Layout::Columns.shape([n, k]);
    let mut packed = vec![f16::NAN; 8];
    packed.resize(8 + Layout::Columns.elements([n, k]), f16::ZERO);
    for d in 0..k {
        for j in 0..n {
            packed[8 + j * column + d] = f16::from_f32(plain[d * n + j]);
        }
    }
    bytemuck::pod_collect_to_vec(&packed)
}
