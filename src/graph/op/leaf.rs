//! Leaves: inputs, parameters and constants.

use super::Operator;
use crate::graph::lower::Lower;
use crate::graph::{Graph, Result, Shape, Value};
use std::sync::Arc;

/// A value written before a run.
#[derive(Clone, Debug)]
pub struct Input {
    /// Unique name.
    pub name: Arc<str>,
    /// Its shape.
    pub shape: Shape,
}

/// A learned value, stored by name.
#[derive(Clone, Debug)]
pub struct Param {
    /// Name, as in the checkpoint (`layers.0.weight`).
    pub name: Arc<str>,
    /// Its shape, PyTorch's layout.
    pub shape: Shape,
}

/// A fixed value.
#[derive(Clone, Debug)]
pub struct Constant {
    /// Its shape.
    pub shape: Shape,
    /// Its elements, row-major.
    pub data: Arc<[f32]>,
}

macro_rules! leaf {
    ($ty:ty, $name:literal) => {
        impl Operator for $ty {
            const NAME: &'static str = $name;

            fn shape(&self, _: &[Shape]) -> Result<Shape> {
                Ok(self.shape)
            }

            fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
                cx.leaf(node)
            }

            fn vjp(&self, _: &mut Graph, _: Value, _: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
                Ok(Vec::new())
            }

            fn jvp(&self, _: &mut Graph, _: Value, _: &[Option<Value>]) -> Result<Option<Value>> {
                Ok(None)
            }
        }
    };
}

leaf!(Input, "input");
leaf!(Param, "param");
leaf!(Constant, "constant");
