//! Group norm without its affine part. The Jacobian is symmetric, so one kernel serves both modes.

use super::conv::whole_samples;
use super::{Operator, only};
use crate::graph::error::{GraphError, shape_error};
use crate::graph::lower::Lower;
use crate::graph::{Graph, Op, Result, Shape, Value};
use crate::kernel::group_norm::{self, After, Groups};
use crate::kernel::group_norm_grad;

/// Every group of adjacent channels normalised over the steps of a sample; rows are samples * steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNorm {
    /// Rows of a sample.
    pub steps: usize,
    /// Groups.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
}

/// The norm's (symmetric) Jacobian at x, applied to d.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNormGrad(pub GroupNorm);

impl GroupNorm {
    fn check(&self, op: &'static str, x: Shape) -> Result<Groups> {
        let samples = whole_samples(op, x, self.steps)?;
        if self.groups == 0 || !x.cols().is_multiple_of(self.groups) {
            let found = format!("{x} in {} groups", self.groups);
            return Err(GraphError::Shape { op, found, needed: "channels that the groups divide" });
        }
        Ok(Groups { samples, steps: self.steps, channels: x.cols(), groups: self.groups })
    }
}

impl Operator for GroupNorm {
    const NAME: &'static str = "group_norm";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let x = only(Self::NAME, inputs)?;
        self.check(Self::NAME, x)?;
        Ok(x)
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        cx.group_norm(node, node, &After::default())
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        let x = g.node(node).inputs[0];
        Ok(vec![Some(g.push(Op::GroupNormGrad(GroupNormGrad(*self)), &[x, d])?)])
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        let x = g.node(node).inputs[0];
        t[0].map(|t| g.push(Op::GroupNormGrad(GroupNormGrad(*self)), &[x, t])).transpose()
    }
}

impl Operator for GroupNormGrad {
    const NAME: &'static str = "group_norm_grad";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        match inputs {
            [x, d] if x.rows() == d.rows() && x.cols() == d.cols() => {
                self.0.check(Self::NAME, *x)?;
                Ok(*x)
            }
            _ => Err(shape_error(Self::NAME, inputs, "two operands of one shape")),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let shape = self.0.check(Self::NAME, cx.graph().shape(node))?;
        let (x, d) = (cx.operand(node, 0)?, cx.operand(node, 1)?);
        let y = cx.output(node)?;
        cx.push(group_norm_grad::command(self.0.eps, shape, x, d, y))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, wanted: &[bool]) -> Result<Vec<Option<Value>>> {
        if wanted[0] {
            return Err(SECOND);
        }
        let x = g.node(node).inputs[0];
        Ok(vec![None, Some(g.push(Op::GroupNormGrad(*self), &[x, d])?)])
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        if t[0].is_some() {
            return Err(SECOND);
        }
        let x = g.node(node).inputs[0];
        t[1].map(|t| g.push(Op::GroupNormGrad(*self), &[x, t])).transpose()
    }
}

const SECOND: GraphError =
    GraphError::NotDifferentiable { op: "group_norm_grad", what: "second derivative of a norm" };

impl Graph {
    /// PyTorch's GroupNorm on channels-last rows [samples * steps, channels]: statistics over the steps and a group's
    /// channels, optional weight and bias \[channels\].
    pub fn group_norm(
        &mut self,
        x: Value,
        norm: GroupNorm,
        weight: Option<Value>,
        bias: Option<Value>,
    ) -> Result<Value> {
        let y = self.push(Op::GroupNorm(norm), &[x])?;
        self.norm_affine(y, weight, bias)
    }
}

impl Lower<'_> {
    /// Emits the group norm of `node` into `dest`, with what follows it.
    pub(crate) fn group_norm(&mut self, node: Value, dest: Value, after: &After) -> Result<()> {
        let Op::GroupNorm(norm) = self.graph().node(node).op else {
            return Err(GraphError::Plan {
                kernel: "group_norm",
                what: "the node is not a group norm".into(),
            });
        };
        let shape = norm.check(GroupNorm::NAME, self.graph().shape(node))?;
        let x = self.operand(node, 0)?;
        let y = self.output(dest)?;
        let empty = self.empty();
        self.push(group_norm::command(norm.eps, shape, x, after, y, empty))
    }
}
