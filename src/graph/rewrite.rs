//! Rewrites that let a sampling graph be staged: products and maps of a concatenation are split by part (of a reverse pass
//! only the part that is needed is computed), and operations on repeated rows are done once before the repetition.
//! Afterwards a value that does not depend on the state has as few rows as it can have.

use super::op::layout::{Concat, RepeatRows, Slice};
use super::op::matmul::MatMul;
use super::staged::FieldInputs;
use super::{Graph, Op, Result, Shape, Value};
use crate::graph::op::binary::Binary;
use crate::kernel::binary::BinaryOp;
use crate::kernel::matmul::Form;

/// What the values of the graph under construction depend on: bit 0 time, bit 1 request, bit 2 state.
struct Stager<'a> {
    g: Graph,
    depends: Vec<u8>,
    inputs: FieldInputs<'a>,
}

const STATE: u8 = 4;

/// The rewritten graph and where its outputs are.
pub fn stage(graph: &Graph, outputs: &[Value], inputs: FieldInputs<'_>) -> Result<(Graph, Vec<Value>)> {
    let needed = graph.needed_for(outputs);
    let mut stager = Stager { g: Graph::new(), depends: Vec::new(), inputs };
    let mut map: Vec<Value> = vec![Value(0); graph.nodes.len()];
    for v in graph.values().filter(|v| needed[v.index()]) {
        let node = graph.node(v);
        let inputs: Vec<Value> = node.inputs.iter().map(|i| map[i.index()]).collect();
        map[v.index()] = stager.rewrite(&node.op, &inputs)?;
    }
    let outputs: Vec<Value> = outputs.iter().map(|v| map[v.index()]).collect();
    prune(&stager.g, &outputs)
}

/// Only what `outputs` need, renumbered.
pub fn prune(graph: &Graph, outputs: &[Value]) -> Result<(Graph, Vec<Value>)> {
    let needed = graph.needed_for(outputs);
    let mut out = Graph::new();
    let mut map: Vec<Value> = vec![Value(0); graph.nodes.len()];
    for v in graph.values().filter(|v| needed[v.index()]) {
        let node = graph.node(v);
        let inputs: Vec<Value> = node.inputs.iter().map(|i| map[i.index()]).collect();
        map[v.index()] = out.push(node.op.clone(), &inputs)?;
    }
    Ok((out, outputs.iter().map(|v| map[v.index()]).collect()))
}

/// What a value repeats, if it is repeated rows.
fn source(g: &Graph, v: Value) -> Option<Value> {
    matches!(g.node(v).op, Op::RepeatRows(_)).then(|| g.node(v).inputs[0])
}

