//! Matrix products in their three forms.

use super::Operator;
use crate::graph::error::shape_error;
use crate::graph::lower::Lower;
use crate::graph::{Graph, Op, Result, Shape, Value};
use crate::kernel::matmul::{Epilogue, Form};

/// NN: a b; NT: a bᵀ; TN: aᵀ b.
#[derive(Clone, Debug, PartialEq)]
pub struct MatMul {
    /// Which form.
    pub form: Form,
}

impl MatMul {
    /// a b.
    pub fn nn() -> MatMul {
        MatMul { form: Form::NN }
    }

    /// a bᵀ.
    pub fn nt() -> MatMul {
        MatMul { form: Form::NT }
    }

    /// aᵀ b.
    pub fn tn() -> MatMul {
        MatMul { form: Form::TN }
    }

    /// m, n, k of the product of `a` and `b`.
    pub fn sizes(&self, a: Shape, b: Shape) -> [usize; 3] {
        match self.form {
            Form::NN => [a.rows(), b.cols(), a.cols()],
            Form::NT => [a.rows(), b.rows(), a.cols()],
            Form::TN => [a.cols(), b.cols(), a.rows()],
        }
    }
}

impl Operator for MatMul {
    const NAME: &'static str = "matmul";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        let [a, b] = inputs else { return Err(shape_error(Self::NAME, inputs, "two operands")) };
        let inner = match self.form {
            Form::NN => (a.cols(), b.rows()),
            Form::NT => (a.cols(), b.cols()),
            Form::TN => (a.rows(), b.rows()),
        };
        if inner.0 != inner.1 {
            return Err(shape_error(Self::NAME, inputs, "equal inner dimensions"));
        }
        let [m, n, _] = self.sizes(*a, *b);
        Ok(match self.form {
            Form::TN => Shape::matrix(m, n),
            _ => a.with_cols(n),
        })
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        cx.matmul(node, node, &Epilogue::default())
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, wanted: &[bool]) -> Result<Vec<Option<Value>>> {
        let (a, b) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let (fa, fb) = match self.form {
            Form::NN => ((Form::NT, d, b), (Form::TN, a, d)),
            Form::NT => ((Form::NN, d, b), (Form::TN, d, a)),
            Form::TN => ((Form::NT, b, d), (Form::NN, a, d)),
        };
        let mut out = vec![None, None];
        for (i, (form, x, y)) in [fa, fb].into_iter().enumerate() {
            if wanted[i] {
                out[i] = Some(g.push(Op::MatMul(MatMul { form }), &[x, y])?);
            }
        }
        Ok(out)
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        let (a, b) = (g.node(node).inputs[0], g.node(node).inputs[1]);
        let x = t[0].map(|t| g.push(Op::MatMul(self.clone()), &[t, b])).transpose()?;
        let y = t[1].map(|t| g.push(Op::MatMul(self.clone()), &[a, t])).transpose()?;
        g.sum(x, y)
    }

    fn row_operands(&self, _: &[Shape], _: Shape) -> Option<Vec<usize>> {
        (self.form != Form::TN).then(|| vec![0])
    }
}
