//! Cases of `binary`: every operation, dense, broadcast and repeated operands.

use super::{SIZES, at, values};
use crate::kernel::binary::{BinaryOp, command};
use crate::kernel::case::Case;
use crate::kernel::{BufferId, Target, View};

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for &rows in &SIZES {
        for &cols in &[1usize, 7, 33, 64] {
            let dense = View::dense(3, cols);
            let row = View { row_stride: 0, ..View::dense(1, cols) };
            let column = View { row_stride: 1, col_stride: 0, ..View::dense(0, 1) };
            let repeated = View { row_div: 3, row_mod: 2, ..View::dense(0, cols) };
            for (op, b_view) in [
                (BinaryOp::Add, dense),
                (BinaryOp::Mul, row),
                (BinaryOp::Div, column),
                (BinaryOp::Add, repeated),
                (BinaryOp::Clip, row),
                (BinaryOp::Inside, row),
            ] {
                let (a, mut b) = (values(rows * cols + 3, 1), values(rows * cols + rows + cols + 9, 2));
                match op {
                    // About half of the values lie within.
                    BinaryOp::Clip | BinaryOp::Inside => b.iter_mut().for_each(|v| *v = 0.3 * v.abs()),
                    _ => b.iter_mut().for_each(|v| *v += 3.5f32.copysign(*v)),
                }
                let y_view = View::strided(2, cols + 1);
                let n = 2 + rows * (cols + 1);
                let mut want = vec![f64::NAN; n];
                for i in 0..rows {
                    for j in 0..cols {
                        let (l, r) = (at(&a, &dense, i, j), at(&b, &b_view, i, j));
                        want[y_view.at(i, j)] = match op {
                            BinaryOp::Add => 0.5 * l - 2.0 * r + 0.25,
                            BinaryOp::Mul => 0.5 * l * r,
                            BinaryOp::Div => 0.5 * l / r,
                            BinaryOp::Clip => (0.5 * l).clamp(-r, r),
                            BinaryOp::Inside => f64::from((0.5 * l).abs() <= r) * 0.5,
                        };
                    }
                }
                let ids = [BufferId(0), BufferId(1), BufferId(2)];
                out.push(Case {
                    label: format!("binary {op:?} {rows}x{cols}"),
                    command: command(
                        op,
                        [0.5, -2.0, 0.25],
                        [rows, cols],
                        (ids[0], dense),
                        (ids[1], b_view),
                        (ids[2], y_view),
                    ),
                    buffers: vec![a, b, vec![0.0; n]],
                    expect: vec![(2, want)],
                    exact: false,
                    tolerance: 1e-6,
                });
            }
        }
    }
    out
}
