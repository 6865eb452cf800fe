//! What the group norm kernel takes along: affine part, activation, then a scale and a shift (FiLM, a residual).

use super::is_vector;
use crate::graph::lower::Lower;
use crate::graph::op::binary::Binary;
use crate::graph::op::map::Map;
use crate::graph::{Graph, Op, Result, Value};
use crate::kernel::binary::BinaryOp;
use crate::kernel::group_norm::After;
use crate::kernel::math::Activation;

/// A group norm and what follows it: act(xhat weight + bias) scale + shift.
#[derive(Clone, Debug)]
pub struct Follow {
    head: Value,
    weight: Option<Value>,
    bias: Option<Value>,
    act: Activation,
    scale: Option<Value>,
    shift: Option<Value>,
}

/// Follows the users of a group norm as far as the kernel can do their work; the nodes covered after the norm itself.
pub(super) fn follow(
    graph: &Graph,
    head: Value,
    single: &dyn Fn(Value) -> Option<Value>,
) -> (Follow, Vec<Value>) {
    let none = None;
    let mut out =
        Follow { head, weight: none, bias: none, act: Activation::Identity, scale: none, shift: none };
    let mut covered = Vec::new();
    let mut at = head;
    let cols = graph.shape(head).cols();
    while let Some(user) = single(at) {
        let node = graph.node(user);
        let start = at == head;
        let modulated = out.scale.is_some() || out.shift.is_some();
        if graph.shape(user).len() != graph.shape(head).len() {
            break;
        }
        match (&node.op, node.inputs.as_slice()) {
            (Op::Fma(_), &[x, w, b])
                if start && x == at && is_vector(graph, w, cols) && is_vector(graph, b, cols) =>
            {
                (out.weight, out.bias) = (Some(w), Some(b));
            }
            (Op::Map(Map { act, order: 0 }), _) if out.act == Activation::Identity && !modulated => {
                out.act = *act;
            }
            (Op::Fma(_), &[x, s, b]) if x == at && s != at && b != at && !modulated => {
                (out.scale, out.shift) = (Some(s), Some(b));
            }
            (Op::Binary(Binary { op: BinaryOp::Add, alpha, beta }), &[l, r])
                if *alpha == 1.0 && *beta == 1.0 && l != r && out.shift.is_none() =>
            {
                out.shift = Some(if l == at { r } else { l });
            }
            _ => break,
        }
        covered.push(user);
        at = user;
    }
    (out, covered)
}

impl Follow {
    /// Emits the chain whose last node is `last`.
    pub(super) fn lower(&self, cx: &mut Lower<'_>, last: Value) -> Result<()> {
        let after = After {
            weight: self.weight.map(|w| cx.place(w)).transpose()?,
            bias: self.bias.map(|b| cx.place(b)).transpose()?,
            act: self.act,
            scale: self.scale.map(|s| cx.broadcast(last, s)).transpose()?,
            shift: self.shift.map(|s| cx.broadcast(last, s)).transpose()?,
        };
        cx.group_norm(self.head, last, &after)
    }
}
