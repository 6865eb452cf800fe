//! Time embeddings sin and cos of t times fixed frequencies, and their derivatives in t.

use super::{Operator, only};
use crate::graph::error::shape_error;
use crate::graph::lower::Lower;
use crate::graph::{Graph, Op, Result, Shape, Value};
use crate::kernel::time_embed::{self, TimeEmbedding};
use crate::kernel::{BufferId, View};

/// The `order`-th derivative in t of the embeddings of t [rows, n], side by side: [rows, n * dim].
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
        if self.order > 2 {
            return Err(shape_error(Self::NAME, inputs, "derivative order at most 2"));
        }
        Ok(Shape::matrix(t.rows(), t.cols() * self.kind.dim()))
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let freq = cx.constant(&time_embed::frequencies(self.kind))?;
        let ([rows, cols], dim) = (cx.size(node), self.kind.dim());
        let times = cols / dim;
        if times == 1 {
            let t = cx.operand(node, 0)?;
            let y = cx.output(node)?;
            return cx.push(time_embed::command([rows, dim / 2], self.order, t, (freq, 0), y));
        }
        // Dense times and dense embeddings are one column of times.
        let t = cx.dense(node, 0)?;
        let y = cx.output(node)?;
        if y.1.row_stride as usize == cols {
            let t = (t.0, View::dense(t.1.offset as usize, 1));
            let y = (y.0, View::dense(y.1.offset as usize, dim));
            return cx.push(time_embed::command([rows * times, dim / 2], self.order, t, (freq, 0), y));
        }
        for i in 0..times {
            let at = |(buffer, view): (BufferId, View), by: usize| {
                (buffer, View { offset: view.offset + (i * by) as u32, ..view })
            };
            cx.push(time_embed::command([rows, dim / 2], self.order, at(t, 1), (freq, 0), at(y, dim)))?;
        }
        Ok(())
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        let t = g.node(node).inputs[0];
        let slope = g.push(Op::TimeEmbed(TimeEmbed { kind: self.kind, order: self.order + 1 }), &[t])?;
        let product = g.mul(slope, d)?;
        // Sums within each time's columns.
        let shape = g.shape(t);
        let apart = g.reshape(product, Shape::matrix(shape.len(), self.kind.dim()))?;
        let sums = g.row_sum(apart, 1.0)?;
        Ok(vec![Some(g.reshape(sums, shape)?)])
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        let Some(tangent) = t[0] else { return Ok(None) };
        let time = g.node(node).inputs[0];
        let slope = g.push(Op::TimeEmbed(TimeEmbed { kind: self.kind, order: self.order + 1 }), &[time])?;
        let (whole, shape) = (g.shape(slope), g.shape(time));
        let slope = g.reshape(slope, Shape::matrix(shape.len(), self.kind.dim()))?;
        let tangent = g.reshape(tangent, Shape::matrix(shape.len(), 1))?;
        let product = g.mul(slope, tangent)?;
        Ok(Some(g.reshape(product, whole)?))
    }

    fn row_operands(&self, _: &[Shape], _: Shape) -> Option<Vec<usize>> {
        Some(vec![0])
    }
}
