//! Convolutions along time as matrix products: windows unfolded to rows, and their adjoint.
//!
//! Activations are channels-last rows [samples * steps, channels], as an action chunk [samples, horizon, action_dim] is.

use super::Operator;
use crate::graph::error::{GraphError, shape_error};
use crate::graph::lower::Lower;
use crate::graph::{Graph, Op, Result, Shape, Value};
pub use crate::kernel::unfold1d::Windows;
use crate::kernel::{fold1d, unfold1d};

/// [samples * steps, channels] to the windows [samples * count, channels * kernel]; column c * kernel + k, so that
/// PyTorch's weight [out, channels, kernel] is the matrix to multiply with.
#[derive(Clone, Debug, PartialEq)]
pub struct Unfold1d {
    /// The windows.
    pub windows: Windows,
}

/// The adjoint: windows [samples * count, channels * kernel] added up to [samples * steps, channels].
#[derive(Clone, Debug, PartialEq)]
pub struct Fold1d {
    /// The windows.
    pub windows: Windows,
}

impl Operator for Unfold1d {
    const NAME: &'static str = "unfold1d";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let (x, w) = (super::only(Self::NAME, inputs)?, &self.windows);
        if w.count() == 0 {
            return Err(shape_error(Self::NAME, inputs, "a kernel no longer than the padded samples"));
        }
        let samples = whole_samples(Self::NAME, x, w.steps)?;
        Ok(Shape::matrix(samples * w.count(), x.cols() * w.kernel))
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let x = cx.graph().node(node).inputs[0];
        let shape = cx.graph().shape(x);
        let x = cx.plain(x)?;
        let y = cx.output(node)?;
        let size = [shape.rows() / self.windows.steps, shape.cols()];
        cx.push(unfold1d::command(size, &self.windows, x, y))
    }

    fn vjp(&self, g: &mut Graph, _: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(g.push(Op::Fold1d(Fold1d { windows: self.windows }), &[d])?)])
    }

    fn jvp(&self, g: &mut Graph, _: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        t[0].map(|t| g.push(Op::Unfold1d(self.clone()), &[t])).transpose()
    }
}

impl Operator for Fold1d {
    const NAME: &'static str = "fold1d";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let (x, w) = (super::only(Self::NAME, inputs)?, &self.windows);
        if w.count() == 0 {
            return Err(shape_error(Self::NAME, inputs, "a kernel no longer than the padded samples"));
        }
        let samples = whole_samples(Self::NAME, x, w.count())?;
        if !x.cols().is_multiple_of(w.kernel) {
            return Err(shape_error(Self::NAME, inputs, "columns that are whole windows"));
        }
        Ok(Shape::matrix(samples * w.steps, x.cols() / w.kernel))
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let x = cx.plain(cx.graph().node(node).inputs[0])?;
        let y = cx.output(node)?;
        let shape = cx.graph().shape(node);
        let size = [shape.rows() / self.windows.steps, shape.cols()];
        cx.push(fold1d::command(size, &self.windows, x, y))
    }

    fn vjp(&self, g: &mut Graph, _: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(g.push(Op::Unfold1d(Unfold1d { windows: self.windows }), &[d])?)])
    }

    fn jvp(&self, g: &mut Graph, _: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        t[0].map(|t| g.push(Op::Fold1d(self.clone()), &[t])).transpose()
    }
}

/// How a convolution moves along time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv1d {
    /// Steps of a sample.
    pub steps: usize,
    /// Steps between windows.
    pub stride: usize,
    /// Zero steps before and after a sample.
    pub padding: usize,
}

/// The three dimensions of a convolution's weight.
fn weight_dims(op: &'static str, x: Shape, w: Shape, needed: &'static str) -> Result<[usize; 3]> {
    <[usize; 3]>::try_from(w.dims()).map_err(|_| shape_error(op, &[x, w], needed))
}

impl Graph {
    /// PyTorch's Conv1d on channels-last rows: x [samples * steps, in] with `w` \[out, in, kernel\] and `b` \[out\] gives
    /// [samples * count, out], count = (steps + 2 padding - kernel) / stride + 1.
    pub fn conv1d(&mut self, x: Value, w: Value, b: Option<Value>, conv: Conv1d) -> Result<Value> {
        const NEEDED: &str = "x [samples * steps, in] and a weight [out, in, kernel]";
        let shapes = [self.shape(x), self.shape(w)];
        let [out, channels, kernel] = weight_dims("conv1d", shapes[0], shapes[1], NEEDED)?;
        if shapes[0].cols() != channels {
            return Err(shape_error("conv1d", &shapes, NEEDED));
        }
        let Conv1d { steps, stride, padding } = conv;
        let windows = Windows { steps, kernel, stride, padding };
        let plain = kernel == 1 && stride == 1 && padding == 0;
        let rows = if plain { x } else { self.push(Op::Unfold1d(Unfold1d { windows }), &[x])? };
        let w = self.reshape(w, Shape::matrix(out, channels * kernel))?;
        self.linear(rows, w, b)
    }

    /// PyTorch's ConvTranspose1d on channels-last rows: x [samples * steps, in] with `w` \[in, out, kernel\] and `b`
    /// \[out\] gives [samples * longer, out], longer = (steps - 1) stride - 2 padding + kernel.
    pub fn conv_transpose1d(&mut self, x: Value, w: Value, b: Option<Value>, conv: Conv1d) -> Result<Value> {
        const NEEDED: &str = "x [samples * steps, in] and a weight [in, out, kernel]";
        let shapes = [self.shape(x), self.shape(w)];
        let [channels, out, kernel] = weight_dims("conv_transpose1d", shapes[0], shapes[1], NEEDED)?;
        if shapes[0].cols() != channels {
            return Err(shape_error("conv_transpose1d", &shapes, NEEDED));
        }
        let Conv1d { steps, stride, padding } = conv;
        let longer = (steps.max(1) - 1) * stride + kernel;
        let windows = Windows { steps: longer.saturating_sub(2 * padding), kernel, stride, padding };
        if windows.steps == 0 || windows.count() != steps {
            return Err(shape_error(
                "conv_transpose1d",
                &shapes,
                "steps that are left after the padding is cut",
            ));
        }
        let w = self.reshape(w, Shape::matrix(channels, out * kernel))?;
        let parts = self.matmul(x, w)?;
        let y = self.push(Op::Fold1d(Fold1d { windows }), &[parts])?;
        match b {
            Some(b) => self.add(y, b),
            None => Ok(y),
        }
    }
}

/// Samples of `steps` rows each.
pub(crate) fn whole_samples(op: &'static str, x: Shape, steps: usize) -> Result<usize> {
    match steps {
        0 => Err(GraphError::Shape { op, found: x.to_string(), needed: "at least one step in a sample" }),
        _ if !x.rows().is_multiple_of(steps) => Err(shape_error(op, &[x], "rows that are whole samples")),
        _ => Ok(x.rows() / steps),
    }
}
