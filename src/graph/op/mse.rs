//! Mean square error.

use super::Operator;
use crate::graph::error::shape_error;
use crate::graph::lower::Lower;
use crate::graph::{Graph, Result, Shape, Value};
use crate::kernel::mse;

/// mean (a - b)^2 over all elements, as [1, 1].
#[derive(Clone, Debug, PartialEq)]
pub struct Mse;

impl Operator for Mse {
    const NAME: &'static str = "mse";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        match inputs {
            [a, b] if a.rows() == b.rows() && a.cols() == b.cols() && !a.is_empty() => {
                Ok(Shape::matrix(1, 1))
            }
            _ => Err(shape_error(Self::NAME, inputs, "two operands of one shape")),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let (a, b) = (cx.operand(node, 0)?, cx.operand(node, 1)?);
        let shape = cx.graph().shape(cx.graph().node(node).inputs[0]);
        let y = cx.output(node)?;
        cx.push(mse::command(1.0 / shape.len() as f32, [shape.rows(), shape.cols()], a, b, y))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, wanted: &[bool]) -> Result<Vec<Option<Value>>> {
        let (a, b) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let scale = 2.0 / g.shape(a).len() as f32;
        let mut side = |s: f32| {
            let difference = g.axpby(s, a, -s, b)?;
            // The cotangent of a loss is 1: nothing to multiply.
            if g.is_one(d) { Ok(difference) } else { g.mul(difference, d) }
        };
        let da = if wanted[0] { Some(side(scale)?) } else { None };
        let db = if wanted[1] { Some(side(-scale)?) } else { None };
        Ok(vec![da, db])
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        let (a, b) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let tangent = match (t[0], t[1]) {
            (Some(x), Some(y)) => g.sub(x, y)?,
            (Some(x), None) => x,
            (None, Some(y)) => g.affine(y, -1.0, 0.0)?,
            (None, None) => return Ok(None),
        };
        let n = g.shape(a).len() as f32;
        let difference = g.sub(a, b)?;
        let product = g.mul(difference, tangent)?;
        let rows = g.row_sum(product, 2.0 / n)?;
        let count = g.shape(rows).rows();
        Ok(Some(g.col_sum(rows, count, 1.0)?))
    }
}
