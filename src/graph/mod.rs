//! The graph: what is computed, as nodes with static shapes, named inputs and parameters.
//!
//! Reverse mode ([`Graph::vjp`]) and forward mode ([`Graph::jvp`]) are graph-to-graph transforms; [`plan`] schedules a
//! graph for a device, [`session`] keeps a plan resident and replays it.

mod convolutions;
pub mod cost;
mod derivative;
pub mod error;
pub mod lower;
mod matrix_units;
pub mod memory;
pub mod op;
pub mod packing;
pub mod params;
pub mod plan;
pub mod profile;
mod residuals;
pub mod rewrite;
pub mod rows;
pub mod session;
mod session_cpu;
mod session_gpu;
pub mod shape;
pub mod staged;
pub mod step;
mod windows;

pub use cost::{Bound, PlanCost, Rates};
pub use error::GraphError;
pub use op::Op;
pub use packing::Precision;
pub use params::ParamLayout;
pub use plan::{Plan, Program};
pub use profile::{Clock, Profile};
pub use rows::{Fusion, LAYERS, Schedule};
pub use session::Session;
pub use shape::Shape;

use crate::kernel::manifold::Parts;
use crate::kernel::manifold_exp::Way;
use crate::kernel::math::Activation;
use error::shape_error;
use op::manifold::{ManifoldDot, ManifoldExp};
use std::sync::Arc;

/// A value of a graph: the result of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(crate) u32);

impl Value {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// Its operands.
    pub inputs: Vec<Value>,
    /// Its result's shape.
    pub shape: Shape,
}

/// A pure description of a computation.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(crate) nodes: Vec<Node>,
}

