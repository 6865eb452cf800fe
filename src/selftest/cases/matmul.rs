//! Cases of the matrix products: every form and variant, odd shapes, strided and offset operands, every epilogue.

use super::{at, values};
use crate::kernel::case::Case;
use crate::kernel::math::Activation;
use crate::kernel::matmul::{Choice, Epilogue, Form, Mode, SPLIT, choices, command, command_with};
use crate::kernel::{BufferId, Command, Target, View};

const A: BufferId = BufferId(0);
const B: BufferId = BufferId(1);
pub(super) const BIAS: BufferId = BufferId(2);
pub(super) const RESIDUAL: BufferId = BufferId(3);
const C: BufferId = BufferId(4);
const EMPTY: BufferId = BufferId(5);

/// m, n, k; then what the leading dimensions exceed the extents by, and the offset of every operand.
type Shape = ([usize; 3], usize, usize);

const SHAPES: &[Shape] = &[
    ([1, 1, 1], 0, 0),
    ([1, 7, 31], 0, 0),
    ([7, 1, 33], 1, 3),
    ([31, 33, 7], 2, 1),
    ([33, 31, 65], 0, 5),
    ([65, 65, 65], 0, 0),
    ([65, 33, 130], 3, 2),
    ([2, 65, 33], 0, 0),
    ([4, 256, 36], 4, 8),
    ([1, 256, 256], 0, 0),
    ([3, 20, 64], 0, 4),
    ([8, 140, 40], 0, 0),
    ([64, 64, 16], 0, 0),
    ([68, 132, 36], 4, 12),
    ([32, 36, 4], 8, 0),
    ([140, 24, 20], 0, 0),
    ([5, 6, 0], 0, 0),
];

/// The cases; on a GPU each of them with every variant that could be chosen.
pub fn cases(target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for form in [Form::NN, Form::NT, Form::TN] {
        for &shape in SHAPES {
            let epilogue = Epilogue { bias: Some((BIAS, 3)), act: Activation::Silu, ..Epilogue::default() };
            out.extend(each_variant(form, shape, epilogue, "bias, silu", target));
        }
        for shape in [([33, 65, 31], 1, 3), ([1, 33, 36], 0, 0), ([36, 68, 20], 4, 4)] {
            for (name, epilogue) in epilogues(shape.0) {
                out.extend(each_variant(form, shape, epilogue, &name, target));
            }
        }
    }
    // Large enough for the CPU to split over threads, in blocks.
    for (form, shape) in [
        (Form::NN, [300, 200, 96]),
        (Form::NT, [300, 200, 96]),
        (Form::TN, [300, 200, 96]),
        (Form::NT, [1, 1100, 520]),
        (Form::NN, [6, 900, 320]),
        (Form::TN, [700, 520, 16]),
    ] {
        let (label, epilogue) = epilogues(shape).swap_remove(7);
        out.extend(each_variant(form, (shape, 0, 0), epilogue, &label, target));
    }
    if !target.gpu {
        // Several blocks of rows for each of two threads.
        for form in [Form::NN, Form::NT, Form::TN] {
            let (label, epilogue) = epilogues([3300, 130, 24]).swap_remove(7);
            out.extend(each_variant(form, ([3300, 130, 24], 2, 1), epilogue, &label, target));
        }
    }
    out
}

/// Bias, residual (four views), activation and mode in all combinations that differ.
pub(super) fn epilogues([m, n, _]: [usize; 3]) -> Vec<(String, Epilogue)> {
    let views = [
        ("no residual", None),
        ("residual", Some(View::strided(2, n + 3))),
        ("row residual", Some(View { row_stride: 0, ..View::dense(1, n) })),
        ("column residual", Some(View { row_stride: 1, col_stride: 0, ..View::dense(0, 1) })),
        ("repeated residual", Some(View { row_div: 3, row_mod: m.div_ceil(6) as u32, ..View::dense(0, n) })),
    ];
    let mut out = Vec::new();
    for act in [Activation::Identity, Activation::Silu] {
        for bias in [None, Some((BIAS, 5))] {
            for (name, view) in views {
                let label = format!("{act:?}, {}{name}", if bias.is_some() { "bias, " } else { "" });
                let residual = view.map(|v| (RESIDUAL, v));
                out.push((
                    label,
                    Epilogue { act, mode: Mode::Plain, alpha: -0.5, beta: 1.75, bias, residual },
                ));
            }
        }
        for (name, view) in &views[1..] {
            let residual = view.map(|v| (RESIDUAL, v));
            out.push((
                format!("derivative of {act:?}, {name}"),
                Epilogue { act, mode: Mode::MulDerivative, alpha: 1.5, beta: 0.0, bias: None, residual },
            ));
        }
    }
    out
}

