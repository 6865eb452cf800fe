//! Rewrites that let a sampling graph be staged: products over a concatenation are split by part, and operations on
//! repeated rows are done once before the repetition. Afterwards a value that does not depend on the state has as few rows
//! as it can have.

use super::op::layout::{RepeatRows, Slice};
use super::op::matmul::MatMul;
use super::{Graph, Op, Result, Shape, Value};
use crate::graph::op::binary::Binary;
use crate::kernel::binary::BinaryOp;
use crate::kernel::matmul::Form;

/// The rewritten graph and where its outputs are.
pub fn stage(graph: &Graph, outputs: &[Value]) -> Result<(Graph, Vec<Value>)> {
    let needed = graph.needed_for(outputs);
    let mut out = Graph::new();
    let mut map: Vec<Value> = vec![Value(0); graph.nodes.len()];
    for v in graph.values().filter(|v| needed[v.index()]) {
        let node = graph.node(v);
        let inputs: Vec<Value> = node.inputs.iter().map(|i| map[i.index()]).collect();
        map[v.index()] = rewrite(&mut out, &node.op, &inputs)?;
    }
    let outputs: Vec<Value> = outputs.iter().map(|v| map[v.index()]).collect();
    prune(&out, &outputs)
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

fn rewrite(g: &mut Graph, op: &Op, inputs: &[Value]) -> Result<Value> {
    if let (Op::MatMul(MatMul { form: Form::NT }), [x, w]) = (op, inputs)
        && matches!(g.node(*x).op, Op::Concat(_))
        && g.node(*x).inputs.iter().any(|p| source(g, *p).is_some())
    {
        return split_product(g, *x, *w);
    }
    if let (Op::Binary(Binary { op: BinaryOp::Add, alpha, beta }), [x, b]) = (op, inputs)
        && *alpha == 1.0
        && *beta == 1.0
        && matches!(g.node(*b).op, Op::Param(_))
        && g.shape(*b).rows() == 1
        && let Some(sum) = bias_into_repeated(g, *x, *b)?
    {
        return Ok(sum);
    }
    hoist(g, op, inputs)
}

/// [p; q; ...] wᵀ = p w_pᵀ + q w_qᵀ + ...: parts that are repeated rows last, fewest rows first.
fn split_product(g: &mut Graph, x: Value, w: Value) -> Result<Value> {
    let mut parts = Vec::new();
    let mut start = 0;
    for p in g.node(x).inputs.clone() {
        let len = g.shape(p).cols();
        parts.push((source(g, p).map_or(0, |s| g.shape(s).rows()), start, len, p));
        start += len;
    }
    parts.sort_by_key(|p| (p.0, p.1));
    let mut sum: Option<Value> = None;
    for (_, start, len, p) in parts {
        let slice = g.push(Op::Slice(Slice { start, len }), &[w])?;
        let product = hoist(g, &Op::MatMul(MatMul::nt()), &[p, slice])?;
        sum = Some(match sum {
            None => product,
            Some(s) => hoist(g, &Op::Binary(Binary::add(1.0, 1.0)), &[s, product])?,
        });
    }
    sum.ok_or_else(|| super::error::shape_error("concat", &[], "at least one part"))
}

/// (l + repeat(q)) + b = l + repeat(q + b): the bias joins what is computed ahead of the loop.
fn bias_into_repeated(g: &mut Graph, x: Value, b: Value) -> Result<Option<Value>> {
    let node = g.node(x).clone();
    match (&node.op, node.inputs.as_slice()) {
        (Op::Binary(Binary { op: BinaryOp::Add, alpha, beta }), &[l, r]) if *alpha == 1.0 && *beta == 1.0 => {
            let Some(q) = source(g, r) else { return Ok(None) };
            let with_bias = g.add(q, b)?;
            let times = g.shape(r).rows() / g.shape(q).rows();
            let repeated = g.repeat_rows(with_bias, times)?;
            Ok(Some(g.add(l, repeated)?))
        }
        _ => Ok(None),
    }
}

/// What a value repeats, if it is repeated rows.
fn source(g: &Graph, v: Value) -> Option<Value> {
    matches!(g.node(v).op, Op::RepeatRows(_)).then(|| g.node(v).inputs[0])
}

/// op(repeat(x)) = repeat(op(x)) for operations that work row by row.
fn hoist(g: &mut Graph, op: &Op, inputs: &[Value]) -> Result<Value> {
    // Repetitions of repetitions are one.
    if let (Op::RepeatRows(r), [x]) = (op, inputs)
        && let Some(inner) = source(g, *x)
    {
        let times = r.times * g.shape(*x).rows() / g.shape(inner).rows();
        return g.repeat_rows(inner, times);
    }
    let shapes: Vec<Shape> = inputs.iter().map(|v| g.shape(*v)).collect();
    let output = op.shape(&shapes)?;
    let plain = |g: &mut Graph| g.push(op.clone(), inputs);
    let Some(rows) = op.row_operands(&shapes, output) else { return plain(g) };
    let sources: Option<Vec<Value>> = rows.iter().map(|&i| source(g, inputs[i])).collect();
    let Some(sources) = sources else { return plain(g) };
    let few = sources.iter().map(|s| g.shape(*s).rows()).max().unwrap_or(output.rows());
    let fits = sources.iter().all(|s| g.shape(*s).rows() == few || g.shape(*s).rows() == 1);
    if rows.is_empty() || !fits || few >= output.rows() {
        return plain(g);
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
    let done = rewrite(g, op, &new)?;
    g.repeat_rows(done, output.rows() / few)
}
