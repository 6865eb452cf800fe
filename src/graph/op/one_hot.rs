//! The largest element of every row, as a one among zeros.

use super::{Operator, only};
use crate::graph::error::shape_error;
use crate::graph::lower::Lower;
use crate::graph::{Graph, Result, Shape, Value};
use crate::kernel::one_hot;

/// y[i, j] = 1 if j is the first place of row i's largest element, else 0. It is constant almost everywhere: no derivative.
#[derive(Clone, Debug, PartialEq)]
pub struct OneHot;

impl Operator for OneHot {
    const NAME: &'static str = "one_hot";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let x = only(Self::NAME, inputs)?;
        match x.is_empty() {
            false => Ok(x),
            true => Err(shape_error(Self::NAME, inputs, "at least one element")),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let x = cx.operand(node, 0)?;
        let y = cx.output(node)?;
        cx.push(one_hot::command(cx.size(node), x, y))
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