fn each_variant(form: Form, shape: Shape, epilogue: Epilogue, name: &str, target: &Target) -> Vec<Case> {
    let ([m, n, k], more, offset) = shape;
    let ([a_rows, a_cols], [b_rows, b_cols]) = form.operands([m, n, k]);
    let size = |rows: usize, cols: usize| offset + (rows.max(1) - 1) * (cols + more) + cols;
    let view = |cols: usize| View::strided(offset, cols + more);
    let (a, b, c) = ((A, view(a_cols)), (B, view(b_cols)), (C, view(n)));
    let mut buffers = vec![
        values(size(a_rows, a_cols).max(1), 1),
        values(size(b_rows, b_cols).max(1), 2),
        values(n + 5, 3),
        values(m * (n + 3) + 2, 4),
        vec![0.0; size(m, n)],
        vec![f32::NAN; 4],
    ];
    // Workers may read a vector of four up to the end of what they were given, never beyond.
    buffers[0].iter_mut().for_each(|v| *v *= 0.7);
    let expect = oracle(form, [m, n, k], [&a.1, &b.1, &c.1], &epilogue, &buffers);
    let one = |command: Command| Case {
        label: format!("{} {m}x{n}x{k} +{more} @{offset} {name}", command.variant.name),
        command,
        buffers: buffers.clone(),
        expect: vec![(C.0 as usize, expect.clone())],
        exact: false,
        tolerance: 1e-5,
    };
    if !target.gpu {
        return vec![one(command(form, [m, n, k], a, b, c, &epilogue, EMPTY, target))];
    }
    // The variant for software adapters is valid everywhere.
    let any = Target { software: true, ..target.clone() };
    choices(form, [m, n, k], [&a.1, &b.1, &c.1], &any)
        .into_iter()
        .filter(|choice| choice.variant.kernel != SPLIT.name)
        .map(|choice: Choice| one(command_with(choice, form, [m, n, k], a, b, c, &epilogue, EMPTY)))
        .collect()
}

fn oracle(
    form: Form,
    [m, n, k]: [usize; 3],
    [a, b, c]: [&View; 3],
    epilogue: &Epilogue,
    buffers: &[Vec<f32>],
) -> Vec<f64> {
    let mut want = vec![f64::NAN; buffers[C.0 as usize].len()];
    for i in 0..m {
        for j in 0..n {
            let product = bare(form, [i, j], 0..k, [(&buffers[0], a), (&buffers[1], b)]);
            let bias = epilogue.bias.map_or(0.0, |(id, at)| f64::from(buffers[id.0 as usize][at + j]));
            let r = epilogue.residual.map_or(0.0, |(id, v)| at(&buffers[id.0 as usize], &v, i, j));
            let (alpha, beta) = (f64::from(epilogue.alpha), f64::from(epilogue.beta));
            want[c.at(i, j)] = match epilogue.mode {
                Mode::Plain => act(epilogue.act, alpha * (product + bias) + beta * r)[0],
                Mode::MulDerivative => act(epilogue.act, r)[1] * alpha * product,
            };
        }
    }
    want
}

/// The sum over some depths of the products at (i, j).
pub(super) fn bare(
    form: Form,
    [i, j]: [usize; 2],
    depths: std::ops::Range<usize>,
    [(a, a_view), (b, b_view)]: [(&[f32], &View); 2],
) -> f64 {
    let term = |d| match form {
        Form::NN => at(a, a_view, i, d) * at(b, b_view, d, j),
        Form::NT => at(a, a_view, i, d) * at(b, b_view, j, d),
        Form::TN => at(a, a_view, d, i) * at(b, b_view, d, j),
    };
    depths.map(term).sum()
}

/// The activation and its derivative in f64, for those that the cases use.
pub(super) fn act(act: Activation, x: f64) -> [f64; 2] {
    let s = 1.0 / (1.0 + (-x).exp());
    match act {
        Activation::Silu => [x * s, s * (1.0 + x * (1.0 - s))],
        _ => [x, 1.0],
    }
}
