//! Lowering: from nodes to kernel commands, with fused epilogues.

use super::error::GraphError;
use super::op::matmul::MatMul;
use super::plan::Program;
use super::{Graph, Op, ParamLayout, Result, Value};
use crate::kernel::matmul::{self, Epilogue};
use crate::kernel::{BufferId, Command, View, copy};
use std::collections::HashMap;

mod fuse;
mod joined;
pub use fuse::{Class, Fusion};

/// Where a value lies: buffer, view and how many rows it has there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Operand {
    /// The buffer.
    pub buffer: BufferId,
    /// How its elements are addressed.
    pub view: View,
    /// Rows; a single row is broadcast where more are needed.
    pub rows: usize,
}

impl Operand {
    /// Dense rows from the start of a buffer.
    pub fn dense(buffer: BufferId, rows: usize, cols: usize) -> Operand {
        Operand { buffer, view: View::dense(0, cols), rows }
    }
}

/// How the rows of the values of this pass relate to the graph's static ones (see [`super::staged`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rows {
    /// As the graph says.
    Static,
    /// Everything is computed for this many solver times at once.
    PerTime(usize),
}

/// Where an output goes.
pub type Destination = (BufferId, View);

/// One pass of lowering over (a part of) a graph.
pub struct Lower<'a> {
    program: &'a mut Program,
    graph: &'a Graph,
    params: (&'a ParamLayout, BufferId),
    values: HashMap<Value, Operand>,
    classes: Option<&'a [Class]>,
    rows: Rows,
    destinations: HashMap<Value, Destination>,
}

/// Lowers what `outputs` need of `graph` into `program`: inputs are bound by name, parameters lie in a flat buffer.
pub fn lower(
    program: &mut Program,
    graph: &Graph,
    params: (&ParamLayout, BufferId),
    inputs: &[(&str, BufferId)],
    outputs: &[(Value, Destination)],
) -> Result<()> {
    let mut values = HashMap::new();
    for v in graph.values() {
        if let Op::Input(input) = &graph.node(v).op
            && let Some((_, buffer)) = inputs.iter().find(|(name, _)| *name == &*input.name)
        {
            values.insert(v, Operand::dense(*buffer, input.shape.rows(), input.shape.cols()));
        }
    }
    let needed = graph.needed_for(&outputs.iter().map(|(v, _)| *v).collect::<Vec<_>>());
    let nodes: Vec<Value> = graph.values().filter(|v| needed[v.index()]).collect();
    Lower::new(program, graph, params, values).run(&nodes, outputs)
}

impl<'a> Lower<'a> {
    pub(crate) fn new(
        program: &'a mut Program,
        graph: &'a Graph,
        params: (&'a ParamLayout, BufferId),
        values: HashMap<Value, Operand>,
    ) -> Lower<'a> {
        Lower {
            program,
            graph,
            params,
            values,
            classes: None,
            rows: Rows::Static,
            destinations: HashMap::new(),
        }
    }

    pub(crate) fn staged(mut self, classes: &'a [Class], rows: Rows) -> Lower<'a> {
        self.classes = Some(classes);
        self.rows = rows;
        self
    }

    /// Lowers `nodes` (in topological order) and leaves `outputs` at their destinations.
    pub(crate) fn run(mut self, nodes: &[Value], outputs: &[(Value, Destination)]) -> Result<()> {
        self.pass(nodes, outputs)
    }

    /// As [`Lower::run`], returning where every value of the pass lies.
    pub(crate) fn run_keeping(mut self, nodes: &[Value]) -> Result<HashMap<Value, Operand>> {
        self.pass(nodes, &[])?;
        Ok(self.values)
    }

    fn pass(&mut self, nodes: &[Value], outputs: &[(Value, Destination)]) -> Result<()> {
        let (nodes, outputs) = &self.without_last_reshapes(nodes, outputs);
        let kept: Vec<Value> = outputs.iter().map(|(v, _)| *v).collect();
        let fusion = Fusion::find(self.graph, nodes, &kept, self.classes);
        // A value that others read too is computed apart and copied: its destination may be bound to be written there. So
        // is one that lies somewhere already and is not computed at all.
        let mut copies = Vec::new();
        for (v, d) in outputs {
            let read = nodes.iter().any(|n| self.graph.node(*n).inputs.contains(v));
            let leaf = matches!(self.graph.node(*v).op, Op::Input(_) | Op::Param(_) | Op::Constant(_));
            let there = leaf || self.values.contains_key(v) || !nodes.contains(v);
            if read || there || self.destinations.contains_key(v) {
                copies.push((*v, *d));
            } else {
                self.destinations.insert(*v, *d);
            }
        }
        if self.classes.is_none() {
            self.join(nodes, &kept, &fusion)?;
        }
        for &node in nodes {
            if self.values.contains_key(&node) || fusion.absorbed(node) {
                continue;
            }
            match fusion.ending_at(node) {
                Some(chain) => self.chain(chain, node)?,
                None => self.graph.node(node).op.lower(self, node)?,
            }
        }
        for (v, (buffer, view)) in copies {
            let x = self.resolve(v)?;
            let shape = self.graph.shape(v);
            self.program.push(copy::command(
                [x.rows, shape.cols()],
                0,
                shape.cols(),
                (x.buffer, x.view),
                (buffer, view),
            ))?;
        }
        Ok(())
    }

    /// An output that is a reshape and nothing else's operand: what it reshapes goes straight to the destination (the
    /// gradient of a convolution's weight, which the product sees as a matrix).
    fn without_last_reshapes(
        &self,
        nodes: &[Value],
        outputs: &[(Value, Destination)],
    ) -> (Vec<Value>, Vec<(Value, Destination)>) {
        let (mut nodes, mut outputs) = (nodes.to_vec(), outputs.to_vec());
        for o in 0..outputs.len() {
            let (v, (buffer, view)) = outputs[o];
            let node = self.graph.node(v);
            let alone = matches!(node.op, Op::Reshape(_))
                && self.classes.is_none()
                && !self.values.contains_key(&v)
                && outputs.iter().filter(|(other, _)| *other == v).count() == 1
                && !nodes.iter().any(|n| self.graph.node(*n).inputs.contains(&v));
            if alone && view == View::dense(view.offset as usize, node.shape.cols()) {
                let inner = node.inputs[0];
                nodes.retain(|n| *n != v);
                outputs[o] =
                    (inner, (buffer, View::dense(view.offset as usize, self.graph.shape(inner).cols())));
            }
        }
        (nodes, outputs)
    }

    /// The graph being lowered.
    pub fn graph(&self) -> &'a Graph {
        self.graph
    }

