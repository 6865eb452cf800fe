//! Cases of `ode_combine`: one to seven stages, scalar and per-row steps, stages that must not be read.

use super::{SIZES, values};
use crate::kernel::case::Case;
use crate::kernel::ode_combine::{StepSize, command};
use crate::kernel::{BufferId, Target};

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for &rows in &SIZES {
        for cols in [1, 7, 33, 64] {
            for coefficients in
                [&[1.0f32][..], &[0.5, 0.0, -0.25], &[0.1, 0.0, 0.4, -0.3, 0.7, 0.2, 0.05], &[]]
            {
                for per_row in [false, true] {
                    let (n, stages) = (rows * cols, coefficients.len());
                    let (x, mut k, h) =
                        (values(n + 3, 1), values(stages * n + 2, 2), values(2 + 8 * rows, 3));
                    for (s, c) in coefficients.iter().enumerate() {
                        if *c == 0.0 {
                            k[2 + s * n..2 + (s + 1) * n].fill(f32::NAN);
                        }
                    }
                    let mut want = vec![f64::NAN; n + 1];
                    for e in 0..n {
                        let step = if per_row { f64::from(h[1 + 8 * (e / cols)]) } else { -0.125 };
                        let mut sum = f64::from(x[3 + e]);
                        for (s, c) in coefficients.iter().enumerate().filter(|(_, c)| **c != 0.0) {
                            sum += step * f64::from(*c) * f64::from(k[2 + s * n + e]);
                        }
                        want[1 + e] = sum;
                    }
                    let id = [0, 1, 2, 3].map(BufferId);
                    let size = if per_row { StepSize::PerRow(id[2], 1, 8) } else { StepSize::Scalar(-0.125) };
                    let (x_at, k_at, y_at) = ((id[0], 3), (id[1], 2), (id[3], 1));
                    out.push(Case {
                        label: format!("ode_combine {rows}x{cols} stages {stages} per row {per_row}"),
                        command: command([rows, cols], coefficients, size, x_at, k_at, y_at, id[2]),
                        buffers: vec![x, k, h, vec![0.0; n + 1]],
                        expect: vec![(3, want)],
                        exact: false,
                        tolerance: 1e-6,
                    });
                }
            }
        }
    }
    out
}
