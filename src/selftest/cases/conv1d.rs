//! Cases of `conv1d`: the convolutions of `unfold1d`, each with every tile; strided and offset operands, a few epilogues.

use super::matmul::{BIAS, RESIDUAL, act, epilogues};
use super::unfold1d::SHAPES;
use super::{at, id, values};
use crate::kernel::case::Case;
use crate::kernel::matmul::{CONV1D, Epilogue, Form, KERNEL, Mode, choices, command_with, merged};
use crate::kernel::unfold1d::{Windows, command as unfold};
use crate::kernel::{Target, View};

/// More convolutions, as in `unfold1d`: the U-Net's, wide enough for tiles that are full and for loads of four.
const WIDE: [[usize; 6]; 6] = [
    [3, 24, 16, 5, 1, 2],
    [9, 16, 8, 3, 2, 1],
    [5, 68, 16, 3, 1, 1],
    [2, 129, 33, 2, 1, 0],
    [2, 20, 9, 4, 2, 1],
    [7, 20, 16, 5, 1, 2],
];

/// The cases: on a GPU each with every variant that could be chosen.
pub fn cases(target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for (number, shape) in SHAPES.into_iter().chain(WIDE).enumerate() {
        // As many output channels as exercise full and partial tiles of every width.
        let n = [1, 7, 32, 65, 140][number % 5];
        let epilogues = match number {
            // Every epilogue once.
            3 => epilogues([shape[0] * shape[2], n, shape[1] * shape[3]]),
            _ => {
                let plain = Epilogue { bias: Some((BIAS, 3)), ..Epilogue::default() };
                vec![("bias".to_owned(), plain)]
            }
        };
        for (label, epilogue) in epilogues {
            out.extend(each_variant(shape, n, number % 3, &label, &epilogue, target));
        }
    }
    out
}

fn each_variant(
    [samples, channels, steps, kernel, stride, padding]: [usize; 6],
    n: usize,
    more: usize,
    label: &str,
    epilogue: &Epilogue,
    target: &Target,
) -> Vec<Case> {
    let windows = Windows { steps, kernel, stride, padding };
    let (m, k) = (samples * windows.count(), channels * kernel);
    let (x_view, b_view) = (View::strided(more, channels + more), View::strided(4 * more, k + 4 * more));
    let c_view = View::strided(4 * more, n + 4 * more);
    let buffers = vec![
        values(x_view.at(samples * steps - 1, channels - 1) + 1, 1),
        values(b_view.at(n - 1, k - 1) + 1, 2),
        values(n + 5, 3),
        values(m * (n + 3) + 2, 4),
        vec![0.0; c_view.at(m - 1, n - 1) + 1],
        vec![f32::NAN; 4],
    ];
    let mut want = vec![f64::NAN; buffers[4].len()];
    for i in 0..m {
        let (s, u) = (i / windows.count(), i % windows.count());
        for j in 0..n {
            let term = |d: usize| {
                let t = (u * stride + d % kernel) as isize - padding as isize;
                let inside = (0..steps as isize).contains(&t);
                let x =
                    if inside { at(&buffers[0], &x_view, s * steps + t as usize, d / kernel) } else { 0.0 };
                x * at(&buffers[1], &b_view, j, d)
            };
            let product: f64 = (0..k).map(term).sum();
            let bias = epilogue.bias.map_or(0.0, |(_, from)| f64::from(buffers[BIAS.0 as usize][from + j]));
            let r = epilogue.residual.map_or(0.0, |(_, v)| at(&buffers[RESIDUAL.0 as usize], &v, i, j));
            let (alpha, beta) = (f64::from(epilogue.alpha), f64::from(epilogue.beta));
            want[c_view.at(i, j)] = match epilogue.mode {
                Mode::Plain => act(epilogue.act, alpha * (product + bias) + beta * r)[0],
                Mode::MulDerivative => act(epilogue.act, r)[1] * alpha * product,
            };
        }
    }
    // The windows would be in buffer 6, which is not there: the merged command must not touch them.
    let (rows, dense) = ((id(6), View::dense(0, k)), View::dense(0, k));
    let unfold = unfold([samples, channels], &windows, (id(0), x_view), rows);
    let mut ways = choices(Form::NT, [m, n, k], [&dense, &b_view, &c_view], &Target::MINIMAL_GPU);
    ways.retain(|way| way.variant.kernel == KERNEL.name);
    // The twin does not depend on the variant.
    ways.truncate(if target.gpu { ways.len() } else { 1 });
    ways.into_iter()
        .filter_map(|way| {
            let (b, c) = ((id(1), b_view), (id(4), c_view));
            let product = command_with(way, Form::NT, [m, n, k], rows, b, c, epilogue, id(5));
            let command = merged(&unfold, &product)?;
            debug_assert_eq!(command.kernel.name, CONV1D.name);
            Some(Case {
                label: format!(
                    "{} {samples}x{steps}x{channels} k{kernel} s{stride} p{padding} to {n} +{more} {label}",
                    command.variant.name
                ),
                command,
                buffers: buffers.clone(),
                expect: vec![(4, want.clone())],
                exact: false,
                tolerance: 1e-5,
            })
        })
        .collect()
}
