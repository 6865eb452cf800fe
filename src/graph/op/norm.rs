//! Layer and RMS norm without their affine part. The Jacobian is symmetric, so one kernel serves both modes.

use super::{Operator, only};
use crate::graph::error::{GraphError, shape_error};
use crate::graph::lower::Lower;
use crate::graph::{Graph, Op, Result, Shape, Value};
use crate::kernel::norm::{self, NormKind};
use crate::kernel::norm_grad;

/// Each row normalised.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// Layer or RMS.
    pub kind: NormKind,
    /// Added to the variance or mean square.
    pub eps: f32,
}

/// The norm's (symmetric) Jacobian at x, applied to d.
#[derive(Clone, Debug, PartialEq)]
pub struct NormGrad {
    /// Layer or RMS.
    pub kind: NormKind,
    /// Added to the variance or mean square.
    pub eps: f32,
}

impl Operator for Norm {
    const NAME: &'static str = "norm";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        only(Self::NAME, inputs)
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        cx.norm(node, node, None)
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        let x = g.node(node).inputs[0];
        Ok(vec![Some(g.push(Op::NormGrad(NormGrad { kind: self.kind, eps: self.eps }), &[x, d])?)])
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        let x = g.node(node).inputs[0];
        t[0].map(|t| g.push(Op::NormGrad(NormGrad { kind: self.kind, eps: self.eps }), &[x, t])).transpose()
    }

    fn row_operands(&self, _: &[Shape], _: Shape) -> Option<Vec<usize>> {
        Some(vec![0])
    }
}

impl Operator for NormGrad {
    const NAME: &'static str = "norm_grad";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        match inputs {
            [x, d] if x.rows() == d.rows() && x.cols() == d.cols() => Ok(*x),
            _ => Err(shape_error(Self::NAME, inputs, "two operands of one shape")),
        }
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let (x, d) = (cx.operand(node, 0)?, cx.operand(node, 1)?);
        let y = cx.output(node)?;
        cx.push(norm_grad::command(self.kind, self.eps, cx.size(node), x, d, y))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, wanted: &[bool]) -> Result<Vec<Option<Value>>> {
        if wanted[0] {
            return Err(GraphError::NotDifferentiable {
                op: Self::NAME,
                what: "second derivative of a norm",
            });
        }
        let x = g.node(node).inputs[0];
        Ok(vec![None, Some(g.push(Op::NormGrad(self.clone()), &[x, d])?)])
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        if t[0].is_some() {
            return Err(GraphError::NotDifferentiable {
                op: Self::NAME,
                what: "second derivative of a norm",
            });
        }
        let x = g.node(node).inputs[0];
        t[1].map(|t| g.push(Op::NormGrad(self.clone()), &[x, t])).transpose()
    }

    fn row_operands(&self, _: &[Shape], _: Shape) -> Option<Vec<usize>> {
        Some(vec![0, 1])
    }
}

/// An operand of the affine part.
type Part = (crate::kernel::BufferId, crate::kernel::View);
/// The affine part that a norm kernel takes along: weight and optional bias.
pub(crate) type Affine = (Part, Option<Part>);

impl Lower<'_> {
    /// Emits the norm of `node` into `dest`, with the affine part that follows it.
    pub(crate) fn norm(&mut self, node: Value, dest: Value, affine: Option<Affine>) -> Result<()> {
        let Op::Norm(Norm { kind, eps }) = self.graph().node(node).op else {
            return Err(GraphError::Plan { kernel: "norm", what: "the node is not a norm".into() });
        };
        let x = self.operand(node, 0)?;
        let y = self.output(dest)?;
        let empty = self.empty();
        self.push(norm::command(kind, eps, self.size(node), x, affine, y, empty))
    }
}
