//! Cases of `time_embed`: both laws of frequencies, every order, angles up to 1600 rad.

use super::{SIZES, at, id, output};
use crate::kernel::case::Case;
use crate::kernel::time_embed::{TimeEmbedding, command, frequencies};
use crate::kernel::{Target, View};

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for rows in SIZES {
        for half in [1usize, 7, 32, 65] {
            for order in 0..4u32 {
                let kind = if (rows + half).is_multiple_of(2) {
                    TimeEmbedding::Sinusoidal { dim: 2 * half, scale: 99.0, max_period: 1e4 }
                } else {
                    TimeEmbedding::Period { dim: 2 * half, min_period: 4e-3, max_period: 4.0 }
                };
                let mut freq = vec![f32::NAN; 3];
                freq.extend(frequencies(kind));
                let t: Vec<f32> = (0..2 * rows + 1).map(|k| k as f32 / (2 * rows) as f32).collect();
                let tv = View { row_stride: 2, ..View::dense(1, 1) };
                let (yv, want) = output([rows, 2 * half], rows, |i, j| {
                    let f = freq[3 + j % half];
                    // The angle is part of the formula: its rounding to f32 is 6e-5 rad at 1600 rad.
                    let angle = f64::from(at(&t, &tv, i, 0) as f32 * f);
                    let turned = [angle.sin(), angle.cos(), -angle.sin(), -angle.cos()];
                    f64::from(f).powi(order as i32) * turned[(order as usize + j / half) % 4]
                });
                out.push(Case {
                    label: format!("time_embed {rows}x{half} order {order} {kind:?}"),
                    command: command([rows, half], order, (id(0), tv), (id(1), 3), (id(2), yv)),
                    buffers: vec![t, freq, vec![0.0; want.len()]],
                    expect: vec![(2, want)],
                    exact: false,
                    tolerance: 1e-5,
                });
            }
        }
    }
    out
}
