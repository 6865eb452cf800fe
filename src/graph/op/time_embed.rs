//! Time embeddings sin and cos of t times fixed frequencies, and their derivatives in t.

use super::{Operator, only};
use crate::graph::error::shape_error;
use crate::graph::lower::Lower;
use crate::graph::{Graph, Op, Result, Shape, Value};
use crate::kernel::time_embed::{self, TimeEmbedding};

/// The `order`-th derivative in t of the embedding of t [rows, 1]: [rows, dim].
#[derive(Clone, Debug, PartialEq)]
pub struct TimeEmbed {
    /// Which frequencies.
    pub kind: TimeEmbedding,
    /// Derivative order, 0 to 2.
    pub order: u32,
}

impl Operator for TimeEmbed {
    const NAME: &'static str = "time_embed";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let t = only(Self::NAME, inputs)?;
        if t.cols() != 1 || self.order > 2 {
            return Err(shape_error(Self::NAME, inputs, "times as one column, derivative order at most 2"));
        }
        Ok(Shape::matrix(t.rows(), self.kind.dim()))
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let t = cx.operand(node, 0)?;
        let freq = cx.constant(&time_embed::frequencies(self.kind))?;
        let [rows, dim] = cx.size(node);
        let y = cx.output(node)?;
        cx.push(time_embed::command([rows, dim / 2], self.order, t, (freq, 0), y))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        let t = g.node(node).inputs[0];
        let slope = g.push(Op::TimeEmbed(TimeEmbed { kind: self.kind, order: self.order + 1 }), &[t])?;
        let product = g.mul(slope, d)?;
        Ok(vec![Some(g.row_sum(product, 1.0)?)])
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        let Some(tangent) = t[0] else { return Ok(None) };
        let time = g.node(node).inputs[0];
        let slope = g.push(Op::TimeEmbed(TimeEmbed { kind: self.kind, order: self.order + 1 }), &[time])?;
        Ok(Some(g.mul(slope, tangent)?))
    }

    fn row_operands(&self, _: &[Shape], _: Shape) -> Option<Vec<usize>> {
        Some(vec![0])
    }
}
