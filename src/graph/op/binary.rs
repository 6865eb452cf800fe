//! Arithmetic of two broadcasting operands, scale and shift, broadcasting.

use super::{Operator, only, unbroadcast};
use crate::graph::error::{GraphError, shape_error};
use crate::graph::lower::Lower;
use crate::graph::{Graph, Op, Result, Shape, Value};
use crate::kernel::binary::{self, BinaryOp};

/// alpha a + beta b, alpha a b, alpha a / b, or alpha a limited by b; a single row, column or element of either operand is
/// broadcast.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// Which.
    pub op: BinaryOp,
    /// alpha.
    pub alpha: f32,
    /// beta (of the sum only).
    pub beta: f32,
}

impl Binary {
    /// alpha a + beta b.
    pub fn add(alpha: f32, beta: f32) -> Binary {
        Binary { op: BinaryOp::Add, alpha, beta }
    }

    /// alpha a b.
    pub fn mul(alpha: f32) -> Binary {
        Binary { op: BinaryOp::Mul, alpha, beta: 0.0 }
    }

    /// alpha a / b.
    pub fn div(alpha: f32) -> Binary {
        Binary { op: BinaryOp::Div, alpha, beta: 0.0 }
    }

    /// a limited to [-b, b]. Bounds have no derivative.
    pub fn clip() -> Binary {
        Binary { op: BinaryOp::Clip, alpha: 1.0, beta: 0.0 }
    }
}

const BOUNDS: GraphError = GraphError::NotDifferentiable { op: "clip", what: "bounds" };

impl Binary {
    /// The derivative of a clip by what is clipped.
    fn inside(&self, g: &mut Graph, [a, b]: [Value; 2]) -> Result<Value> {
        g.push(Op::Binary(Binary { op: BinaryOp::Inside, ..self.clone() }), &[a, b])
    }
}

/// The common shape of operands that broadcast a single row, column or element; the larger one's dimensions win.
pub(crate) fn broadcast_shape(op: &'static str, inputs: &[Shape]) -> Result<Shape> {
    let rows = inputs.iter().map(Shape::rows).max().unwrap_or(1);
    let cols = inputs.iter().map(Shape::cols).max().unwrap_or(1);
    let fits =
        inputs.iter().all(|s| (s.rows() == rows || s.rows() == 1) && (s.cols() == cols || s.cols() == 1));
    if !fits || inputs.is_empty() {
        return Err(shape_error(op, inputs, "equal shapes, or a single row, column or element to broadcast"));
    }
    let full = inputs.iter().find(|s| s.rows() == rows && s.cols() == cols);
    Ok(full.copied().unwrap_or(Shape::matrix(rows, cols)))
}

