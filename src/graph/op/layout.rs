//! Moving elements about: concatenation, slices, padding, reshapes, repeated rows, stopped gradients.

use super::{Operator, only};
use crate::graph::error::shape_error;
use crate::graph::lower::Lower;
use crate::graph::{Graph, Op, Result, Shape, Value};
use crate::kernel::copy;

/// Columns side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Concat;

/// Columns `start .. start + len`.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// First column.
    pub start: usize,
    /// Number of columns.
    pub len: usize,
}

/// x at columns `start ..` of `cols` columns, zero elsewhere: the transpose of a slice.
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    /// First column.
    pub start: usize,
    /// Columns of the result.
    pub cols: usize,
}

/// The same elements under another shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Reshape {
    /// The new shape.
    pub shape: Shape,
}

/// Every row `times` times in a row.
#[derive(Clone, Debug, PartialEq)]
pub struct RepeatRows {
    /// How often.
    pub times: usize,
}

/// The identity, through which no derivative flows.
#[derive(Clone, Debug, PartialEq)]
pub struct StopGradient;

impl Operator for Concat {
    const NAME: &'static str = "concat";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        match inputs {
            [first, rest @ ..] if rest.iter().all(|s| s.rows() == first.rows()) => {
                Ok(first.with_cols(inputs.iter().map(Shape::cols).sum()))
            }
            _ => Err(shape_error(Self::NAME, inputs, "parts with equal rows")),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let (y, mut view) = cx.output(node)?;
        let [rows, _] = cx.size(node);
        for i in 0..cx.graph().node(node).inputs.len() {
            let x = cx.operand(node, i)?;
            let cols = cx.graph().shape(cx.graph().node(node).inputs[i]).cols();
            // A part that was computed in its place is there (a single column is seen as one that repeats).
            if x.0 != y || x.1.offset != view.offset {
                cx.push(copy::command([rows, cols], 0, cols, x, (y, view)))?;
            }
            view.offset += cols as u32;
        }
        Ok(())
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, wanted: &[bool]) -> Result<Vec<Option<Value>>> {
        let inputs = g.node(node).inputs.clone();
        let mut start = 0;
        let mut out = Vec::new();
        for (x, wanted) in inputs.iter().zip(wanted) {
            let len = g.shape(*x).cols();
            out.push(if *wanted { Some(g.slice(d, start, len)?) } else { None });
            start += len;
        }
        Ok(out)
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        if t.iter().all(Option::is_none) {
            return Ok(None);
        }
        let inputs = g.node(node).inputs.clone();
        let mut parts = Vec::new();
        for (x, t) in inputs.iter().zip(t) {
            parts.push(match t {
                Some(t) => *t,
                None => g.zeros(g.shape(*x))?,
            });
        }
        Ok(Some(g.concat(&parts)?))
    }

    fn row_operands(&self, inputs: &[Shape], _: Shape) -> Option<Vec<usize>> {
        Some((0..inputs.len()).collect())
    }
}

impl Operator for Slice {
    const NAME: &'static str = "slice";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let x = only(Self::NAME, inputs)?;
        if self.len == 0 || self.start + self.len > x.cols() {
            return Err(shape_error(Self::NAME, inputs, "columns that exist"));
        }
        Ok(x.with_cols(self.len))
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        // A window of the columns is only another view.
        let (x, mut view) = cx.operand(node, 0)?;
        if view.col_stride == 1 {
            view.offset += self.start as u32;
        }
        cx.alias(node, (x, view))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        let cols = g.shape(g.node(node).inputs[0]).cols();
        Ok(vec![Some(g.push(Op::Pad(Pad { start: self.start, cols }), &[d])?)])
    }

    fn jvp(&self, g: &mut Graph, _: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        t[0].map(|t| g.slice(t, self.start, self.len)).transpose()
    }

    fn row_operands(&self, _: &[Shape], _: Shape) -> Option<Vec<usize>> {
        Some(vec![0])
    }
}

impl Operator for Pad {
    const NAME: &'static str = "pad";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let x = only(Self::NAME, inputs)?;
        if self.start + x.cols() > self.cols {
            return Err(shape_error(Self::NAME, inputs, "columns that fit the padded width"));
        }
        Ok(x.with_cols(self.cols))
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let x = cx.operand(node, 0)?;
        let len = cx.graph().shape(cx.graph().node(node).inputs[0]).cols();
        let y = cx.output(node)?;
        cx.push(copy::command(cx.size(node), self.start, len, x, y))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        let len = g.shape(g.node(node).inputs[0]).cols();
        Ok(vec![Some(g.slice(d, self.start, len)?)])
    }

    fn jvp(&self, g: &mut Graph, _: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        t[0].map(|t| g.push(Op::Pad(self.clone()), &[t])).transpose()
    }

    fn row_operands(&self, _: &[Shape], _: Shape) -> Option<Vec<usize>> {
        Some(vec![0])
    }
}

impl Operator for Reshape {
    const NAME: &'static str = "reshape";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let x = only(Self::NAME, inputs)?;
        if x.len() != self.shape.len() {
            return Err(shape_error(Self::NAME, &[x, self.shape], "equal numbers of elements"));
        }
        Ok(self.shape)
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let input = cx.graph().node(node).inputs[0];
        let same = cx.graph().shape(input).cols() == self.shape.cols();
        let x = if same { cx.operand(node, 0)? } else { cx.dense(node, 0)? };
        let view =
            if same { x.1 } else { crate::kernel::View::dense(x.1.offset as usize, self.shape.cols()) };
        cx.alias(node, (x.0, view))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        let shape = g.shape(g.node(node).inputs[0]);
        Ok(vec![Some(g.reshape(d, shape)?)])
    }

    fn jvp(&self, g: &mut Graph, _: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        t[0].map(|t| g.reshape(t, self.shape)).transpose()
    }
}

impl Operator for RepeatRows {
    const NAME: &'static str = "repeat_rows";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let x = only(Self::NAME, inputs)?;
        if self.times == 0 {
            return Err(shape_error(Self::NAME, inputs, "at least one repetition"));
        }
        Ok(Shape::matrix(x.rows() * self.times, x.cols()))
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        cx.repeat(node, self.times)
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        let shape = g.shape(g.node(node).inputs[0]);
        let sum = g.col_sum(d, self.times, 1.0)?;
        Ok(vec![Some(g.reshape(sum, shape)?)])
    }

    fn jvp(&self, g: &mut Graph, _: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        t[0].map(|t| g.repeat_rows(t, self.times)).transpose()
    }
}

impl Operator for StopGradient {
    const NAME: &'static str = "stop_gradient";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        only(Self::NAME, inputs)
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let x = cx.operand(node, 0)?;
        cx.alias(node, x)
    }

    fn vjp(&self, _: &mut Graph, _: Value, _: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        Ok(vec![None])
    }

    fn jvp(&self, _: &mut Graph, _: Value, _: &[Option<Value>]) -> Result<Option<Value>> {
        Ok(None)
    }

    fn row_operands(&self, _: &[Shape], _: Shape) -> Option<Vec<usize>> {
        Some(vec![0])
    }
}
