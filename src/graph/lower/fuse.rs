//! Fused epilogues: chains of nodes that one kernel computes.

use super::Lower;
use crate::graph::op::binary::{Affine, Binary};
use crate::graph::op::map::{Map, MapMul};
use crate::graph::{Graph, Op, Result, Value};
use crate::kernel::binary::BinaryOp;
use crate::kernel::math::Activation;
use crate::kernel::matmul::{Epilogue, Mode};
use std::collections::{HashMap, HashSet};

mod group_norm;

/// What a value of a sampling graph depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Parameters and constants only.
    Fixed,
    /// The solver's time: computed per load, for all times at once.
    Time,
    /// The request (the observation): computed per request.
    Request,
    /// Request and time, not the state: computed per request for all times at once.
    RequestTime,
    /// The state: computed at every solver step.
    State,
}

/// A fused chain: what the kernel does after its product or norm.
#[derive(Clone, Debug)]
pub enum Chain {
    /// A matrix product and its epilogue.
    MatMul {
        /// The product.
        head: Value,
        /// Activation, mode and factors.
        act: Activation,
        /// How act is used.
        mode: Mode,
        /// Factor of the product and its bias.
        alpha: f32,
        /// Factor of the residual.
        beta: f32,
        /// A row added to the product.
        bias: Option<Value>,
        /// A matrix added after, or whose derivative multiplies.
        residual: Option<Value>,
    },
    /// A norm and its affine part.
    Norm {
        /// The norm.
        head: Value,
        /// Scale.
        weight: Value,
        /// Shift.
        bias: Option<Value>,
    },
    /// A group norm and what follows it.
    GroupNorm(group_norm::Follow),
}

/// The chains of one pass.
#[derive(Debug, Default)]
pub struct Fusion {
    chains: HashMap<Value, Chain>,
    absorbed: HashSet<Value>,
}

impl Fusion {
    /// Finds chains among `nodes`; `kept` values are outputs and end a chain.
    pub fn find(graph: &Graph, nodes: &[Value], kept: &[Value], classes: Option<&[Class]>) -> Fusion {
        let mut users: HashMap<Value, Vec<Value>> = HashMap::new();
        for &n in nodes {
            for &i in &graph.node(n).inputs {
                users.entry(i).or_default().push(n);
            }
        }
        // Values that later passes read must exist on their own.
        let single = |v: Value| match users.get(&v).map(Vec::as_slice) {
            Some([one]) if !kept.contains(&v) && !escapes(graph, v, nodes, classes) => Some(*one),
            _ => None,
        };
        let mut fusion = Fusion::default();
        for &head in nodes {
            // A sum of two products belongs to the first of them.
            let free = |v: Value| single(v).filter(|u| !fusion.taken(*u));
            let (chain, covered) = match &graph.node(head).op {
                Op::MatMul(_) => follow_matmul(graph, head, &free, classes),
                Op::Norm(_) => match follow_norm(graph, head, &free) {
                    Some(found) => found,
                    None => continue,
                },
                Op::GroupNorm(_) => {
                    let (follow, covered) = group_norm::follow(graph, head, &free);
                    (Chain::GroupNorm(follow), covered)
                }
                _ => continue,
            };
            let Some((&last, inner)) = covered.split_last() else { continue };
            fusion.absorbed.insert(head);
            fusion.absorbed.extend(inner);
            fusion.chains.insert(last, chain);
        }
        fusion
    }

    /// Whether a chain covers a node.
    fn taken(&self, v: Value) -> bool {
        self.absorbed.contains(&v) || self.chains.contains_key(&v)
    }

    /// Whether a node is computed by the end of its chain.
    pub fn absorbed(&self, v: Value) -> bool {
        self.absorbed.contains(&v)
    }

    /// The chain whose last node is `v`.
    pub fn ending_at(&self, v: Value) -> Option<&Chain> {
        self.chains.get(&v)
    }
}

/// Whether a node outside this pass reads `v`.
fn escapes(graph: &Graph, v: Value, nodes: &[Value], classes: Option<&[Class]>) -> bool {
    classes.is_some()
        && graph.values().any(|u| graph.node(u).inputs.contains(&v) && nodes.binary_search(&u).is_err())
}

