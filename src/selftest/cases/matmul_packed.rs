//! Cases of `matmul_packed`: every tile's left-over rows, panels that are not full, strided and offset operands, every epilogue.

use super::matmul::{BIAS, RESIDUAL, act, epilogues};
use super::{at, id, values};
use crate::kernel::case::Case;
use crate::kernel::matmul::{Call, Epilogue, Form, Mode, packed_command};
use crate::kernel::pack_weights::Layout;
use crate::kernel::{Target, View};

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
    ([19, 33, 1500], 0),
];

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out: Vec<Case> = Vec::new();
    for &(shape, more) in SHAPES {
        let (label, epilogue) = epilogues(shape).swap_remove(6);
        out.push(case(shape, more, &label, epilogue));
    }
    for (label, epilogue) in epilogues([33, 65, 31]) {
        out.push(case([33, 65, 31], 1, &label, epilogue));
    }
    out
}

fn case([m, n, k]: [usize; 3], more: usize, label: &str, epilogue: Epilogue) -> Case {
    let (a_view, c_view) = (View::strided(3, k + more), View::strided(2, n + more));
    let plain = values(k * n, 2);
    let [panel, _, depth] = Layout::Panels.shape([n, k]);
    let mut packed = vec![0.0f32; 4 + Layout::Panels.len([n, k])];
    for d in 0..k {
        for j in 0..n {
            packed[4 + (j / panel * depth + d) * panel + j % panel] = plain[d * n + j];
        }
    }
    let buffers = vec![
        values(3 + m * (k + more) + 1, 1),
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
        label: format!("matmul_packed {m}x{n}x{k} +{more} {label}"),
        command: packed_command(&call, (id(1), 4), id(5)),
        buffers,
        expect: vec![(4, want)],
        exact: false,
        tolerance: 1e-5,
    }
}
