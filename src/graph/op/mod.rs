//! Operations: one file each, holding the shape rule, the lowering to kernels, the vjp and the jvp.
//!
//! To add an operation, add its file and its line in the table at the end.

pub mod attention;
pub mod binary;
pub mod conv;
pub mod conv2d;
pub mod fma;
pub mod group_norm;
pub mod layout;
pub mod leaf;
pub mod manifold;
pub mod map;
pub mod matmul;
pub mod max_pool2d;
pub mod mse;
pub mod norm;
pub mod one_hot;
pub mod reduce;
pub mod rope;
pub mod softmax;
pub mod time_embed;

use super::lower::Lower;
use super::{Graph, Result, Shape, Value};

/// What every operation states about itself.
pub trait Operator {
    /// Its name in errors and listings.
    const NAME: &'static str;

    /// The result's shape, or what is wrong with the operands.
    fn shape(&self, inputs: &[Shape]) -> Result<Shape>;

    /// Emits the kernels that compute `node`.
    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()>;

    /// Cotangents of the operands (`None`: no dependence) from the cotangent `d` of the result. `wanted[i]` says
    /// whether operand i's is needed.
    fn vjp(&self, g: &mut Graph, node: Value, d: Value, wanted: &[bool]) -> Result<Vec<Option<Value>>>;

    /// The result's tangent from the operands' (`None`: zero); `None`: zero.
    fn jvp(&self, g: &mut Graph, node: Value, tangents: &[Option<Value>]) -> Result<Option<Value>>;

    /// Operands whose row i alone decides row i of the result; `None`: the operation mixes rows.
    fn row_operands(&self, _inputs: &[Shape], _output: Shape) -> Option<Vec<usize>> {
        None
    }
}

macro_rules! ops {
    ($($name:ident($ty:ty)),* $(,)?) => {
        /// One operation.
        #[derive(Clone, Debug)]
        pub enum Op {
            $(#[allow(missing_docs)] $name($ty)),*
        }

        impl Op {
            /// Its name in errors and listings.
            pub fn name(&self) -> &'static str {
                match self { $(Op::$name(_) => <$ty as Operator>::NAME),* }
            }
            pub(crate) fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
                match self { $(Op::$name(o) => o.shape(inputs)),* }
            }
            pub(crate) fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
                match self { $(Op::$name(o) => o.lower(cx, node)),* }
            }
            pub(crate) fn vjp(&self, g: &mut Graph, node: Value, d: Value, wanted: &[bool]) -> Result<Vec<Option<Value>>> {
                match self { $(Op::$name(o) => o.vjp(g, node, d, wanted)),* }
            }
            pub(crate) fn jvp(&self, g: &mut Graph, node: Value, tangents: &[Option<Value>]) -> Result<Option<Value>> {
                match self { $(Op::$name(o) => o.jvp(g, node, tangents)),* }
            }
            pub(crate) fn row_operands(&self, inputs: &[Shape], output: Shape) -> Option<Vec<usize>> {
                match self { $(Op::$name(o) => o.row_operands(inputs, output)),* }
            }
        }
    };
}

ops! {
    Input(leaf::Input),
    Param(leaf::Param),
    Constant(leaf::Constant),
    MatMul(matmul::MatMul),
    Map(map::Map),
    MapMul(map::MapMul),
    Binary(binary::Binary),
    Affine(binary::Affine),
    Broadcast(binary::Broadcast),
    Fma(fma::Fma),
    RowSum(reduce::RowSum),
    ColSum(reduce::ColSum),
    Norm(norm::Norm),
    NormGrad(norm::NormGrad),
    Softmax(softmax::Softmax),
    OneHot(one_hot::OneHot),
    SoftmaxGrad(softmax::SoftmaxGrad),
    Attention(attention::Attention),
    AttentionGrad(attention::AttentionGrad),
    AttentionJvp(attention::AttentionJvp),
    Rope(rope::Rope),
    ManifoldDot(manifold::ManifoldDot),
    ManifoldExp(manifold::ManifoldExp),
    Concat(layout::Concat),
    Slice(layout::Slice),
    Pad(layout::Pad),
    Reshape(layout::Reshape),
    RepeatRows(layout::RepeatRows),
    StopGradient(layout::StopGradient),
    TimeEmbed(time_embed::TimeEmbed),
    Mse(mse::Mse),
    Unfold1d(conv::Unfold1d),
    Fold1d(conv::Fold1d),
    Unfold2d(conv2d::Unfold2d),
    Fold2d(conv2d::Fold2d),
    MaxPool2d(max_pool2d::MaxPool2d),
    MaxPool2dJvp(max_pool2d::MaxPool2dJvp),
    MaxPool2dGrad(max_pool2d::MaxPool2dGrad),
    GroupNorm(group_norm::GroupNorm),
    GroupNormGrad(group_norm::GroupNormGrad),
}

/// The single operand of a unary operation.
pub(crate) fn only(op: &'static str, inputs: &[Shape]) -> Result<Shape> {
    match inputs {
        [one] => Ok(*one),
        _ => Err(super::error::shape_error(op, inputs, "one operand")),
    }
}

/// Sums `d` down to `shape`, undoing a broadcast of a row, column or element.
pub(crate) fn unbroadcast(g: &mut Graph, d: Value, shape: Shape) -> Result<Value> {
    let from = g.shape(d);
    let mut out = d;
    if shape.cols() == 1 && from.cols() != 1 {
        out = g.row_sum(out, 1.0)?;
    }
    if shape.rows() == 1 && from.rows() != 1 {
        out = g.col_sum(out, from.rows(), 1.0)?;
    }
    g.reshape(out, shape)
}
