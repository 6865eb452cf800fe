//! Layers: they add parameters by name to a graph and note how each is initialised.

use crate::graph::{Graph, Result, Shape, Value};
use crate::kernel::math::Activation;

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Uniform in [-bound, bound].
    Uniform(f32),
    /// Normal with mean 0 and this standard deviation.
    Normal(f32),
    /// All ones.
    Ones,
    /// All zeros.
    Zeros,
}

/// A parameter of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Name, as PyTorch would have it.
    pub name: String,
    /// Shape, PyTorch's layout.
    pub shape: Shape,
    /// Start.
    pub init: Init,
}

/// A graph under construction and the parameters added to it so far.
pub struct Builder<'g> {
    /// The graph.
    pub graph: &'g mut Graph,
    /// The parameters, in order of first use.
    pub params: Vec<ParamSpec>,
}

impl<'g> Builder<'g> {
    /// A builder on `graph`.
    pub fn new(graph: &'g mut Graph) -> Builder<'g> {
        Builder { graph, params: Vec::new() }
    }

    /// A parameter by name; the same name twice is the same parameter.
    pub fn param(&mut self, name: String, dims: &[usize], init: Init) -> Result<Value> {
        let shape = Shape::new(dims)
            .unwrap_or(Shape::matrix(dims.iter().fold(1, |n: usize, dim| n.saturating_mul(*dim)), 1));
        let value = self.graph.param(&name, shape)?;
        if !self.params.iter().any(|p| p.name == name) {
            self.params.push(ParamSpec { name, shape, init });
        }
        Ok(value)
    }

    /// PyTorch's Linear: `name.weight` \[out, in\] and `name.bias` \[out\], both uniform in +-1/sqrt(in).
    pub fn linear(&mut self, name: &str, x: Value, out: usize) -> Result<Value> {
        let cols = self.graph.shape(x).cols();
        let bound = 1.0 / (cols as f32).sqrt();
        let w = self.param(format!("{name}.weight"), &[out, cols], Init::Uniform(bound))?;
        let b = self.param(format!("{name}.bias"), &[out], Init::Uniform(bound))?;
        self.graph.linear(x, w, Some(b))
    }

    /// PyTorch's LayerNorm over the columns, eps 1e-5: `name.weight` ones, `name.bias` zeros.
    pub fn layer_norm(&mut self, name: &str, x: Value) -> Result<Value> {
        let cols = self.graph.shape(x).cols();
        let w = self.param(format!("{name}.weight"), &[cols], Init::Ones)?;
        let b = self.param(format!("{name}.bias"), &[cols], Init::Zeros)?;
        self.graph.layer_norm(x, Some(w), Some(b), 1e-5)
    }

    /// x (1 + scale) + shift, with scale and shift from `name`, a linear layer of the condition `c`.
    pub fn film(&mut self, name: &str, x: Value, c: Value) -> Result<Value> {
        let (rows, cols) = (self.graph.shape(x).rows(), self.graph.shape(x).cols());
        let both = self.linear(name, c, cols.saturating_mul(2))?;
        let scale = self.graph.slice(both, 0, cols)?;
        let scale = self.graph.affine(scale, 1.0, 1.0)?;
        let shift = self.graph.slice(both, cols, cols)?;
        let (scale, shift) = (self.rows(scale, rows)?, self.rows(shift, rows)?);
        self.graph.fma(x, scale, shift)
    }

    /// An activation.
    pub fn activate(&mut self, act: Activation, x: Value) -> Result<Value> {
        self.graph.map(act, x)
    }

    /// `x` with its rows repeated up to `rows`.
    pub fn rows(&mut self, x: Value, rows: usize) -> Result<Value> {
        let have = self.graph.shape(x).rows();
        self.graph.repeat_rows(x, rows.checked_div(have).unwrap_or(1))
    }

    /// Columns side by side; parts with fewer rows are repeated.
    pub fn concat(&mut self, parts: &[Value]) -> Result<Value> {
        let rows = parts.iter().map(|p| self.graph.shape(*p).rows()).max().unwrap_or(1);
        let parts = parts.iter().map(|p| self.rows(*p, rows)).collect::<Result<Vec<_>>>()?;
        self.graph.concat(&parts)
    }
}
