//! Element-wise maps f(x) and their derivatives f^(k)(x) g.

use super::{Operator, only};
use crate::graph::error::{GraphError, shape_error};
use crate::graph::lower::Lower;
use crate::graph::{Graph, Op, Result, Shape, Value};
use crate::kernel::math::Activation;
use crate::kernel::{map, map_mul};

/// y = f^(order)(x).
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// f.
    pub act: Activation,
    /// Derivative order, 0 to 2.
    pub order: u32,
}

/// y = f^(order)(x) g: what the chain rule needs.
#[derive(Clone, Debug, PartialEq)]
pub struct MapMul {
    /// f.
    pub act: Activation,
    /// Derivative order, 0 to 2.
    pub order: u32,
}

const THIRD: GraphError = GraphError::NotDifferentiable { op: "map", what: "third derivative" };

impl Operator for Map {
    const NAME: &'static str = "map";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        if self.order > 2 { Err(THIRD) } else { only(Self::NAME, inputs) }
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let x = cx.operand(node, 0)?;
        let y = cx.output(node)?;
        cx.push(map::command(self.act, self.order, cx.size(node), x, y))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        let x = g.node(node).inputs[0];
        Ok(vec![Some(g.map_mul(self.act, self.order + 1, x, d)?)])
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        let x = g.node(node).inputs[0];
        t[0].map(|t| g.map_mul(self.act, self.order + 1, x, t)).transpose()
    }

    fn row_operands(&self, _: &[Shape], _: Shape) -> Option<Vec<usize>> {
        Some(vec![0])
    }
}

impl Operator for MapMul {
    const NAME: &'static str = "map_mul";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        if self.order > 2 {
            return Err(THIRD);
        }
        match inputs {
            [x, g] if x.rows() == g.rows() && x.cols() == g.cols() => Ok(*x),
            _ => Err(shape_error(Self::NAME, inputs, "two operands of one shape")),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let (x, g) = (cx.operand(node, 0)?, cx.operand(node, 1)?);
        let y = cx.output(node)?;
        cx.push(map_mul::command(self.act, self.order, cx.size(node), x, g, y))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, wanted: &[bool]) -> Result<Vec<Option<Value>>> {
        let (x, h) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let dx = if wanted[0] {
            let dh = g.mul(d, h)?;
            Some(g.map_mul(self.act, self.order + 1, x, dh)?)
        } else {
            None
        };
        let dh = if wanted[1] { Some(g.map_mul(self.act, self.order, x, d)?) } else { None };
        Ok(vec![dx, dh])
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        let (x, h) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let first = match t[0] {
            Some(tx) => {
                let th = g.mul(tx, h)?;
                Some(g.push(Op::MapMul(MapMul { act: self.act, order: self.order + 1 }), &[x, th])?)
            }
            None => None,
        };
        let second = t[1].map(|th| g.map_mul(self.act, self.order, x, th)).transpose()?;
        g.sum(first, second)
    }

    fn row_operands(&self, _: &[Shape], _: Shape) -> Option<Vec<usize>> {
        Some(vec![0, 1])
    }
}