/// Follows the users of a product as far as the kernel's epilogue can do their work.
fn follow_matmul(
    graph: &Graph,
    head: Value,
    single: &dyn Fn(Value) -> Option<Value>,
    classes: Option<&[Class]>,
) -> (Chain, Vec<Value>) {
    let (mut alpha, mut beta) = (1.0f32, 0.0f32);
    let (mut bias, mut residual, mut act, mut mode) = (None, None, Activation::Identity, Mode::Plain);
    let mut covered = Vec::new();
    let mut at = head;
    while let Some(user) = single(at) {
        let node = graph.node(user);
        match &node.op {
            Op::Binary(Binary { op: BinaryOp::Add, alpha: ca, beta: cb })
                if node.inputs[0] != node.inputs[1] =>
            {
                let first = node.inputs[0] == at;
                let (other, own_factor, other_factor) =
                    if first { (node.inputs[1], *ca, *cb) } else { (node.inputs[0], *cb, *ca) };
                if graph.shape(at).len() != graph.shape(user).len() {
                    break;
                }
                let plain_row = is_row(graph, other, user, classes)
                    && graph.shape(other).cols() == graph.shape(user).cols();
                if plain_row
                    && bias.is_none()
                    && residual.is_none()
                    && alpha == 1.0
                    && own_factor == 1.0
                    && other_factor == 1.0
                {
                    bias = Some(other);
                } else if residual.is_none() {
                    (alpha, beta, residual) = (alpha * own_factor, other_factor, Some(other));
                } else {
                    break;
                }
            }
            Op::Affine(Affine { scale, shift }) if *shift == 0.0 => {
                (alpha, beta) = (alpha * scale, beta * scale)
            }
            Op::Map(Map { act: a, order: 0 }) => {
                act = *a;
                covered.push(user);
                break;
            }
            Op::MapMul(MapMul { act: a, order: 1 })
                if node.inputs[1] == at && node.inputs[0] != at && bias.is_none() && residual.is_none() =>
            {
                (act, mode, residual) = (*a, Mode::MulDerivative, Some(node.inputs[0]));
                covered.push(user);
                break;
            }
            _ => break,
        }
        covered.push(user);
        at = user;
    }
    (Chain::MatMul { head, act, mode, alpha, beta, bias, residual }, covered)
}

/// Whether `v` is one row for all rows of `user`: a fixed vector, or a time's or request's row at a solver step.
fn is_row(graph: &Graph, v: Value, user: Value, classes: Option<&[Class]>) -> bool {
    let source = match &graph.node(v).op {
        Op::RepeatRows(_) => graph.node(v).inputs[0],
        _ => v,
    };
    if graph.shape(source).rows() != 1 {
        return false;
    }
    match classes {
        None => {
            matches!(graph.node(source).op, Op::Param(_) | Op::Constant(_)) || graph.shape(user).rows() > 1
        }
        // At a step there is one time, so what has one row has it for all.
        Some(c) => matches!(
            (c[source.index()], c[user.index()]),
            (Class::Fixed, _) | (Class::Time | Class::Request | Class::RequestTime, Class::State)
        ),
    }
}

/// A parameter with one element for each column: a single one, or one column stretched by a row, is not a kernel's business.
fn is_vector(graph: &Graph, v: Value, cols: usize) -> bool {
    let shape = graph.shape(v);
    matches!(graph.node(v).op, Op::Param(_)) && shape.rows() == 1 && shape.cols() == cols
}

fn follow_norm(
    graph: &Graph,
    head: Value,
    single: &dyn Fn(Value) -> Option<Value>,
) -> Option<(Chain, Vec<Value>)> {
    let user = single(head)?;
    let node = graph.node(user);
    // The affine part: a row for all or rows of its own, not what would make the result larger than the norm.
    let head_shape = graph.shape(head);
    let part = |v: Value| {
        let shape = graph.shape(v);
        v != head
            && (shape.rows() == 1 || shape.rows() == head_shape.rows())
            && (shape.cols() == 1 || shape.cols() == head_shape.cols())
    };
    match (&node.op, node.inputs.as_slice()) {
        (Op::Fma(_), [x, w, b]) if *x == head && part(*w) && part(*b) => {
            Some((Chain::Norm { head, weight: *w, bias: Some(*b) }, vec![user]))
        }
        (Op::Binary(Binary { op: BinaryOp::Mul, alpha, .. }), [x, w])
            if *alpha == 1.0 && *x == head && part(*w) =>
        {
            Some((Chain::Norm { head, weight: *w, bias: None }, vec![user]))
        }
        _ => None,
    }
}

impl Lower<'_> {
    /// Emits a fused chain whose last node is `last`.
    pub(super) fn chain(&mut self, chain: &Chain, last: Value) -> Result<()> {
        match chain {
            Chain::MatMul { head, act, mode, alpha, beta, bias, residual } => {
                let bias = match bias {
                    Some(b) => {
                        let o = self.resolve(*b)?;
                        Some((o.buffer, o.view.offset as usize))
                    }
                    None => None,
                };
                let residual = residual.map(|r| self.broadcast(last, r)).transpose()?;
                let epilogue =
                    Epilogue { act: *act, mode: *mode, alpha: *alpha, beta: *beta, bias, residual };
                self.matmul(*head, last, &epilogue)
            }
            Chain::Norm { head, weight, bias } => {
                let weight = self.broadcast(last, *weight)?;
                let bias = bias.map(|b| self.broadcast(last, b)).transpose()?;
                self.norm(*head, last, Some((weight, bias)))
            }
            Chain::GroupNorm(follow) => follow.lower(self, last),
        }
    }

    /// Where a vector starts.
    fn place(&self, v: Value) -> Result<(crate::kernel::BufferId, usize)> {
        self.resolve(v).map(|o| (o.buffer, o.view.offset as usize))
    }
}
