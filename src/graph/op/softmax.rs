//! Softmax over the columns; its Jacobian diag(p) - p pᵀ is symmetric.

use super::{Operator, only};
use crate::graph::error::shape_error;
use crate::graph::lower::Lower;
use crate::graph::{Graph, Op, Result, Shape, Value};
use crate::kernel::{softmax, softmax_grad};

/// p_j = exp(x_j) / sum exp(x).
#[derive(Clone, Debug, PartialEq)]
pub struct Softmax;

/// p (d - sum p d): the Jacobian at p applied to d.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftmaxGrad;

impl Operator for Softmax {
    const NAME: &'static str = "softmax";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        only(Self::NAME, inputs)
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let x = cx.operand(node, 0)?;
        let y = cx.output(node)?;
        cx.push(softmax::command(cx.size(node), x, y))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(g.push(Op::SoftmaxGrad(SoftmaxGrad), &[node, d])?)])
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        t[0].map(|t| g.push(Op::SoftmaxGrad(SoftmaxGrad), &[node, t])).transpose()
    }

    fn row_operands(&self, _: &[Shape], _: Shape) -> Option<Vec<usize>> {
        Some(vec![0])
    }
}

impl Operator for SoftmaxGrad {
    const NAME: &'static str = "softmax_grad";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        match inputs {
            [p, d] if p.rows() == d.rows() && p.cols() == d.cols() => Ok(*p),
            _ => Err(shape_error(Self::NAME, inputs, "two operands of one shape")),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let (p, d) = (cx.operand(node, 0)?, cx.operand(node, 1)?);
        let y = cx.output(node)?;
        cx.push(softmax_grad::command(cx.size(node), p, d, y))
    }

    fn vjp(&self, g: &mut Graph, node: Value, c: Value, wanted: &[bool]) -> Result<Vec<Option<Value>>> {
        // y = p d - p s, s = sum p d: dy/dd is the same symmetric map; dp = c d - c s - d sum(c p).
        let (p, d) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let dp = if wanted[0] { Some(gradient_in_p(g, p, d, c)?) } else { None };
        let dd = if wanted[1] { Some(g.push(Op::SoftmaxGrad(SoftmaxGrad), &[p, c])?) } else { None };
        Ok(vec![dp, dd])
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        let (p, d) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let first = match t[0] {
            // tp (d - s) - p sum(tp d)
            Some(tp) => {
                let pd = g.mul(p, d)?;
                let s = g.row_sum(pd, 1.0)?;
                let centred = g.sub(d, s)?;
                let left = g.mul(tp, centred)?;
                let td = g.mul(tp, d)?;
                let r = g.row_sum(td, 1.0)?;
                let right = g.mul(p, r)?;
                Some(g.sub(left, right)?)
            }
            None => None,
        };
        let second = t[1].map(|t| g.push(Op::SoftmaxGrad(SoftmaxGrad), &[p, t])).transpose()?;
        g.sum(first, second)
    }

    fn row_operands(&self, _: &[Shape], _: Shape) -> Option<Vec<usize>> {
        Some(vec![0, 1])
    }
}

fn gradient_in_p(g: &mut Graph, p: Value, d: Value, c: Value) -> Result<Value> {
    let pd = g.mul(p, d)?;
    let s = g.row_sum(pd, 1.0)?;
    let centred = g.sub(d, s)?;
    let left = g.mul(c, centred)?;
    let cp = g.mul(c, p)?;
    let r = g.row_sum(cp, 1.0)?;
    let right = g.mul(d, r)?;
    g.sub(left, right)
}
