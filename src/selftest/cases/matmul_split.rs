//! Cases of `matmul_split` and `matmul_join`: every form and tile, last slices that are not full, strided and offset operands, every
//! epilogue.

use super::matmul::{BIAS, RESIDUAL, act, bare, epilogues};
use super::{at, id, values};
use crate::kernel::case::Case;
use crate::kernel::matmul::{Choice, Epilogue, Form, Mode, SPLIT, choices, command_with, halves, slices};
use crate::kernel::{Command, Target, View};

/// m, n, k; then what the leading dimensions exceed the extents by, and the offset of every operand.
const SHAPES: &[([usize; 3], usize, usize)] = &[
    // Few rows.
    ([1, 31, 500], 0, 0),
    ([7, 65, 997], 1, 3),
    ([16, 132, 516], 4, 8),
    // Thin outputs.
    ([33, 7, 520], 2, 1),
    ([20, 68, 1036], 0, 4),
    // Square ones.
    ([33, 35, 1031], 0, 5),
    ([36, 40, 1036], 4, 0),
];

/// The cases of `matmul_split`: on a GPU each with every variant that could be chosen.
pub fn cases(target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for form in [Form::NN, Form::NT, Form::TN] {
        for &(shape @ [m, n, k], more, offset) in SHAPES {
            let (a, b) = form.operands(shape);
            let view = |cols: usize| View::strided(offset, cols + more);
            let (a_view, b_view) = (view(a[1]), view(b[1]));
            let size = |[rows, cols]: [usize; 2]| offset + (rows - 1) * (cols + more) + cols;
            let mut buffers = vec![values(size(a), 1), values(size(b), 2)];
            buffers.extend([vec![f32::NAN; n], vec![f32::NAN; 4], vec![0.0; 4]]);
            let [depth, count] = slices(shape);
            let mut want = vec![f64::NAN; count * m * n + 3];
            for s in 0..count {
                let depths = s * depth..k.min((s + 1) * depth);
                for e in 0..m * n {
                    let operands = [(&*buffers[0], &a_view), (&*buffers[1], &b_view)];
                    want[s * m * n + e] = bare(form, [e / n, e % n], depths.clone(), operands);
                }
            }
            buffers.push(vec![0.0; want.len()]);
            let c_view = View::dense(0, n);
            let mut ways = choices(form, shape, [&a_view, &b_view, &c_view], &Target::MINIMAL_GPU);
            ways.retain(|way| way.variant.kernel == SPLIT.name);
            // The twin does not depend on the variant.
            ways.truncate(if target.gpu { ways.len() } else { 1 });
            out.extend(ways.into_iter().map(|way| Case {
                label: format!("{} {m}x{n}x{k} +{more} @{offset}", way.variant.name),
                command: pair(way, form, shape, [a_view, b_view, c_view], &Epilogue::default())[0].clone(),
                buffers: buffers.clone(),
                expect: vec![(5, want.clone())],
                exact: false,
                tolerance: 1e-5,
            }));
        }
    }
    out
}

/// The commands of a split product: operands, bias, residual and result in buffers 0 to 4, parts in 5.
fn pair(
    way: Choice,
    form: Form,
    shape: [usize; 3],
    [a, b, c]: [View; 3],
    epilogue: &Epilogue,
) -> [Command; 2] {
    let planned = command_with(way, form, shape, (id(0), a), (id(1), b), (id(4), c), epilogue, id(6));
    // The ways are those that split.
    halves(&planned, id(5)).unwrap_or_else(|| unreachable!("{} does not split", way.variant.name))
}

/// The cases of `matmul_join`.
pub fn join_cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for shape in [[1, 1, 3000], [7, 31, 1000], [33, 65, 3000], [65, 7, 1300], [31, 33, 520]] {
        out.extend(epilogues(shape).into_iter().enumerate().filter_map(|(n, (label, epilogue))| {
            // Every epilogue at one shape, a few at the others.
            (shape == [33, 65, 3000] || n % 7 == 3).then(|| join(shape, &label, epilogue))
        }));
    }
    out
}

fn join(shape: [usize; 3], label: &str, epilogue: Epilogue) -> Case {
    let [m, n, k] = shape;
    let (a_view, b_view, c_view) = (View::dense(0, k), View::dense(0, k), View::strided(2, n + 3));
    let ways = choices(Form::NT, shape, [&a_view, &b_view, &c_view], &Target::MINIMAL_GPU);
    let split = ways.into_iter().find(|way| way.variant.kernel == SPLIT.name);
    let way = split.unwrap_or_else(|| unreachable!("{shape:?} is not split"));
    let count = slices(shape)[1];
    let parts = values(count * m * n, 1);
    let buffers = vec![
        vec![f32::NAN; 4],
        vec![f32::NAN; 4],
        values(n + 5, 3),
        values(m * (n + 3) + 2, 4),
        vec![0.0; c_view.at(m - 1, n - 1) + 2],
        parts,
        vec![f32::NAN; 4],
    ];
    let mut want = vec![f64::NAN; buffers[4].len()];
    for i in 0..m {
        for j in 0..n {
            let part = |s: usize| f64::from(buffers[5][(s * m + i) * n + j]);
            let product: f64 = (0..count).map(part).sum();
            let bias = epilogue.bias.map_or(0.0, |(_, from)| f64::from(buffers[BIAS.0 as usize][from + j]));
            let r = epilogue.residual.map_or(0.0, |(_, v)| at(&buffers[RESIDUAL.0 as usize], &v, i, j));
            let (alpha, beta) = (f64::from(epilogue.alpha), f64::from(epilogue.beta));
            want[c_view.at(i, j)] = match epilogue.mode {
                Mode::Plain => act(epilogue.act, alpha * (product + bias) + beta * r)[0],
                Mode::MulDerivative => act(epilogue.act, r)[1] * alpha * product,
            };
        }
    }
    let [_, join] = pair(way, Form::NT, shape, [a_view, b_view, c_view], &epilogue);
    Case {
        label: format!("{count} parts of {m}x{n} {label}"),
        command: join,
        buffers,
        expect: vec![(4, want)],
        exact: false,
        tolerance: 1e-5,
    }
}
