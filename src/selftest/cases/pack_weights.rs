//! Cases of `pack_weights`: both layouts, matrices either way round, every size, strided and offset.

use super::{SIZES, id, values};
use crate::kernel::case::Case;
use crate::kernel::matmul::Form;
use crate::kernel::pack_weights::{Layout, command};
use crate::kernel::{Target, View};

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for layout in [Layout::Whole, Layout::Panels] {
        for form in [Form::NN, Form::NT] {
            for &n in &SIZES {
                for k in [1, 4, 31, 130] {
                    out.push(case(layout, form, [n, k]));
                }
            }
        }
    }
    out
}

fn case(layout: Layout, form: Form, [n, k]: [usize; 2]) -> Case {
    let (rows, cols) = if form == Form::NT { (n, k) } else { (k, n) };
    let view = View::strided(3, cols + 2);
    let b = values(3 + rows * (cols + 2), 5);
    let [panel, _, depth] = layout.shape([n, k]);
    let mut want = vec![f64::NAN; 2 + layout.len([n, k]) + 1];
    want[2..2 + layout.len([n, k])].fill(0.0);
    for d in 0..k {
        for j in 0..n {
            let at = if form == Form::NT { view.at(j, d) } else { view.at(d, j) };
            want[2 + (j / panel * depth + d) * panel + j % panel] = f64::from(b[at]);
        }
    }
    Case {
        label: format!("pack_weights {layout:?} {form:?} {n}x{k}"),
        command: command(layout, form, [n, k], (id(0), view), (id(1), 2)),
        buffers: vec![b, vec![9.0; want.len()]],
        expect: vec![(1, want)],
        exact: false,
        tolerance: 0.0,
    }
}
