//! Sums over columns and over groups of rows.

use super::{Operator, only};
use crate::graph::error::shape_error;
use crate::graph::lower::Lower;
use crate::graph::{Graph, Op, Result, Shape, Value};
use crate::kernel::{col_sum, row_sum};

/// [rows, cols] to [rows, 1], times `scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct RowSum {
    /// Factor.
    pub scale: f32,
}

/// [groups * per_group, cols] to [groups, cols], times `scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct ColSum {
    /// Rows in a group.
    pub per_group: usize,
    /// Factor.
    pub scale: f32,
}

impl Operator for RowSum {
    const NAME: &'static str = "row_sum";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        Ok(only(Self::NAME, inputs)?.with_cols(1))
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let x = cx.operand(node, 0)?;
        let [rows, _] = cx.size(node);
        let cols = cx.graph().shape(cx.graph().node(node).inputs[0]).cols();
        let y = cx.output(node)?;
        cx.push(row_sum::command(self.scale, [rows, cols], x, y))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        let x = g.shape(g.node(node).inputs[0]);
        let d = if self.scale == 1.0 { d } else { g.affine(d, self.scale, 0.0)? };
        Ok(vec![Some(g.broadcast(d, x)?)])
    }

    fn jvp(&self, g: &mut Graph, _: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        t[0].map(|t| g.row_sum(t, self.scale)).transpose()
    }

    fn row_operands(&self, _: &[Shape], _: Shape) -> Option<Vec<usize>> {
        Some(vec![0])
    }
}

impl Operator for ColSum {
    const NAME: &'static str = "col_sum";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let x = only(Self::NAME, inputs)?;
        if self.per_group == 0 || x.rows() % self.per_group != 0 {
            return Err(shape_error(Self::NAME, inputs, "rows that are a multiple of the group"));
        }
        Ok(Shape::matrix(x.rows() / self.per_group, x.cols()))
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let x = cx.operand(node, 0)?;
        let [groups, cols] = cx.size(node);
        let y = cx.output(node)?;
        let software = cx.target().software;
        cx.push(col_sum::command(self.scale, [groups, self.per_group, cols], x, y, software))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        let x = g.shape(g.node(node).inputs[0]);
        let d = if self.scale == 1.0 { d } else { g.affine(d, self.scale, 0.0)? };
        let wide = g.push(Op::RepeatRows(super::layout::RepeatRows { times: self.per_group }), &[d])?;
        Ok(vec![Some(g.reshape(wide, x)?)])
    }

    fn jvp(&self, g: &mut Graph, _: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        t[0].map(|t| g.col_sum(t, self.per_group, self.scale)).transpose()
    }
}
