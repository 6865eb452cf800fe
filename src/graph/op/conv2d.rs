//! Convolutions over images as matrix products: windows unfolded to rows, and their adjoint.
//!
//! Activations are channels-last rows [samples * height * width, channels], images row by row.

use super::Operator;
use super::conv::whole_samples;
use crate::graph::error::shape_error;
use crate::graph::lower::Lower;
use crate::graph::{Graph, Op, Result, Shape, Value};
pub use crate::kernel::windows2d::Windows2d;
use crate::kernel::{fold2d, unfold2d};

/// [samples * height * width, channels] to the windows [samples * count, channels * kernel_h * kernel_w], windows row by
/// row; column (c * kernel_h + a) * kernel_w + b, so that PyTorch's weight [out, channels, kernel_h, kernel_w] is the matrix
/// to multiply with.
#[derive(Clone, Debug, PartialEq)]
pub struct Unfold2d {
    /// The windows.
    pub windows: Windows2d,
}

/// The adjoint: windows [samples * count, channels * kernel_h * kernel_w] added up to
/// [samples * height * width, channels].
#[derive(Clone, Debug, PartialEq)]
pub struct Fold2d {
    /// The windows.
    pub windows: Windows2d,
}

/// Whether there is a window; `inputs` are for the error.
pub(super) fn some_window(op: &'static str, inputs: &[Shape], w: &Windows2d) -> Result<()> {
    match w.in_range() && w.count() > 0 {
        true => Ok(()),
        false => Err(shape_error(
            op,
            inputs,
            "a kernel that fits the padded image, a stride of at least 1, all below 65,536",
        )),
    }
}

impl Operator for Unfold2d {
    const NAME: &'static str = "unfold2d";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let (x, w) = (super::only(Self::NAME, inputs)?, &self.windows);
        some_window(Self::NAME, inputs, w)?;
        let samples = whole_samples(Self::NAME, x, w.pixels())?;
        Ok(Shape::matrix(samples * w.count(), x.cols() * w.kernel()))
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let x = cx.graph().node(node).inputs[0];
        let shape = cx.graph().shape(x);
        let x = cx.plain(x)?;
        let y = cx.output(node)?;
        let size = [shape.rows() / self.windows.pixels(), shape.cols()];
        cx.push(unfold2d::command(size, &self.windows, x, y))
    }

    fn vjp(&self, g: &mut Graph, _: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(g.push(Op::Fold2d(Fold2d { windows: self.windows }), &[d])?)])
    }

    fn jvp(&self, g: &mut Graph, _: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        t[0].map(|t| g.push(Op::Unfold2d(self.clone()), &[t])).transpose()
    }
}

impl Operator for Fold2d {
    const NAME: &'static str = "fold2d";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let (x, w) = (super::only(Self::NAME, inputs)?, &self.windows);
        some_window(Self::NAME, inputs, w)?;
        let samples = whole_samples(Self::NAME, x, w.count())?;
        if !x.cols().is_multiple_of(w.kernel()) {
            return Err(shape_error(Self::NAME, inputs, "columns that are whole windows"));
        }
        Ok(Shape::matrix(samples * w.pixels(), x.cols() / w.kernel()))
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let x = cx.plain(cx.graph().node(node).inputs[0])?;
        let y = cx.output(node)?;
        let shape = cx.graph().shape(node);
        let size = [shape.rows() / self.windows.pixels().max(1), shape.cols()];
        cx.push(fold2d::command(size, &self.windows, x, y))
    }

    fn vjp(&self, g: &mut Graph, _: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(g.push(Op::Unfold2d(Unfold2d { windows: self.windows }), &[d])?)])
    }

    fn jvp(&self, g: &mut Graph, _: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        t[0].map(|t| g.push(Op::Fold2d(self.clone()), &[t])).transpose()
    }
}

/// How a convolution moves over an image; pairs are height, width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Height and width of a sample, in pixels.
    pub size: [usize; 2],
    /// Pixels between windows.
    pub stride: [usize; 2],
    /// Zero pixels on either side of a sample.
    pub padding: [usize; 2],
}

impl Graph {
    /// PyTorch's Conv2d on channels-last rows: x [samples * height * width, in] with `w` \[out, in, kernel_h, kernel_w\] and
    /// `b` \[out\] gives [samples * rows * cols, out], rows = (height + 2 padding - kernel_h) / stride + 1, cols alike.
    pub fn conv2d(&mut self, x: Value, w: Value, b: Option<Value>, conv: Conv2d) -> Result<Value> {
        const NEEDED: &str = "x [samples * height * width, in] and a weight [out, in, kernel_h, kernel_w]";
        let shapes = [self.shape(x), self.shape(w)];
        let &[out, channels, kernel_h, kernel_w] = shapes[1].dims() else {
            return Err(shape_error("conv2d", &shapes, NEEDED));
        };
        if shapes[0].cols() != channels {
            return Err(shape_error("conv2d", &shapes, NEEDED));
        }
        let Conv2d { size, stride, padding } = conv;
        let windows = Windows2d::new(size, [kernel_h, kernel_w], stride, padding);
        let unfold = Unfold2d { windows };
        unfold.shape(&shapes[..1])?;
        let plain = windows.kernel() == 1 && stride == [1; 2] && padding == [0; 2];
        let rows = if plain { x } else { self.push(Op::Unfold2d(unfold), &[x])? };
        let w = self.reshape(w, Shape::matrix(out, channels * windows.kernel()))?;
        self.linear(rows, w, b)
    }
}