    /// Rows and columns of a value in this pass.
    pub fn size(&self, v: Value) -> [usize; 2] {
        let shape = self.graph.shape(v);
        let times = match self.rows {
            Rows::Static => 1,
            Rows::PerTime(times) => times,
        };
        [shape.rows() * times, shape.cols()]
    }

    /// Where a value lies, repeated rows seen as a view.
    pub(crate) fn resolve(&self, v: Value) -> Result<Operand> {
        if let Some(o) = self.values.get(&v) {
            return Ok(*o);
        }
        let node = self.graph.node(v);
        match &node.op {
            Op::RepeatRows(r) => {
                let mut x = self.resolve(node.inputs[0])?;
                if x.rows == 1 {
                    x.view.row_stride = 0;
                } else {
                    x.view.row_div *= r.times as u32;
                }
                x.rows *= r.times;
                Ok(x)
            }
            Op::Param(p) => {
                let info = self.params.0.get(&p.name)?;
                let view = View::dense(info.offset, p.shape.cols());
                Ok(Operand { buffer: self.params.1, view, rows: p.shape.rows() })
            }
            Op::Slice(s) => {
                let mut x = self.resolve(node.inputs[0])?;
                x.view.offset += s.start as u32 * x.view.col_stride;
                Ok(x)
            }
            Op::Input(i) => Err(GraphError::Unknown {
                kind: "input",
                name: i.name.to_string(),
                available: "only the inputs bound to this plan".into(),
            }),
            op => Err(GraphError::Plan {
                kernel: op.name(),
                what: format!("its value {} was not computed in this pass", v.0),
            }),
        }
    }

    /// Operand `i` of `node`, broadcast to the node's rows and columns.
    pub fn operand(&self, node: Value, i: usize) -> Result<(BufferId, View)> {
        self.broadcast(node, self.graph.node(node).inputs[i])
    }

    /// `v` as `node` sees it: single rows and columns repeated, per-time rows matched to per-request ones.
    pub(crate) fn broadcast(&self, node: Value, v: Value) -> Result<(BufferId, View)> {
        let x = self.resolve(v)?;
        let mut view = x.view;
        let [rows, cols] = self.size(node);
        let own = self.graph.shape(v);
        let static_rows = self.graph.shape(node).rows();
        if let (Rows::PerTime(times), Some(classes)) = (self.rows, self.classes)
            && x.rows != rows
            && x.rows > 1
        {
            match classes[v.index()] {
                // One row per time: each stands for all rows of the request.
                Class::Time | Class::RequestTime if x.rows == times => view.row_div *= static_rows as u32,
                // The rows repeat for every time (views divide before they cycle).
                Class::Request | Class::Fixed => view.row_mod = x.rows as u32 / view.row_div,
                _ => {}
            }
        } else if x.rows == 1 && rows > 1 {
            view.row_stride = 0;
        }
        if own.cols() == 1 && cols > 1 {
            view.col_stride = 0;
        }
        Ok((x.buffer, view))
    }

