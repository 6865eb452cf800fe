//! Cases of `pack_weights`: both layouts, matrices either way round, every size, strided and offset.

use super::{SIZES, id, values};
use crate::kernel::case::Case;
use crate::kernel::matmul::Form;
use crate::kernel::pack_weights::{Layout, Store, command};
use crate::kernel::{Target, View};
use half::f16;

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for layout in [Layout::Whole, Layout::Panels, Layout::Columns] {
        for form in [Form::NN, Form::NT] {
            for &n in &SIZES {
                for k in [1, 4, 31, 130] {
                    out.push(case((layout, Store::Full), form, [n, k]));
                    out.push(case((layout, Store::Half), form, [n, k]));
                }
            }
        }
    }
    out
}

fn case((layout, store): (Layout, Store), form: Form, [n, k]: [usize; 2]) -> Case {
    let (rows, cols) = if form == Form::NT { (n, k) } else { (k, n) };
    let view = View::strided(3, cols + 2);
    let b = values(3 + rows * (cols + 2), 5);
    let [panel, _, depth] = layout.shape([n, k]);
    let mut elements = vec![0.0f32; layout.elements([n, k])];
    for d in 0..k {
        for j in 0..n {
            let (down, along) = if layout == Layout::Columns { (j, d) } else { (d, j) };
            let at = if form == Form::NT { view.at(j, d) } else { view.at(d, j) };
            elements[(along / panel * depth + down) * panel + along % panel] = b[at];
        }
    }
    // Words, since two halves may look like no number.
    let words: Vec<u32> = match store {
        Store::Full => elements.iter().map(|v| v.to_bits()).collect(),
        Store::Half => {
            let bits = |v: &f32| u32::from(f16::from_f32(*v).to_bits());
            elements.chunks_exact(2).map(|v| bits(&v[0]) | bits(&v[1]) << 16).collect()
        }
    };
    let mut want = vec![f64::NAN; 2 + words.len() + 1];
    want[2..2 + words.len()].copy_from_slice(&words.iter().map(|w| f64::from(*w)).collect::<Vec<_>>());
    Case {
        label: format!("pack_weights {layout:?} {store:?} {form:?} {n}x{k}"),
        command: command((layout, store), form, [n, k], (id(0), view), (id(1), 2)),
        buffers: vec![b, vec![9.0; want.len()]],
        expect: vec![(1, want)],
        exact: true,
        tolerance: 0.0,
    }
}
