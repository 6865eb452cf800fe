//! The largest element of windows over images, and its first derivatives.
//!
//! Activations are channels-last rows [samples * height * width, channels], as those of `conv2d`.

use super::Operator;
use super::conv::whole_samples;
use super::conv2d::{Windows2d, some_window};
use crate::graph::error::{GraphError, shape_error};
use crate::graph::lower::Lower;
use crate::graph::{Graph, Op, Result, Shape, Value};
use crate::kernel::{max_pool2d, max_pool2d_grad};

/// [samples * height * width, channels] to the largest elements [samples * count, channels] of the windows, row by row; of
/// equal ones the first, padding never.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxPool2d {
    /// The windows.
    pub windows: Windows2d,
}

/// Of x and its tangent: the tangent in the places of x's largest elements [samples * count, channels].
#[derive(Clone, Debug, PartialEq)]
pub struct MaxPool2dJvp {
    /// The windows.
    pub windows: Windows2d,
}

/// Of x and the pool's cotangent [samples * count, channels]: x's cotangent, in which each element has the sum of those of
/// the windows whose first largest element it is.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxPool2dGrad {
    /// The windows.
    pub windows: Windows2d,
}

/// The result's shape for x.
fn pooled(op: &'static str, inputs: &[Shape], x: Shape, w: &Windows2d) -> Result<Shape> {
    some_window(op, inputs, w)?;
    // PyTorch's rule; without it a window could lie in the padding and have no element.
    if [w.height, w.width].iter().any(|along| 2 * along.padding > along.kernel) {
        return Err(shape_error(op, inputs, "a padding of at most half the kernel"));
    }
    let samples = whole_samples(op, x, w.pixels())?;
    Ok(Shape::matrix(samples * w.count(), x.cols()))
}

/// Samples and channels of a node's first operand.
fn size(cx: &Lower<'_>, node: Value, w: &Windows2d) -> [usize; 2] {
    let x = cx.graph().shape(cx.graph().node(node).inputs[0]);
    [x.rows() / w.pixels().max(1), x.cols()]
}

/// What is said of derivatives of the derivatives by x.
fn second<T>(op: &'static str) -> Result<T> {
    Err(GraphError::NotDifferentiable { op, what: "second derivative of a pool" })
}

impl Operator for MaxPool2d {
    const NAME: &'static str = "max_pool2d";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        pooled(Self::NAME, inputs, super::only(Self::NAME, inputs)?, &self.windows)
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let x = cx.plain(cx.graph().node(node).inputs[0])?;
        let y = cx.output(node)?;
        cx.push(max_pool2d::command(size(cx, node, &self.windows), &self.windows, x, x, y))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        let x = g.node(node).inputs[0];
        Ok(vec![Some(g.push(Op::MaxPool2dGrad(MaxPool2dGrad { windows: self.windows }), &[x, d])?)])
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        let x = g.node(node).inputs[0];
        t[0].map(|t| g.push(Op::MaxPool2dJvp(MaxPool2dJvp { windows: self.windows }), &[x, t])).transpose()
    }
}

impl Operator for MaxPool2dJvp {
    const NAME: &'static str = "max_pool2d_jvp";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        match inputs {
            [x, t] if [x.rows(), x.cols()] == [t.rows(), t.cols()] => {
                pooled(Self::NAME, inputs, *x, &self.windows)
            }
            _ => Err(shape_error(Self::NAME, inputs, "two operands of one shape")),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let inputs = &cx.graph().node(node).inputs;
        let (x, t) = (cx.plain(inputs[0])?, cx.plain(inputs[1])?);
        let y = cx.output(node)?;
        cx.push(max_pool2d::command(size(cx, node, &self.windows), &self.windows, x, t, y))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, wanted: &[bool]) -> Result<Vec<Option<Value>>> {
        if wanted[0] {
            return second(Self::NAME);
        }
        let x = g.node(node).inputs[0];
        Ok(vec![None, Some(g.push(Op::MaxPool2dGrad(MaxPool2dGrad { windows: self.windows }), &[x, d])?)])
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        if t[0].is_some() {
            return second(Self::NAME);
        }
        let x = g.node(node).inputs[0];
        t[1].map(|t| g.push(Op::MaxPool2dJvp(self.clone()), &[x, t])).transpose()
    }
}

impl Operator for MaxPool2dGrad {
    const NAME: &'static str = "max_pool2d_grad";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let needed = || shape_error(Self::NAME, inputs, "x and a cotangent of the windows");
        let [x, d] = inputs else { return Err(needed()) };
        let y = pooled(Self::NAME, inputs, *x, &self.windows)?;
        match [y.rows(), y.cols()] == [d.rows(), d.cols()] {
            true => Ok(*x),
            false => Err(needed()),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let inputs = &cx.graph().node(node).inputs;
        let (x, d) = (cx.plain(inputs[0])?, cx.plain(inputs[1])?);
        let y = cx.output(node)?;
        cx.push(max_pool2d_grad::command(size(cx, node, &self.windows), &self.windows, x, d, y))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, wanted: &[bool]) -> Result<Vec<Option<Value>>> {
        if wanted[0] {
            return second(Self::NAME);
        }
        let x = g.node(node).inputs[0];
        Ok(vec![None, Some(g.push(Op::MaxPool2dJvp(MaxPool2dJvp { windows: self.windows }), &[x, d])?)])
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        if t[0].is_some() {
            return second(Self::NAME);
        }
        let x = g.node(node).inputs[0];
        t[1].map(|t| g.push(Op::MaxPool2dGrad(self.clone()), &[x, t])).transpose()
    }
}

impl Graph {
    /// PyTorch's MaxPool2d on channels-last rows: x [samples * height * width, channels] gives
    /// [samples * rows * cols, channels], rows = (height + 2 padding - kernel) / stride + 1, cols alike. Padding counts as
    /// minus infinity and is at most half the kernel. There are no second derivatives.
    pub fn max_pool2d(&mut self, x: Value, windows: Windows2d) -> Result<Value> {
        self.push(Op::MaxPool2d(MaxPool2d { windows }), &[x])
    }
}
