use super::collapse;
use crate::kernel::binary::{self, BinaryOp};
use crate::kernel::math::Activation;
use crate::kernel::norm::{self, NormKind};
use crate::kernel::{Arg, BufferId, Command, TwinCx, View, col_sum, fma, map, mse, row_sum, softmax};
use std::time::Instant;

#[test]
fn only_dense_and_single_operands_collapse() {
    let dense = View::dense(3, 5);
    let single = View { row_stride: 0, col_stride: 0, ..dense };
    let (mut a, mut b) = (dense, single);
    assert_eq!(collapse([4, 5], &mut [&mut a, &mut b]), [1, 20]);
    assert_eq!((a.at(0, 19), b.at(0, 19)), (22, 3));
    for other in [
        View { row_stride: 6, ..dense },
        View { row_stride: 0, ..dense },
        View { col_stride: 0, ..dense },
        View { row_div: 2, ..dense },
        View { row_mod: 2, ..dense },
    ] {
        let (mut a, mut b) = (dense, other);
        assert_eq!(collapse([4, 5], &mut [&mut a, &mut b]), [4, 5]);
        assert_eq!((a, b), (dense, other));
    }
}

/// Nanoseconds per call of a twin on one thread; the last argument is the output.
fn time(command: &Command, buffers: &[Vec<f32>], y: &mut Vec<f32>) -> f64 {
    let run = |y: &mut Vec<f32>| {
        let mut args: Vec<Arg<'_>> = command.args[..command.args.len() - 1]
            .iter()
            .map(|id| Arg::Read(&buffers[id.0 as usize]))
            .collect();
        args.push(Arg::Write(y));
        let start = Instant::now();
        let mut calls = 0;
        while start.elapsed().as_millis() < 20 {
            for _ in 0..20 {
                (command.kernel.twin)(&command.params, &mut args, &TwinCx::SERIAL);
            }
            calls += 20;
        }
        start.elapsed().as_nanos() as f64 / f64::from(calls)
    };
    (0..3).map(|_| run(y)).fold(f64::INFINITY, f64::min)
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    for [rows, cols] in [[1, 256], [16, 2], [256, 256], [4096, 4], [1024, 1024]] {
        let x = vec![crate::selftest::cases::values(rows * cols, 1); 3];
        let mut y = vec![0.0; rows * cols];
        let id = BufferId;
        let dense = View::dense(0, cols);
        let row = View { row_stride: 0, ..dense };
        let shape = [rows, cols];
        let (a, b, c) = ((id(0), dense), (id(1), dense), (id(3), dense));
        let scalar = (id(3), View::dense(0, 1));
        for (name, command) in [
            ("add", binary::command(BinaryOp::Add, [1.0, 1.0, 0.0], shape, a, b, c)),
            ("add row", binary::command(BinaryOp::Add, [1.0, 1.0, 0.0], shape, a, (id(1), row), c)),
            ("fma rows", fma::command(shape, a, (id(1), row), (id(2), row), c)),
            ("silu", map::command(Activation::Silu, 0, shape, a, c)),
            ("col_sum", col_sum::command(1.0, [1, rows, cols], a, c)),
            ("row_sum", row_sum::command(1.0, shape, a, scalar)),
            ("norm", norm::command(NormKind::Layer, 1e-5, shape, a, None, c, id(1))),
            ("softmax", softmax::command(shape, a, c)),
            ("mse", mse::command(1.0, shape, a, b, scalar)),
        ] {
            let ns = time(&command, &x, &mut y);
            let each = ns / (rows * cols) as f64;
            println!("{rows}x{cols} {name}: {ns:.0} ns, {each:.3} ns an element");
        }
    }
}
