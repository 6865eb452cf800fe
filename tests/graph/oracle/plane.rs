//! Windows over images in f64: unfolded, folded, pooled.

use advect::graph::Shape;
use advect::graph::op::conv2d::Windows2d;

/// An operand: its values and shape.
type Operand<'a> = (&'a [f64], Shape);

/// The pixel of [samples * height * width] that place (a, b) of window `i` covers.
fn pixel(w: &Windows2d, i: usize, [a, b]: [usize; 2]) -> Option<usize> {
    let (down, across) = (w.height, w.width);
    let (sample, window) = (i / w.count(), i % w.count());
    let r = (window / across.count() * down.stride + a).checked_sub(down.padding).filter(|r| *r < down.steps);
    let q = window % across.count() * across.stride + b;
    let q = q.checked_sub(across.padding).filter(|q| *q < across.steps);
    Some((sample * down.steps + r?) * across.steps + q?)
}

/// (row of the windows, column, pixel, channel) of every element that lies inside its image.
fn pairs(w: &Windows2d, rows: usize, channels: usize) -> Vec<[usize; 4]> {
    let mut out = Vec::new();
    for i in 0..rows {
        for a in 0..w.height.kernel {
            for b in 0..w.width.kernel {
                let Some(k) = pixel(w, i, [a, b]) else { continue };
                let column = |c: usize| (c * w.height.kernel + a) * w.width.kernel + b;
                out.extend((0..channels).map(|c| [i, column(c), k, c]));
            }
        }
    }
    out
}

pub fn unfold(w: &Windows2d, y: Shape, (x, s): Operand<'_>) -> Vec<f64> {
    let mut out = vec![0.0; y.len()];
    for [i, j, k, c] in pairs(w, y.rows(), s.cols()) {
        out[i * y.cols() + j] = x[k * s.cols() + c];
    }
    out
}

pub fn fold(w: &Windows2d, y: Shape, (x, s): Operand<'_>) -> Vec<f64> {
    let mut out = vec![0.0; y.len()];
    for [i, j, k, c] in pairs(w, s.rows(), y.cols()) {
        out[k * y.cols() + c] += x[i * s.cols() + j];
    }
    out
}

/// The element of x with the largest value of channel c in window i, of equal ones the first.
fn largest(w: &Windows2d, (x, s): Operand<'_>, i: usize, c: usize) -> usize {
    let places = (0..w.kernel()).map(|place| [place / w.width.kernel, place % w.width.kernel]);
    let elements = places.filter_map(|place| Some(pixel(w, i, place)? * s.cols() + c));
    elements.reduce(|best, e| if x[e] > x[best] { e } else { best }).unwrap()
}

/// What `t` has where x has its largest elements.
pub fn pool(w: &Windows2d, y: Shape, x: Operand<'_>, t: &[f64]) -> Vec<f64> {
    (0..y.len()).map(|e| t[largest(w, x, e / y.cols(), e % y.cols())]).collect()
}

pub fn pool_gradient(w: &Windows2d, x: Operand<'_>, (d, s): Operand<'_>) -> Vec<f64> {
    let mut out = vec![0.0; x.1.len()];
    for (e, d) in d.iter().enumerate() {
        out[largest(w, x, e / s.cols(), e % s.cols())] += d;
    }
    out
}
