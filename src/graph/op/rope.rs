//! Rotary position embedding: a rotation of pairs of columns, so its transpose is the rotation back.

use super::{Operator, only};
use crate::graph::error::shape_error;
use crate::graph::lower::Lower;
use crate::graph::{Graph, Op, Result, Shape, Value};
use crate::kernel::rope;

/// The columns of every head turned by angles that grow with the row's position.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Heads: equal parts of the columns.
    pub heads: usize,
    /// Row r has position r % tokens.
    pub tokens: usize,
    /// Longest period over 2 pi.
    pub base: f64,
    /// Turn back.
    pub back: bool,
}

impl Operator for Rope {
    const NAME: &'static str = "rope";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let x = only(Self::NAME, inputs)?;
        let fits = self.heads > 0 && self.tokens > 0 && x.cols().is_multiple_of(2 * self.heads);
        if !fits || !x.rows().is_multiple_of(self.tokens) {
            return Err(shape_error(
                Self::NAME,
                inputs,
                "rows that are a multiple of the tokens, and an even number of columns for each head",
            ));
        }
        Ok(x)
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let x = cx.plain(cx.graph().node(node).inputs[0])?;
        let [rows, cols] = cx.size(node);
        let dim = cols / self.heads;
        let table = cx.constant(&rope::table(self.tokens, dim, self.base))?;
        let y = cx.output(node)?;
        cx.push(rope::command([rows, self.heads, dim, self.tokens], self.back, x, table, y))
    }

    fn vjp(&self, g: &mut Graph, _: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        let back = Rope { back: !self.back, ..self.clone() };
        Ok(vec![Some(g.push(Op::Rope(back), &[d])?)])
    }

    fn jvp(&self, g: &mut Graph, _: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        t[0].map(|t| g.push(Op::Rope(self.clone()), &[t])).transpose()
    }
}
