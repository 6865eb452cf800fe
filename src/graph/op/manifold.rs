//! Operations on actions some of whose columns lie on curved manifolds.

use super::Operator;
use crate::graph::error::{GraphError, shape_error};
use crate::graph::lower::Lower;
use crate::graph::{Graph, Op, Result, Shape, Value};
use crate::kernel::manifold::Parts;
use crate::kernel::manifold_dot;
use crate::kernel::manifold_exp::{self, Way};

/// Operands of one shape, chunks of whole actions.
fn chunks<const N: usize>(op: &'static str, parts: &Parts, inputs: &[Shape]) -> Result<Shape> {
    let fits = |first: &Shape| {
        inputs.len() == N && first.cols().is_multiple_of(parts.dim()) && inputs.iter().all(|s| s == first)
    };
    match inputs.first().filter(|first| fits(first)) {
        Some(first) => Ok(*first),
        None => Err(shape_error(
            op,
            inputs,
            "operands of one shape, their columns a multiple of an action's values",
        )),
    }
}

/// y = <a, b> c over every curved part of every action, 0 on flat parts. It is linear in each operand, and so are its derivatives,
/// which are of the same kind.
#[derive(Clone, Debug, PartialEq)]
pub struct ManifoldDot {
    /// The parts of an action.
    pub parts: Parts,
}

impl ManifoldDot {
    fn of(&self, g: &mut Graph, [a, b, c]: [Value; 3]) -> Result<Value> {
        g.push(Op::ManifoldDot(self.clone()), &[a, b, c])
    }
}

impl Operator for ManifoldDot {
    const NAME: &'static str = "manifold_dot";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        chunks::<3>(Self::NAME, &self.parts, inputs)
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let [rows, cols] = cx.size(node);
        let inputs = &cx.graph().node(node).inputs;
        let (a, b, c) = (cx.plain(inputs[0])?, cx.plain(inputs[1])?, cx.plain(inputs[2])?);
        let table = cx.constant(&self.parts.table())?;
        let y = cx.output(node)?;
        cx.push(manifold_dot::command([rows, cols / self.parts.dim()], &self.parts, [a, b, c], table, y))
    }

    fn vjp(&self, g: &mut Graph, node: Value, d: Value, wanted: &[bool]) -> Result<Vec<Option<Value>>> {
        let [a, b, c] = [0, 1, 2].map(|i| g.node(node).inputs[i]);
        let all = [[c, d, b], [c, d, a], [a, b, d]];
        all.into_iter().zip(wanted).map(|(x, w)| w.then(|| self.of(g, x)).transpose()).collect()
    }

    fn jvp(&self, g: &mut Graph, node: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        let [a, b, c] = [0, 1, 2].map(|i| g.node(node).inputs[i]);
        let mut total = None;
        for x in [t[0].map(|t| [t, b, c]), t[1].map(|t| [a, t, c]), t[2].map(|t| [a, b, t])] {
            let term = x.map(|x| self.of(g, x)).transpose()?;
            total = g.sum(total, term)?;
        }
        Ok(total)
    }

    fn row_operands(&self, _: &[Shape], _: Shape) -> Option<Vec<usize>> {
        Some(vec![0, 1, 2])
    }
}

/// Where actions x come to along w: x + w on flat parts; on curved ones along the geodesic or straight on and back to the manifold.
/// It has no derivative here: samplers step by it.
#[derive(Clone, Debug, PartialEq)]
pub struct ManifoldExp {
    /// The parts of an action.
    pub parts: Parts,
    /// How curved parts move.
    pub way: Way,
}

const NO_DERIVATIVE: GraphError =
    GraphError::NotDifferentiable { op: "manifold_exp", what: "derivative of a step on a manifold" };

impl Operator for ManifoldExp {
    const NAME: &'static str = "manifold_exp";

    fn shape(&self, inputs: &[Shape]) -> Result<Shape> {
        chunks::<2>(Self::NAME, &self.parts, inputs)
    }

    fn lower(&self, cx: &mut Lower<'_>, node: Value) -> Result<()> {
        let [rows, cols] = cx.size(node);
        let inputs = &cx.graph().node(node).inputs;
        let (x, w) = (cx.plain(inputs[0])?, cx.plain(inputs[1])?);
        let table = cx.constant(&self.parts.table())?;
        let y = cx.output(node)?;
        let size = [rows, cols / self.parts.dim()];
        cx.push(manifold_exp::command(size, &self.parts, self.way, [x, w], table, y))
    }

    fn vjp(&self, _: &mut Graph, _: Value, _: Value, _: &[bool]) -> Result<Vec<Option<Value>>> {
        Err(NO_DERIVATIVE)
    }

    fn jvp(&self, _: &mut Graph, _: Value, t: &[Option<Value>]) -> Result<Option<Value>> {
        match t.iter().all(Option::is_none) {
            true => Ok(None),
            false => Err(NO_DERIVATIVE),
        }
    }

    fn row_operands(&self, _: &[Shape], _: Shape) -> Option<Vec<usize>> {
        Some(vec![0, 1])
    }
}
