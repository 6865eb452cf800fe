//! Multi-head attention with the log-sum-exp of its scores, from which the derivatives recompute the probabilities.

use super::Operator;
use crate::graph::error::{GraphError, shape_error};
use crate::graph::lower::Lower;
use crate::graph::{Graph, Op, Result, Shape, Value};
use crate::kernel::attention::{self, AttentionShape, Place, Sizes};
use crate::kernel::attention_grad_q::{self, Operands};
use crate::kernel::{Command, attention_grad_kv, attention_jvp};

/// [o | lse] of q, k and v: attention's result [batch * q_tokens, heads * dim] and, behind its columns, the log-sum-exp of the
/// scores of every head.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Heads, tokens, mask.
    pub shape: AttentionShape,
}

/// The cotangents of q, or of k and v side by side, from q, k, v, the result [o | lse] and its cotangent.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionGrad {
    /// Heads, tokens, mask.
    pub shape: AttentionShape,
    /// dq, or else [dk | dv].
    pub of_queries: bool,
}

/// The tangent of [o | lse] from q, k, v, the result and those tangents that there are, in this order.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionJvp {
    /// Heads, tokens, mask.
    pub shape: AttentionShape,
    /// Whether q, k and v have tangents.
    pub tangents: [bool; 3],
}

const SECOND: &str = "second derivative of attention";

/// The sizes of an attention of q, k and v; `None` if they do not fit.
fn sizes(shape: AttentionShape, q: Shape, k: Shape, v: Shape) -> Option<Sizes> {
    let parts = |n: usize, by: usize| (by > 0 && n > 0 && n.is_multiple_of(by)).then(|| n / by);
    let dim = parts(q.cols(), shape.heads)?;
    let batch = parts(q.rows(), shape.q_tokens)?;
    let k_batch = parts(k.rows(), shape.k_tokens)?;
    let fits = k.cols() == q.cols() && v.cols() == q.cols() && v.rows() == k.rows();
    Some(Sizes { shape, batch, k_batch_div: parts(batch, k_batch)?, dim }).filter(|_| fits)
}

fn checked(op: &'static str, shape: AttentionShape, inputs: &[Shape], count: usize) -> Result<Sizes> {
    let found = match inputs {
        [q, k, v, ..] if inputs.len() == count => sizes(shape, *q, *k, *v),
        _ => None,
    };
    let needed = "q [batch * q_tokens, heads * dim], k and v [k_batch * k_tokens, heads * dim], k_batch a divisor of batch";
    found.ok_or_else(|| shape_error(op, inputs, needed))
}

/// The shape of [o | lse].
fn result(q: Shape, shape: AttentionShape) -> Shape {
    Shape::matrix(q.rows(), q.cols() + shape.heads)
}

impl Lower<'_> {
    fn places<const N: usize>(&mut self, node: Value, first: usize) -> Result<[Place; N]> {
        let inputs = self.graph().node(node).inputs.clone();
        let mut out = [None; N];
        for (place, v) in out.iter_mut().zip(&inputs[first..]) {
            *place = Some(self.plain(*v)?);
        }
        let missing = || GraphError::Plan { kernel: "attention", what: "an operand is missing".into() };
        let found: Option<Vec<Place>> = out.into_iter().collect();
        found.and_then(|p| p.try_into().ok()).ok_or_else(missing)
    }

    /// Emits the best of the variants of a call with `dots` products along queries and keys.
    fn best(
        &mut self,
        sizes: &Sizes,
        dots: usize,
        mut commands: impl Iterator<Item = Command>,
    ) -> Result<()> {
        let AttentionShape { heads, q_tokens, k_tokens, .. } = sizes.shape;
        let pairs = sizes.batch * heads * q_tokens * k_tokens;
        self.count_flops(2.0 * (pairs * sizes.dim * dots) as f64);
        let none = || GraphError::Plan { kernel: "attention", what: "no variant suits the target".into() };
        let command = commands.next().ok_or_else(none)?;
        self.push(command)
    }

    fn attention_sizes(&self, node: Value, shape: AttentionShape) -> Result<Sizes> {
        let inputs = &self.graph().node(node).inputs;
        let shapes: Vec<Shape> = inputs.iter().map(|v| self.graph().shape(*v)).collect();
        checked("attention", shape, &shapes, shapes.len())
    }
}

