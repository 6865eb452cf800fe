//! The order of a product's sums: of the depth alone, on the CPU.

use super::cpu::{Panel, product};
use super::dot::Operand;
use super::*;
use crate::device::Team;
use crate::kernel::pack_weights::{Layout, Store};
use crate::kernel::{Arg, TwinCx};

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| (0.37 * i as f32).sin() + 0.1 * (0.013 * i as f32).cos()).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Shapes on both sides of every threshold of the CPU's ways, single rows and columns, and what is left over of tiles and slices.
#[test]
fn parts_do_not_change_a_product() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for [m, n, k] in [
        [128, 14, 256],
        [256, 32, 160],
        [97, 7, 512],
        [100, 2, 640],
        [300, 1, 400],
        [1, 300, 400],
        [2, 150, 700],
        [9, 130, 70],
        [33, 65, 1031],
        [96, 48, 64],
        [257, 33, 513],
        [120, 240, 20],
        [2000, 17, 3],
    ] {
        for form in [Form::NN, Form::NT, Form::TN] {
            let (a, b) = form.operands([m, n, k]);
            let (x, y) = (values(a[0] * a[1]), values(b[0] * b[1]));
            let (x, y) = (Operand { data: &x, ld: a[1] }, Operand { data: &y, ld: b[1] });
            let run = |threads: usize| {
                let mut c = vec![f32::NAN; m * n];
                let panel = Panel::new(&mut c, n);
                pool.install(|| {
                    Team::lead(threads, |team| product(form, [m, n, k], x, y, panel, &TwinCx::from(team)))
                });
                bits(&c)
            };
            let alone = run(1);
            for threads in [2, 3, 4, 7, 8, 16, 64] {
                assert!(run(threads) == alone, "{form:?} {m} x {n} x {k} on {threads} threads");
            }
        }
    }
}

/// A row of a product with packed weights is the same alone and among others, whichever tile it falls in.
#[test]
fn rows_beside_a_row_do_not_change_it() {
    let most = 100;
    for ([n, k], form) in [
        ([300, 40], Form::NT),
        ([129, 1600], Form::NT),
        ([31, 7], Form::NN),
        ([1, 64], Form::NT),
        ([160, 1], Form::NN),
    ] {
        let weights = if form == Form::NT { [n, k] } else { [k, n] };
        let (x, w) = (values(most * k), values(n * k));
        let mut packed = vec![0.0; Layout::Panels.words(Store::Full, [n, k])];
        let [a, b, c, empty] = [0, 1, 2, 3].map(BufferId);
        let pack = pack_weights::command(
            (Layout::Panels, Store::Full),
            form,
            [n, k],
            (a, View::dense(0, weights[1])),
            (b, 0),
        );
        (pack.kernel.twin)(&pack.params, &mut [Arg::Read(&w), Arg::Write(&mut packed)], &TwinCx::SERIAL);
        let run = |m: usize| {
            let dense = |cols: usize| View::dense(0, cols);
            let call = Call {
                form,
                size: [m, n, k],
                a: (a, dense(k)),
                b: (b, dense(weights[1])),
                c: (c, dense(n)),
                epilogue: Epilogue::default(),
            };
            let command = packed_command(&call, (b, 0), empty);
            let mut out = vec![f32::NAN; m * n];
            let mut args =
                [Arg::Read(&x), Arg::Read(&packed), Arg::Read(&[]), Arg::Read(&[]), Arg::Write(&mut out)];
            (command.kernel.twin)(&command.params, &mut args, &TwinCx::SERIAL);
            out
        };
        let all = run(most);
        let exact = |i: usize, j: usize| -> f64 {
            let weight = |d: usize| if form == Form::NT { w[j * k + d] } else { w[d * n + j] };
            (0..k).map(|d| f64::from(x[i * k + d]) * f64::from(weight(d))).sum()
        };
        for (i, j) in [(0, 0), (most - 1, n - 1), (most / 2, n / 2)] {
            let (found, wanted) = (f64::from(all[i * n + j]), exact(i, j));
            assert!((found - wanted).abs() < 1e-3, "{n} x {k}: {found}, exactly {wanted}");
        }
        for m in (1..20).chain([63, 64, 96, 97]) {
            assert!(bits(&run(m)) == bits(&all[..m * n]), "{m} of {most} rows by {n} x {k}");
        }
    }
}
