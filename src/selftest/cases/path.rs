//! Cases of `path`: every kind, times at and near both ends.

use super::{SIZES, values};
use crate::kernel::case::Case;
use crate::kernel::path::{PathKind, command};
use crate::kernel::{BufferId, Target};

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    for kind in
        [PathKind::Ot, PathKind::Independent, PathKind::VariancePreserving, PathKind::SchrodingerBridge]
    {
        for &rows in &SIZES {
            for cols in [1, 7, 33, 64] {
                let n = rows * cols;
                let sigma = 0.2f32;
                let (x0, x1, eps) = (values(n, 1), values(n, 2), values(n, 3));
                let ends = [0.5, 0.0, 1.0, 1e-3, 0.999];
                let t: Vec<f32> =
                    (0..rows).map(|i| *ends.get(i).unwrap_or(&(((i * 37) % 101) as f32 / 101.0))).collect();
                let (mut xt, mut ut) = (vec![0.0; n], vec![0.0; n]);
                let s = f64::from(sigma);
                for e in 0..n {
                    let t = f64::from(t[e / cols]);
                    let [a, b, z] = [x0[e], x1[e], eps[e]].map(f64::from);
                    (xt[e], ut[e]) = match kind {
                        PathKind::Ot => (t * b + (1.0 - (1.0 - s) * t) * a, b - (1.0 - s) * a),
                        PathKind::Independent => (t * b + (1.0 - t) * a + s * z, b - a),
                        PathKind::VariancePreserving => {
                            let half = std::f64::consts::FRAC_PI_2;
                            let (sin, cos) = (half * t).sin_cos();
                            (cos * a + sin * b, half * (cos * b - sin * a))
                        }
                        PathKind::SchrodingerBridge => {
                            let v = t * (1.0 - t);
                            let noise = s * v.sqrt() * z;
                            let slope = (1.0 - 2.0 * t) / (2.0 * v + 1e-8);
                            (t * b + (1.0 - t) * a + noise, b - a + noise * slope)
                        }
                    };
                }
                let id = [0, 1, 2, 3, 4, 5].map(BufferId);
                out.push(Case {
                    label: format!("path {kind:?} {rows}x{cols}"),
                    command: command(kind, sigma, [rows, cols], id[0], id[1], id[2], id[3], id[4], id[5]),
                    buffers: vec![x0, x1, t, eps, vec![0.0; n], vec![0.0; n]],
                    expect: vec![(4, xt), (5, ut)],
                    exact: false,
                    tolerance: 1e-6,
                });
            }
        }
    }
    out
}
