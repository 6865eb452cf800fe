//! What a call of a kernel costs at least: its operations, and the parts of its buffers that it must touch.
//!
//! A multiply-add is two operations; an addition, a comparison, a division and an elementary function (exp, sine, root) are
//! one each, however a device computes them, so that no device can need fewer. Every element counts once for each binding,
//! however often the call reads it: what a broadcast repeats is touched once.

use super::View;

/// Part of a buffer: `rows` runs of `cols` adjacent elements that begin `stride` apart. Units: elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first element.
    pub first: usize,
    /// Runs.
    pub rows: usize,
    /// Distance from the start of a run to that of the next.
    pub stride: usize,
    /// Elements of a run.
    pub cols: usize,
    /// The elements' places depend on data (`first` and `stride` mean nothing). They may coincide, so count at most the buffer.
    pub scattered: bool,
}

impl Span {
    /// Adjacent elements from `first`.
    pub fn dense(first: u32, elements: usize) -> Span {
        Span { first: first as usize, rows: 1, stride: 0, cols: elements, scattered: false }
    }

    /// `rows` rows of `cols` elements, the place of the first and the distance of the rows as kernels' parameters have them.
    pub fn rows([first, stride]: [u32; 2], [rows, cols]: [usize; 2]) -> Span {
        match rows <= 1 || stride as usize == cols {
            // Adjacent rows are one run, so that equal parts compare equal.
            true => Span::dense(first, rows * cols),
            false => Span { first: first as usize, rows, stride: stride as usize, cols, scattered: false },
        }
    }

    /// The distinct elements that a view shows of a matrix of this shape.
    pub fn view(view: &View, [rows, cols]: [usize; 2]) -> Span {
        let distinct = rows.div_ceil(view.row_div.max(1) as usize).min(view.row_mod as usize);
        let rows = if view.row_stride == 0 { distinct.min(1) } else { distinct };
        let cols = if view.col_stride == 0 { cols.min(1) } else { cols };
        Span::rows([view.offset, view.row_stride], [rows, cols])
    }

    /// So many elements in places that depend on data.
    pub fn scattered(elements: usize) -> Span {
        Span { scattered: true, ..Span::dense(0, elements) }
    }

    /// How many.
    pub fn elements(&self) -> usize {
        self.rows.saturating_mul(self.cols)
    }

    /// One past the last element; 0 of none, and of scattered ones.
    pub fn end(&self) -> usize {
        match self.elements() == 0 || self.scattered {
            true => 0,
            // Strides and counts may be anything that a command's words hold.
            false => (self.rows - 1)
                .saturating_mul(self.stride)
                .saturating_add(self.first)
                .saturating_add(self.cols),
        }
    }

    /// The elements' places; none of scattered ones.
    pub fn places(self) -> impl Iterator<Item = usize> {
        let rows = if self.scattered { 0 } else { self.rows };
        (0..rows).flat_map(move |r| (0..self.cols).map(move |c| self.first + r * self.stride + c))
    }
}

/// The least that one call of a kernel costs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// Operations.
    pub flops: f64,
    /// What is read: number of the binding, and part of its buffer.
    pub read: Vec<(usize, Span)>,
    /// What is written, likewise. A binding that is read and written has entries in both.
    pub written: Vec<(usize, Span)>,
}

impl Cost {
    /// So many operations, no memory yet.
    pub fn new(flops: usize) -> Cost {
        Cost { flops: flops as f64, ..Cost::default() }
    }

    /// And binding `binding` is read there.
    pub fn reads(mut self, binding: usize, span: Span) -> Cost {
        self.read.push((binding, span));
        self
    }

    /// And, if `there`, binding `binding` is read there.
    pub fn reads_if(self, there: bool, binding: usize, span: Span) -> Cost {
        if there { self.reads(binding, span) } else { self }
    }

    /// And binding `binding` is written there.
    pub fn writes(mut self, binding: usize, span: Span) -> Cost {
        self.written.push((binding, span));
        self
    }

    /// Element by element over `shape`: operands through views at bindings 0, 1, ..., the result at the binding after them.
    pub fn elementwise(each: usize, shape: [usize; 2], operands: &[&View], y: &View) -> Cost {
        let mut cost = Cost::new(each * shape[0] * shape[1]);
        for (binding, view) in operands.iter().enumerate() {
            cost = cost.reads(binding, Span::view(view, shape));
        }
        cost.writes(operands.len(), Span::view(y, shape))
    }

    /// Bytes read.
    pub fn read_bytes(&self) -> f64 {
        bytes(&self.read)
    }

    /// Bytes written.
    pub fn written_bytes(&self) -> f64 {
        bytes(&self.written)
    }
}

fn bytes(spans: &[(usize, Span)]) -> f64 {
    spans.iter().map(|(_, s)| 4.0 * s.elements() as f64).sum()
}

/// Of windows along an axis: places within the samples (zeros around them left out), and elements that some window covers.
pub(super) fn covered([steps, windows, kernel, stride, padding]: [usize; 5]) -> [usize; 2] {
    let (mut inside, mut distinct, mut upto) = (0, 0, 0);
    for u in 0..windows {
        let from = (u * stride).saturating_sub(padding).min(steps);
        let to = (u * stride + kernel).saturating_sub(padding).min(steps);
        inside += to - from;
        distinct += to.saturating_sub(from.max(upto));
        upto = upto.max(to);
    }
    [inside, distinct]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_count_what_they_repeat_once() {
        let elements = |view: View, shape| Span::view(&view, shape).elements();
        let dense = View::dense(3, 7);
        assert_eq!(Span::view(&dense, [5, 7]), Span::dense(3, 35));
        assert_eq!(elements(View { row_stride: 0, ..dense }, [5, 7]), 7);
        assert_eq!(elements(View { row_stride: 0, col_stride: 0, ..dense }, [5, 7]), 1);
        assert_eq!(elements(View { row_div: 3, ..dense }, [5, 7]), 14);
        assert_eq!(elements(View { row_div: 2, row_mod: 2, ..dense }, [50, 7]), 14);
        let gaps = Span::view(&View::strided(1, 10), [3, 7]);
        assert_eq!((gaps.elements(), gaps.end()), (21, 28));
        assert_eq!(gaps.places().nth(7), Some(11));
        assert_eq!((Span::scattered(4).places().count(), Span::dense(9, 0).end()), (0, 0));
    }

    #[test]
    fn windows_leave_the_padding_out() {
        // Kernel 3, padding 1 over 4 steps: 2 + 3 + 3 + 2 places.
        assert_eq!(covered([4, 4, 3, 1, 1]), [10, 4]);
        // Every third step only.
        assert_eq!(covered([7, 3, 1, 3, 0]), [3, 3]);
    }
}