impl Stager<'_> {
    fn depends(&mut self, v: Value) -> u8 {
        for i in self.depends.len()..self.g.nodes.len() {
            let node = &self.g.nodes[i];
            let own = match &node.op {
                Op::Input(x) if &*x.name == self.inputs.state => STATE,
                Op::Input(x) if &*x.name == self.inputs.time && !self.inputs.time_per_sample => 1,
                Op::Input(x) if &*x.name == self.inputs.time => STATE,
                Op::Input(_) => 2,
                _ => node.inputs.iter().fold(0, |d, i| d | self.depends[i.index()]),
            };
            self.depends.push(own);
        }
        self.depends[v.index()]
    }

    /// Whether a value is a concatenation of parts that depend on different things.
    fn mixed(&mut self, v: Value) -> bool {
        if !matches!(self.g.node(v).op, Op::Concat(_)) {
            return false;
        }
        let parts = self.g.node(v).inputs.clone();
        let first = self.depends(parts[0]);
        parts.into_iter().any(|p| self.depends(p) != first)
    }

    fn rewrite(&mut self, op: &Op, inputs: &[Value]) -> Result<Value> {
        if let (Op::MatMul(MatMul { form: Form::NT }), &[x, w]) = (op, inputs)
            && self.mixed(x)
        {
            return self.split_product(x, w);
        }
        // The map of a concatenation is the concatenation of the maps.
        if let (Op::Map(_), &[x]) = (op, inputs)
            && self.mixed(x)
        {
            let parts = self.g.node(x).inputs.clone();
            let parts = parts.into_iter().map(|p| self.hoist(op, &[p])).collect::<Result<Vec<_>>>()?;
            return self.hoist(&Op::Concat(Concat), &parts);
        }
        // Of a product, only the columns that are asked for: the cotangent of a concatenation's part.
        if let (Op::Slice(_), [x]) = (op, inputs)
            && matches!(self.g.node(*x).op, Op::MatMul(MatMul { form: Form::NN }))
            && let [d, w] = self.g.node(*x).inputs[..]
            && matches!(self.g.node(w).op, Op::Param(_))
        {
            let columns = self.g.push(op.clone(), &[w])?;
            return self.hoist(&Op::MatMul(MatMul::nn()), &[d, columns]);
        }
        if let (Op::Binary(Binary { op: BinaryOp::Add, alpha, beta }), [x, b]) = (op, inputs)
            && *alpha == 1.0
            && *beta == 1.0
            && matches!(self.g.node(*b).op, Op::Param(_))
            && self.g.shape(*b).rows() == 1
            && let Some(sum) = self.bias_ahead(*x, *b)?
        {
            return Ok(sum);
        }
        self.hoist(op, inputs)
    }

    /// [p; q; ...] wᵀ = p w_pᵀ + q w_qᵀ + ...: what depends on the state first, then what depends on the time, then the rest.
    fn split_product(&mut self, x: Value, w: Value) -> Result<Value> {
        let mut parts = Vec::new();
        let mut start = 0;
        for p in self.g.node(x).inputs.clone() {
            let len = self.g.shape(p).cols();
            let order = match self.depends(p) {
                d if d & STATE != 0 => 0,
                d => d,
            };
            parts.push((order, start, len, p));
            start += len;
        }
        parts.sort_by_key(|p| (p.0, p.1));
        let mut sum: Option<Value> = None;
        for (_, start, len, p) in parts {
            let slice = self.g.push(Op::Slice(Slice { start, len }), &[w])?;
            let product = self.hoist(&Op::MatMul(MatMul::nt()), &[p, slice])?;
            sum = Some(match sum {
                None => product,
                Some(s) => self.hoist(&Op::Binary(Binary::add(1.0, 1.0)), &[s, product])?,
            });
        }
        sum.ok_or_else(|| super::error::shape_error("concat", &[], "at least one part"))
    }

    /// (l + r) + b = l + (r + b): the bias joins the summand that is computed less often.
    fn bias_ahead(&mut self, x: Value, b: Value) -> Result<Option<Value>> {
        let node = self.g.node(x).clone();
        let (Op::Binary(Binary { op: BinaryOp::Add, alpha, beta }), &[l, r]) =
            (&node.op, node.inputs.as_slice())
        else {
            return Ok(None);
        };
        if *alpha != 1.0 || *beta != 1.0 {
            return Ok(None);
        }
        let plain = Op::Binary(Binary::add(1.0, 1.0));
        // As numbers, dependencies are ordered by how often they change: time (per load), request, both, state.
        let (often, seldom) = match (self.depends(l), self.depends(r)) {
            (dl, dr) if dl == dr || dl & dr & STATE != 0 => return Ok(None),
            (dl, dr) if dl > dr => (l, r),
            _ => (r, l),
        };
        let with_bias = self.hoist(&plain, &[seldom, b])?;
        if self.depends(often) & STATE != 0 {
            return Ok(Some(self.g.add(often, with_bias)?));
        }
        Ok(Some(self.hoist(&plain, &[often, with_bias])?))
    }

    /// op(repeat(x)) = repeat(op(x)) for operations that work row by row.
    fn hoist(&mut self, op: &Op, inputs: &[Value]) -> Result<Value> {
        let g = &mut self.g;
        // Repetitions of repetitions are one.
        if let (Op::RepeatRows(r), [x]) = (op, inputs)
            && let Some(inner) = source(g, *x)
        {
            let times = r.times * g.shape(*x).rows() / g.shape(inner).rows();
            return g.repeat_rows(inner, times);
        }
        let shapes: Vec<Shape> = inputs.iter().map(|v| g.shape(*v)).collect();
        let output = op.shape(&shapes)?;
        let Some(rows) = op.row_operands(&shapes, output) else { return g.push(op.clone(), inputs) };
        let sources: Option<Vec<Value>> = rows.iter().map(|&i| source(g, inputs[i])).collect();
        let Some(sources) = sources else { return g.push(op.clone(), inputs) };
        let few = sources.iter().map(|s| g.shape(*s).rows()).max().unwrap_or(output.rows());
        let fits = sources.iter().all(|s| g.shape(*s).rows() == few || g.shape(*s).rows() == 1);
        if rows.is_empty() || !fits || few >= output.rows() {
            return g.push(op.clone(), inputs);
        }
        let mut new = inputs.to_vec();
        for (&i, &s) in rows.iter().zip(&sources) {
            new[i] = if g.shape(s).rows() == few {
                s
            } else {
                g.push(Op::RepeatRows(RepeatRows { times: few }), &[s])?
            };
        }
        // The operation again, on few rows: it may itself become a split or a hoist.
        let done = self.rewrite(op, &new)?;
        self.g.repeat_rows(done, output.rows() / few)
    }
}
