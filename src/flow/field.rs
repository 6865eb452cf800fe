//! Velocity fields: what an integrator integrates.

use crate::graph::{Graph, Result, Value};

/// A field da/dt = v(a, t, request), described as a graph.
pub trait Field {
    /// Columns of the state.
    fn dim(&self) -> usize;

    /// Names and columns of the inputs that belong to a request (an observation): one row per request.
    fn request(&self) -> Vec<(&'static str, usize)> {
        Vec::new()
    }

    /// The velocity [rows, dim] of `state` [rows, dim] at `time` ([1, 1] or [rows, 1]); `request` has one value per entry of
    /// [`Field::request`], [requests, columns] with rows a multiple of the requests.
    fn velocity(&self, g: &mut Graph, state: Value, time: Value, request: &[Value]) -> Result<Value>;
}

/// A field from a closure over state and time, without requests.
pub struct FnField<F> {
    dim: usize,
    build: F,
}

impl<F: Fn(&mut Graph, Value, Value) -> Result<Value>> FnField<F> {
    /// The field `build(graph, state, time)` on states of `dim` columns.
    pub fn new(dim: usize, build: F) -> FnField<F> {
        FnField { dim, build }
    }
}

impl<F: Fn(&mut Graph, Value, Value) -> Result<Value>> Field for FnField<F> {
    fn dim(&self) -> usize {
        self.dim
    }

    fn velocity(&self, g: &mut Graph, state: Value, time: Value, _: &[Value]) -> Result<Value> {
        (self.build)(g, state, time)
    }
}