/// Result of graph building.
pub type Result<T> = std::result::Result<T, GraphError>;

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// The shape of a value.
    pub fn shape(&self, v: Value) -> Shape {
        self.nodes[v.index()].shape
    }

    /// The node behind a value.
    pub fn node(&self, v: Value) -> &Node {
        &self.nodes[v.index()]
    }

    /// All values in topological order.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = Value> + use<> {
        (0..self.nodes.len() as u32).map(Value)
    }

    /// Adds a node after checking its operands' shapes.
    pub fn push(&mut self, op: Op, inputs: &[Value]) -> Result<Value> {
        let shapes: Vec<Shape> = inputs.iter().map(|v| self.shape(*v)).collect();
        let shape = op.shape(&shapes)?;
        self.nodes.push(Node { op, inputs: inputs.to_vec(), shape });
        Ok(Value(self.nodes.len() as u32 - 1))
    }

    /// A named input of the given shape, written before a run. `name` is unique within the graph.
    pub fn input(&mut self, name: &str, shape: Shape) -> Result<Value> {
        self.leaf(Op::Input(op::leaf::Input { name: name.into(), shape }))
    }

    /// A named parameter (the same name twice is the same parameter).
    pub fn param(&mut self, name: &str, shape: Shape) -> Result<Value> {
        let found = self.values().find(|v| matches!(&self.node(*v).op, Op::Param(p) if &*p.name == name));
        match found {
            Some(v) if self.shape(v) == shape => Ok(v),
            Some(v) => Err(shape_error("parameter", &[self.shape(v), shape], "one shape per name")),
            None => self.leaf(Op::Param(op::leaf::Param { name: name.into(), shape })),
        }
    }

    /// A constant; `data` has one element per element of `shape`.
    pub fn constant(&mut self, shape: Shape, data: Vec<f32>) -> Result<Value> {
        if data.len() != shape.len() {
            return Err(GraphError::Length {
                name: "constant".into(),
                found: data.len(),
                needed: shape.len(),
            });
        }
        self.leaf(Op::Constant(op::leaf::Constant { shape, data: Arc::from(data) }))
    }

    fn leaf(&mut self, op: Op) -> Result<Value> {
        if let Op::Input(new) = &op
            && self.nodes.iter().any(|n| matches!(&n.op, Op::Input(i) if i.name == new.name))
        {
            return Err(GraphError::Duplicate { kind: "input", name: new.name.to_string() });
        }
        self.push(op, &[])
    }

    /// a b: [m, k] x [k, n].
    pub fn matmul(&mut self, a: Value, b: Value) -> Result<Value> {
        self.push(Op::MatMul(op::matmul::MatMul::nn()), &[a, b])
    }

    /// a bᵀ: [m, k] x [n, k].
    pub fn matmul_nt(&mut self, a: Value, b: Value) -> Result<Value> {
        self.push(Op::MatMul(op::matmul::MatMul::nt()), &[a, b])
    }

    /// aᵀ b: [k, m] x [k, n].
    pub fn matmul_tn(&mut self, a: Value, b: Value) -> Result<Value> {
        self.push(Op::MatMul(op::matmul::MatMul::tn()), &[a, b])
    }

    /// PyTorch's linear layer: x wᵀ + b, x \[.., in\], w \[out, in\], b \[out\].
    pub fn linear(&mut self, x: Value, w: Value, b: Option<Value>) -> Result<Value> {
        let y = self.matmul_nt(x, w)?;
        match b {
            Some(b) => self.add(y, b),
            None => Ok(y),
        }
    }

    /// f(x), element by element.
    pub fn map(&mut self, act: Activation, x: Value) -> Result<Value> {
        self.push(Op::Map(op::map::Map { act, order: 0 }), &[x])
    }

    /// f^(order)(x) g, element by element; order 0, 1 or 2.
    pub fn map_mul(&mut self, act: Activation, order: u32, x: Value, g: Value) -> Result<Value> {
        self.push(Op::MapMul(op::map::MapMul { act, order }), &[x, g])
    }

    /// alpha a + beta b, broadcasting a single row, column or element of either.
    pub fn axpby(&mut self, alpha: f32, a: Value, beta: f32, b: Value) -> Result<Value> {
        self.push(Op::Binary(op::binary::Binary::add(alpha, beta)), &[a, b])
    }

    /// a + b.
    pub fn add(&mut self, a: Value, b: Value) -> Result<Value> {
        self.axpby(1.0, a, 1.0, b)
    }

    /// a - b.
    pub fn sub(&mut self, a: Value, b: Value) -> Result<Value> {
        self.axpby(1.0, a, -1.0, b)
    }

    /// a b, element by element, broadcasting.
    pub fn mul(&mut self, a: Value, b: Value) -> Result<Value> {
        self.push(Op::Binary(op::binary::Binary::mul(1.0)), &[a, b])
    }

    /// a / b, element by element, broadcasting.
    pub fn div(&mut self, a: Value, b: Value) -> Result<Value> {
        self.push(Op::Binary(op::binary::Binary::div(1.0)), &[a, b])
    }

    /// x limited to [-limit, limit], broadcasting. The bounds have no derivative; beyond them that of x is 0.
    pub fn clip(&mut self, x: Value, limit: Value) -> Result<Value> {
        self.push(Op::Binary(op::binary::Binary::clip()), &[x, limit])
    }

    /// scale x + shift.
    pub fn affine(&mut self, x: Value, scale: f32, shift: f32) -> Result<Value> {
        self.push(Op::Affine(op::binary::Affine { scale, shift }), &[x])
    }

    /// x repeated to `shape`: a single row, column or element.
    pub fn broadcast(&mut self, x: Value, shape: Shape) -> Result<Value> {
        if self.shape(x) == shape {
            return Ok(x);
        }
        self.push(Op::Broadcast(op::binary::Broadcast { shape }), &[x])
    }

    /// x s + b with broadcasting scale and bias (FiLM, a norm's affine).
    pub fn fma(&mut self, x: Value, s: Value, b: Value) -> Result<Value> {
        self.push(Op::Fma(op::fma::Fma), &[x, s, b])
    }

    /// Sum over the columns: [rows, cols] to [rows, 1], times `scale`.
    pub fn row_sum(&mut self, x: Value, scale: f32) -> Result<Value> {
        self.push(Op::RowSum(op::reduce::RowSum { scale }), &[x])
    }

    /// Sum over groups of `per_group` rows: [groups * per_group, cols] to [groups, cols], times `scale`.
    pub fn col_sum(&mut self, x: Value, per_group: usize, scale: f32) -> Result<Value> {
        self.push(Op::ColSum(op::reduce::ColSum { per_group, scale }), &[x])
    }

    /// Layer norm over the columns with optional weight and bias.
    pub fn layer_norm(
        &mut self,
        x: Value,
        weight: Option<Value>,
        bias: Option<Value>,
        eps: f32,
    ) -> Result<Value> {
        let y =
            self.push(Op::Norm(op::norm::Norm { kind: crate::kernel::norm::NormKind::Layer, eps }), &[x])?;
        self.norm_affine(y, weight, bias)
    }

    /// RMS norm over the columns with optional weight.
    pub fn rms_norm(&mut self, x: Value, weight: Option<Value>, eps: f32) -> Result<Value> {
        let y =
            self.push(Op::Norm(op::norm::Norm { kind: crate::kernel::norm::NormKind::Rms, eps }), &[x])?;
        self.norm_affine(y, weight, None)
    }

    fn norm_affine(&mut self, y: Value, weight: Option<Value>, bias: Option<Value>) -> Result<Value> {
        match (weight, bias) {
            (Some(w), Some(b)) => self.fma(y, w, b),
            (Some(w), None) => self.mul(y, w),
            (None, Some(b)) => self.add(y, b),
            (None, None) => Ok(y),
        }
    }

    /// 1 at the first largest element of every row, 0 elsewhere; without a derivative.
    pub fn one_hot(&mut self, x: Value) -> Result<Value> {
        self.push(Op::OneHot(op::one_hot::OneHot), &[x])
    }

    /// Softmax over the columns.
    pub fn softmax(&mut self, x: Value) -> Result<Value> {
        self.push(Op::Softmax(op::softmax::Softmax), &[x])
    }

    /// Scaled dot-product attention, softmax(q kᵀ / sqrt(dim)) v for every batch entry and head: q is [batch * q_tokens,
    /// heads * dim], k and v are [k_batch * k_tokens, heads * dim]. Where k_batch is less than batch, each batch entry of the
    /// keys serves as many consecutive ones of the queries (N samples of one request). Second derivatives do not exist.
    pub fn attention(
        &mut self,
        q: Value,
        k: Value,
        v: Value,
        shape: crate::kernel::attention::AttentionShape,
    ) -> Result<Value> {
        let y = self.push(Op::Attention(op::attention::Attention { shape }), &[q, k, v])?;
        self.slice(y, 0, self.shape(q).cols())
    }

    /// Rotary position embedding (Su 2021, pairs as in GPT-NeoX) of the columns of each of `heads` heads; row r of x has
    /// position r % tokens.
    pub fn rope(&mut self, x: Value, heads: usize, tokens: usize, base: f64) -> Result<Value> {
        self.push(Op::Rope(op::rope::Rope { heads, tokens, base, back: false }), &[x])
    }

    /// The projection of v to the tangent space at x, both [rows, n * action_dim]: v - <v, x> x on the curved parts of each action,
    /// where x is of unit length.
    pub fn tangent(&mut self, x: Value, v: Value, parts: &Parts) -> Result<Value> {
        let along = self.push(Op::ManifoldDot(ManifoldDot { parts: parts.clone() }), &[v, x, x])?;
        self.sub(v, along)
    }

    /// Where x comes to along w on a product of manifolds, both [rows, n * action_dim]; no derivative exists.
    pub fn manifold_exp(&mut self, x: Value, w: Value, parts: &Parts, way: Way) -> Result<Value> {
        self.push(Op::ManifoldExp(ManifoldExp { parts: parts.clone(), way }), &[x, w])
    }

    /// Columns side by side; every part has the same rows.
    pub fn concat(&mut self, parts: &[Value]) -> Result<Value> {
        match parts {
            [one] => Ok(*one),
            _ => self.push(Op::Concat(op::layout::Concat), parts),
        }
    }

    /// Columns `start .. start + len`.
    pub fn slice(&mut self, x: Value, start: usize, len: usize) -> Result<Value> {
        if start == 0 && len == self.shape(x).cols() {
            return Ok(x);
        }
        self.push(Op::Slice(op::layout::Slice { start, len }), &[x])
    }

    /// The same elements under another shape.
    pub fn reshape(&mut self, x: Value, shape: Shape) -> Result<Value> {
        if self.shape(x) == shape {
            return Ok(x);
        }
        self.push(Op::Reshape(op::layout::Reshape { shape }), &[x])
    }

    /// Every row `times` times in a row.
    pub fn repeat_rows(&mut self, x: Value, times: usize) -> Result<Value> {
        match times {
            1 => Ok(x),
            _ => self.push(Op::RepeatRows(op::layout::RepeatRows { times }), &[x]),
        }
    }

    /// x, through which no derivative flows.
    pub fn stop_gradient(&mut self, x: Value) -> Result<Value> {
        self.push(Op::StopGradient(op::layout::StopGradient), &[x])
    }

    /// The embeddings of times t [rows, n], side by side: [rows, n * dim].
    pub fn time_embedding(
        &mut self,
        kind: &crate::kernel::time_embed::TimeEmbedding,
        t: Value,
    ) -> Result<Value> {
        self.push(Op::TimeEmbed(op::time_embed::TimeEmbed { kind: *kind, order: 0 }), &[t])
    }

    /// mean (a - b)^2 as [1, 1].
    pub fn mse(&mut self, a: Value, b: Value) -> Result<Value> {
        self.push(Op::Mse(op::mse::Mse), &[a, b])
    }
}