    /// Operand `i` with plain, adjacent rows, copied if it lies otherwise.
    pub fn dense(&mut self, node: Value, i: usize) -> Result<(BufferId, View)> {
        let v = self.graph.node(node).inputs[i];
        let mut x = self.plain(v)?;
        let cols = self.graph.shape(v).cols();
        if self.resolve(v)?.rows == 1 {
            // The distance to a next row that does not exist.
            x.1.row_stride = cols as u32;
        }
        if x.1.row_stride as usize == cols {
            return Ok(x);
        }
        self.copied(v)
    }

    /// A value with plain rows (of any stride), copied if they are repeated or broadcast.
    pub(crate) fn plain(&mut self, v: Value) -> Result<(BufferId, View)> {
        let x = self.resolve(v)?;
        let repeated = x.view.row_stride == 0 && x.rows > 1;
        if x.view.plain_rows() && !repeated { Ok((x.buffer, x.view)) } else { self.copied(v) }
    }

    fn copied(&mut self, v: Value) -> Result<(BufferId, View)> {
        let x = self.resolve(v)?;
        let cols = self.graph.shape(v).cols();
        let buffer = self.program.temporary(x.rows * cols)?;
        let y = (buffer, View::dense(0, cols));
        self.program.push(copy::command([x.rows, cols], 0, cols, (x.buffer, x.view), y))?;
        Ok(y)
    }

    /// Where the result of `node` goes: its destination, or a new temporary.
    pub fn output(&mut self, node: Value) -> Result<(BufferId, View)> {
        let [rows, cols] = self.size(node);
        let (buffer, view) = match self.destinations.get(&node) {
            Some(d) => *d,
            None => (self.program.temporary(rows * cols)?, View::dense(0, cols)),
        };
        self.values.insert(node, Operand { buffer, view, rows });
        Ok((buffer, view))
    }

    /// The result of `node` is another view of what is there already.
    pub fn alias(&mut self, node: Value, (buffer, view): (BufferId, View)) -> Result<()> {
        let [rows, cols] = self.size(node);
        if let Some(d) = self.destinations.get(&node) {
            self.program.push(copy::command([rows, cols], 0, cols, (buffer, view), *d))?;
            self.values.insert(node, Operand { buffer: d.0, view: d.1, rows });
        } else {
            self.values.insert(node, Operand { buffer, view, rows });
        }
        Ok(())
    }

    /// The result of `node` repeats its operand's rows: a view, copied only to a destination.
    pub fn repeat(&mut self, node: Value, _times: usize) -> Result<()> {
        let x = self.resolve(node)?;
        self.alias(node, (x.buffer, x.view))?;
        self.values.insert(node, Operand { rows: x.rows, ..self.values[&node] });
        Ok(())
    }

    /// An input, parameter or constant.
    pub fn leaf(&mut self, node: Value) -> Result<()> {
        let shape = self.graph.shape(node);
        if let Op::Constant(c) = &self.graph.node(node).op {
            let buffer = self.program.constant(&c.data)?;
            self.values.insert(node, Operand::dense(buffer, shape.rows(), shape.cols()));
            return Ok(());
        }
        let x = self.resolve(node)?;
        self.values.insert(node, x);
        Ok(())
    }

    /// A buffer with these contents.
    pub fn constant(&mut self, data: &[f32]) -> Result<BufferId> {
        self.program.constant(data)
    }

    /// The buffer bound where an operand is absent.
    pub fn empty(&mut self) -> BufferId {
        self.program.empty()
    }

    /// What the commands are made for.
    pub fn target(&self) -> crate::kernel::Target {
        self.program.target.clone()
    }

    /// Counts operations (a multiply-add is two) of the command that comes next.
    pub fn count_flops(&mut self, flops: f64) {
        self.program.count_flops(flops);
    }

    /// Emits a command.
    pub fn push(&mut self, command: Command) -> Result<()> {
        self.program.push(command)
    }

    /// Emits the product `node` into the place of `dest`.
    pub fn matmul(&mut self, node: Value, dest: Value, epilogue: &Epilogue) -> Result<()> {
        let Op::MatMul(MatMul { form }) = self.graph.node(node).op else {
            return Err(GraphError::Plan { kernel: "matmul", what: "the node is not a product".into() });
        };
        let inputs = &self.graph.node(node).inputs;
        let (a, b) = (self.plain(inputs[0])?, self.plain(inputs[1])?);
        let [rows, n] = self.size(node);
        let (sa, sb) = (self.graph.shape(inputs[0]), self.graph.shape(inputs[1]));
        let [m, _, k] = MatMul { form }.sizes(sa, sb);
        // Per-time passes multiply the rows of a.
        let m = if form == matmul::Form::TN { m } else { rows };
        let c = self.output(dest)?;
        let empty = self.empty();
        self.program.count_flops(2.0 * m as f64 * n as f64 * k as f64);
        let command = matmul::command(form, [m, n, k], a, b, c, epilogue, empty, &self.program.target);
        self.program.push(command)
    }
}