impl Operator for Attention {
    const NAME: &'static str = "attention";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        checked(Self::NAME, self.shape, inputs, 3)?;
        Ok(result(inputs[0], self.shape))
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let sizes = cx.attention_sizes(node, self.shape)?;
        let [q, k, v] = cx.places(node, 0)?;
        let (out, target) = (cx.output(node)?, cx.target());
        cx.best(&sizes, 2, attention::commands(&sizes, q, k, v, out, &target))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, wanted: &[bool]) -> Result<Vec<Option<Value>>> {
        let [q, k, v] = [0, 1, 2].map(|i| g.node(node).inputs[i]);
        let width = g.shape(q).cols();
        let mut gradient = |of_queries| {
            g.push(Op::AttentionGrad(AttentionGrad { shape: self.shape, of_queries }), &[q, k, v, node, d])
        };
        let dq = if wanted[0] { Some(gradient(true)?) } else { None };
        let dkv = if wanted[1] || wanted[2] { Some(gradient(false)?) } else { None };
        let mut part = |wanted: bool, start| match dkv {
            Some(dkv) if wanted => g.slice(dkv, start, width).map(Some),
            _ => Ok(None),
        };
        Ok(vec![dq, part(wanted[1], 0)?, part(wanted[2], width)?])
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        let tangents = [0, 1, 2].map(|i| t[i].is_some());
        if !tangents.contains(&true) {
            return Ok(None);
        }
        let mut inputs = g.node(node).inputs.clone();
        inputs.push(node);
        inputs.extend(t.iter().flatten());
        g.push(Op::AttentionJvp(AttentionJvp { shape: self.shape, tangents }), &inputs).map(Some)
    }
}

impl Operator for AttentionGrad {
    const NAME: &'static str = "attention_grad";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        checked(Self::NAME, self.shape, inputs, 5)?;
        let (q, k) = (inputs[0], inputs[1]);
        let full = result(q, self.shape);
        if inputs[3..].iter().any(|s| s.rows() != full.rows() || s.cols() != full.cols()) {
            return Err(shape_error(
                Self::NAME,
                inputs,
                "the result and its cotangent, [rows of q, columns of q + heads]",
            ));
        }
        Ok(if self.of_queries { q } else { Shape::matrix(k.rows(), 2 * k.cols()) })
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let sizes = cx.attention_sizes(node, self.shape)?;
        let [q, k, v, y, d] = cx.places(node, 0)?;
        let (out, target) = (cx.output(node)?, cx.target());
        let operands = Operands { q, k, v, y, d };
        match self.of_queries {
            true => cx.best(&sizes, 3, attention_grad_q::commands(&sizes, operands, out, &target)),
            false => cx.best(&sizes, 5, attention_grad_kv::commands(&sizes, operands, out, &target)),
        }
    }

    fn vjp(&self, _: &mut Graph, _: Value, _: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        Err(GraphError::NotDifferentiable { op: Self::NAME, what: SECOND })
    }

    fn jvp(&self, _: &mut Graph, _: Value, _: &[Option<Value>]) -> Result<Option<Value>> {
        Err(GraphError::NotDifferentiable { op: Self::NAME, what: SECOND })
    }
}

impl Operator for AttentionJvp {
    const NAME: &'static str = "attention_jvp";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let count = 4 + self.tangents.iter().filter(|t| **t).count();
        checked(Self::NAME, self.shape, inputs, count)?;
        let full = result(inputs[0], self.shape);
        let primal = (0..3).filter(|i| self.tangents[*i]).map(|i| inputs[i]);
        let same = |(a, b): (&Shape, Shape)| a.rows() == b.rows() && a.cols() == b.cols();
        if !same((&inputs[3], full)) || !inputs[4..].iter().zip(primal).all(same) {
            return Err(shape_error(
                Self::NAME,
                inputs,
                "the result, and tangents shaped like their operands",
            ));
        }
        Ok(full)
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let sizes = cx.attention_sizes(node, self.shape)?;
        let primal = cx.places::<4>(node, 0)?;
        let mut tangents = [None; 3];
        let mut next = 4;
        for (tangent, has) in tangents.iter_mut().zip(self.tangents) {
            if has {
                *tangent = Some(cx.places::<1>(node, next)?[0]);
                next += 1;
            }
        }
        let (out, empty, target) = (cx.output(node)?, cx.empty(), cx.target());
        cx.best(&sizes, 5, attention_jvp::commands(&sizes, primal, tangents, out, empty, &target))
    }

    fn vjp(&self, _: &mut Graph, _: Value, _: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        Err(GraphError::NotDifferentiable { op: Self::NAME, what: SECOND })
    }

    fn jvp(&self, _: &mut Graph, _: Value, _: &[Option<Value>]) -> Result<Option<Value>> {
        Err(GraphError::NotDifferentiable { op: Self::NAME, what: SECOND })
    }
}
