//! x s + b with broadcasting scale and bias.

use super::binary::broadcast_shape;
use super::{Operator, unbroadcast};
use crate::graph::error::shape_error;
use crate::graph::lower::Lower;
use crate::graph::{Graph, Result, Shape, Value};
use crate::kernel::fma;

/// y = x s + b: FiLM and the affine part of a norm.
#[derive(Clone, Debug, PartialEq)]
pub struct Fma;

impl Operator for Fma {
    const NAME: &'static str = "fma";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        if inputs.len() != 3 {
            return Err(shape_error(Self::NAME, inputs, "three operands"));
        }
        broadcast_shape(Self::NAME, inputs)
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let (x, s, b) = (cx.operand(node, 0)?, cx.operand(node, 1)?, cx.operand(node, 2)?);
        let y = cx.output(node)?;
        cx.push(fma::command(cx.size(node), x, s, b, y))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, wanted: &[bool]) -> Result<Vec<Option<Value>>> {
        let [x, s, b] = [0, 1, 2].map(|i| g.node(node).inputs[i]);
        let mut out = vec![None; 3];
        if wanted[0] {
            let dx = g.mul(d, s)?;
            out[0] = Some(unbroadcast(g, dx, g.shape(x))?);
        }
        if wanted[1] {
            let ds = g.mul(d, x)?;
            out[1] = Some(unbroadcast(g, ds, g.shape(s))?);
        }
        if wanted[2] {
            out[2] = Some(unbroadcast(g, d, g.shape(b))?);
        }
        Ok(out)
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        let [x, s] = [0, 1].map(|i| g.node(node).inputs[i]);
        let shape = g.shape(node);
        let a = t[0].map(|t| g.mul(t, s)).transpose()?;
        let b = t[1].map(|t| g.mul(x, t)).transpose()?;
        let ab = g.sum(a, b)?;
        let all = g.sum(ab, t[2])?;
        all.map(|r| g.broadcast(r, shape)).transpose()
    }

    fn row_operands(&self, inputs: &[Shape], output: Shape) -> Option<Vec<usize>> {
        Some((0..inputs.len()).filter(|&i| inputs[i].rows() == output.rows()).collect())
    }
}
