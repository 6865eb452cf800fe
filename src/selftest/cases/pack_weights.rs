//! Cases of `pack_weights`: both layouts, every size, strided and offset.

use super::{SIZES, id, values};
use crate::kernel::case::Case;
use crate::kernel::matmul::Form;
use crate::kernel::pack_weights::{command, packed_len};
use crate::kernel::{Target, View};

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for form in [Form::NN, Form::NT] {
        for &n in &SIZES {
            for k in [1, 4, 31, 130] {
                let (rows, cols) = if form == Form::NT { (n, k) } else { (k, n) };
                let view = View::strided(3, cols + 2);
                let b = values(3 + rows * (cols + 2), 5);
                let n4 = n.next_multiple_of(4);
                let mut want = vec![f64::NAN; 2 + packed_len(n, k) + 1];
                want[2..2 + packed_len(n, k)].fill(0.0);
                for d in 0..k {
                    for j in 0..n {
                        let at = if form == Form::NT { view.at(j, d) } else { view.at(d, j) };
                        want[2 + d * n4 + j] = f64::from(b[at]);
                    }
                }
                out.push(Case {
                    label: format!("pack_weights {form:?} {n}x{k}"),
                    command: command(form, [n, k], (id(0), view), (id(1), 2)),
                    buffers: vec![b, vec![9.0; want.len()]],
                    expect: vec![(1, want)],
                    exact: false,
                    tolerance: 0.0,
                });
            }
        }
    }
    out
}
