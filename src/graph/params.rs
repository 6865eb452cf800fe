//! Where each parameter lies in one flat buffer, so that clipping, AdamW and EMA are single dispatches.

use super::{Graph, GraphError, Op, Result, Shape};
use std::collections::HashMap;
use std::sync::Arc;

/// Parameters start at multiples of this many elements: vec4 loads, whole cache lines.
const ALIGN: usize = 16;

/// One parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamInfo {
    /// Name, as in the checkpoint.
    pub name: Arc<str>,
    /// Shape, PyTorch's layout.
    pub shape: Shape,
    /// First element in the flat buffer.
    pub offset: usize,
}

/// The flat layout of all parameters, in the order in which the graph first used them. Gaps hold zeros.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParamLayout {
    params: Vec<ParamInfo>,
    by_name: HashMap<Arc<str>, usize>,
    len: usize,
}

impl ParamLayout {
    /// The parameters of a graph.
    pub fn of(graph: &Graph) -> ParamLayout {
        let mut layout = ParamLayout::default();
        for v in graph.values() {
            if let Op::Param(p) = &graph.node(v).op {
                layout.push(p.name.clone(), p.shape);
            }
        }
        layout
    }

    /// Appends a parameter (a name already there is left as it is).
    pub fn push(&mut self, name: Arc<str>, shape: Shape) {
        if self.by_name.contains_key(&name) {
            return;
        }
        self.by_name.insert(name.clone(), self.params.len());
        self.params.push(ParamInfo { name, shape, offset: self.len });
        self.len += shape.len().next_multiple_of(ALIGN);
    }

    /// Elements of the flat buffer, gaps included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no parameter.
    pub fn is_empty(&self) -> bool {
        self.params.is_empty()
    }

    /// Number of parameter elements, gaps not counted.
    pub fn count(&self) -> usize {
        self.params.iter().map(|p| p.shape.len()).sum()
    }

    /// All parameters in order.
    pub fn iter(&self) -> impl Iterator<Item = &ParamInfo> {
        self.params.iter()
    }

    /// A parameter by name.
    pub fn get(&self, name: &str) -> Result<&ParamInfo> {
        self.by_name.get(name).map(|i| &self.params[*i]).ok_or_else(|| GraphError::Unknown {
            kind: "parameter",
            name: name.into(),
            available: self.params.iter().map(|p| &*p.name).collect::<Vec<_>>().join(", "),
        })
    }
}