impl Operator for Binary {
    const NAME: &'static str = "binary";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        if inputs.len() != 2 {
            return Err(shape_error(Self::NAME, inputs, "two operands"));
        }
        broadcast_shape(Self::NAME, inputs)
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let (a, b) = (cx.operand(node, 0)?, cx.operand(node, 1)?);
        let y = cx.output(node)?;
        cx.push(binary::command(self.op, [self.alpha, self.beta, 0.0], cx.size(node), a, b, y))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, wanted: &[bool]) -> Result<Vec<Option<Value>>> {
        let (a, b) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let scaled = |g: &mut Graph, d: Value, s: f32| if s == 1.0 { Ok(d) } else { g.affine(d, s, 0.0) };
        let mut out = vec![None, None];
        if self.op == BinaryOp::Inside {
            return Ok(out);
        }
        if wanted[0] {
            let da = match self.op {
                BinaryOp::Clip | BinaryOp::Inside => {
                    let inside = self.inside(g, [a, b])?;
                    g.mul(d, inside)?
                }
                BinaryOp::Add => scaled(g, d, self.alpha)?,
                BinaryOp::Mul => {
                    let x = g.mul(d, b)?;
                    scaled(g, x, self.alpha)?
                }
                BinaryOp::Div => {
                    let x = g.div(d, b)?;
                    scaled(g, x, self.alpha)?
                }
            };
            out[0] = Some(unbroadcast(g, da, g.shape(a))?);
        }
        if wanted[1] {
            let db = match self.op {
                BinaryOp::Add => scaled(g, d, self.beta)?,
                BinaryOp::Mul => {
                    let x = g.mul(d, a)?;
                    scaled(g, x, self.alpha)?
                }
                BinaryOp::Clip | BinaryOp::Inside => return Err(BOUNDS),
                // d(alpha a / b)/db = -y / b.
                BinaryOp::Div => {
                    let x = g.mul(d, node)?;
                    let x = g.div(x, b)?;
                    scaled(g, x, -1.0)?
                }
            };
            out[1] = Some(unbroadcast(g, db, g.shape(b))?);
        }
        Ok(out)
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        let (a, b) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let shape = g.shape(node);
        let result = match self.op {
            BinaryOp::Add => match (t[0], t[1]) {
                (Some(x), Some(y)) => Some(g.axpby(self.alpha, x, self.beta, y)?),
                (Some(x), None) => Some(g.affine(x, self.alpha, 0.0)?),
                (None, Some(y)) => Some(g.affine(y, self.beta, 0.0)?),
                (None, None) => None,
            },
            BinaryOp::Mul => {
                let x = t[0].map(|x| g.mul(x, b)).transpose()?;
                let y = t[1].map(|y| g.mul(a, y)).transpose()?;
                let s = g.sum(x, y)?;
                s.map(|s| if self.alpha == 1.0 { Ok(s) } else { g.affine(s, self.alpha, 0.0) }).transpose()?
            }
            BinaryOp::Div => {
                let x = match t[0] {
                    Some(x) => Some(g.push(Op::Binary(Binary::div(self.alpha)), &[x, b])?),
                    None => None,
                };
                let y = match t[1] {
                    Some(y) => {
                        let q = g.mul(node, y)?;
                        Some(g.push(Op::Binary(Binary::div(-1.0)), &[q, b])?)
                    }
                    None => None,
                };
                g.sum(x, y)?
            }
            BinaryOp::Clip => {
                if t[1].is_some() {
                    return Err(BOUNDS);
                }
                let inside = self.inside(g, [a, b])?;
                t[0].map(|t| g.mul(t, inside)).transpose()?
            }
            BinaryOp::Inside => None,
        };
        result.map(|r| g.broadcast(r, shape)).transpose()
    }

    fn row_operands(&self, inputs: &[Shape], output: Shape) -> Option<Vec<usize>> {
        Some((0..inputs.len()).filter(|&i| inputs[i].rows() == output.rows()).collect())
    }
}

/// scale x + shift.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// Factor.
    pub scale: f32,
    /// Summand.
    pub shift: f32,
}

impl Operator for Affine {
    const NAME: &'static str = "affine";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        only(Self::NAME, inputs)
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let x = cx.operand(node, 0)?;
        let y = cx.output(node)?;
        cx.push(binary::command(BinaryOp::Add, [self.scale, 0.0, self.shift], cx.size(node), x, x, y))
    }

    fn vjp(&self, g: &mut Graph, _: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(g.affine(d, self.scale, 0.0)?)])
    }

    fn jvp(&self, g: &mut Graph, _: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        t[0].map(|t| g.affine(t, self.scale, 0.0)).transpose()
    }

    fn row_operands(&self, _: &[Shape], _: Shape) -> Option<Vec<usize>> {
        Some(vec![0])
    }
}

/// A single row, column or element repeated to a shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Broadcast {
    /// The result's shape.
    pub shape: Shape,
}

impl Operator for Broadcast {
    const NAME: &'static str = "broadcast";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let x = only(Self::NAME, inputs)?;
        broadcast_shape(Self::NAME, &[x, self.shape])?;
        Ok(self.shape)
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let x = cx.operand(node, 0)?;
        let y = cx.output(node)?;
        cx.push(binary::command(BinaryOp::Add, [1.0, 0.0, 0.0], cx.size(node), x, x, y))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        let x = g.node(node).inputs[0];
        Ok(vec![Some(unbroadcast(g, d, g.shape(x))?)])
    }

    fn jvp(&self, g: &mut Graph, _: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        t[0].map(|t| g.broadcast(t, self.shape)).transpose()
    }
}
