//! Stages: what of a velocity field is computed how often.
//!
//! A field v(state, time, request) is evaluated many times per request. Its values are split by what they depend on:
//! time only (once per load, all times as rows of one product), request only (once per request), both (once per request, all
//! times at once), or the state (every evaluation). No operation is done more often than its operands change.

use super::lower::{Class, Lower, Operand, Rows};
use super::plan::Program;
use super::rewrite;
use super::{Graph, GraphError, Op, ParamLayout, Result, Value};
use crate::kernel::{BufferId, View};
use std::collections::{HashMap, HashSet};

/// Above this, values per request and time are computed at each step instead: in bytes.
const REQUEST_TIME_LIMIT: usize = 256 << 20;

/// A field whose values are sorted by stage, ready to be lowered into a program.
pub struct Staged {
    graph: Graph,
    output: Value,
    classes: Vec<Class>,
    times: usize,
    layout: ParamLayout,
    params: BufferId,
    kept: HashMap<Value, Operand>,
}

/// The names that the inputs of a field graph go by.
#[derive(Clone, Copy, Debug)]
pub struct FieldInputs<'a> {
    /// The state, [rows, dim].
    pub state: &'a str,
    /// The time, [1, 1] (or one per sample).
    pub time: &'a str,
    /// Every sample has its own time, which changes with the state.
    pub time_per_sample: bool,
}

/// What a staged evaluation does with the velocity v.
#[derive(Clone, Copy, Debug)]
pub enum Tail {
    /// Stores v.
    Store,
    /// Stores base + h v; the base is a dense state.
    Step {
        /// Where the step starts from.
        base: BufferId,
        /// Step size.
        h: f32,
    },
}

impl Staged {
    /// Sorts the field `output` of `graph` for `times` evaluation times. `staging: false` computes everything that depends
    /// on the time at every evaluation (for comparison).
    pub fn new(
        graph: &Graph,
        output: Value,
        inputs: FieldInputs<'_>,
        times: usize,
        (layout, params): (&ParamLayout, BufferId),
        staging: bool,
    ) -> Result<Staged> {
        // The memory of a reshaped result is the same; without the reshape, a step fuses with what made the result.
        let mut output = output;
        while let Op::Reshape(_) = &graph.node(output).op {
            output = graph.node(output).inputs[0];
        }
        let (graph, outputs) = if staging {
            rewrite::stage(graph, &[output], inputs)?
        } else {
            rewrite::prune(graph, &[output])?
        };
        let classes = classify(&graph, inputs, times, staging);
        Ok(Staged {
            output: outputs[0],
            classes,
            times,
            layout: layout.clone(),
            params,
            graph,
            kept: HashMap::new(),
        })
    }

    /// Number of operations of each class: fixed, per load, per request, per request and time, per evaluation.
    pub fn census(&self) -> [usize; 5] {
        let mut out = [0; 5];
        for v in self.graph.values() {
            let op = &self.graph.node(v).op;
            if !matches!(op, Op::Input(_) | Op::Param(_) | Op::Constant(_) | Op::RepeatRows(_) | Op::Slice(_))
            {
                out[self.classes[v.index()] as usize] += 1;
            }
        }
        out
    }

    fn nodes(&self, classes: &[Class]) -> Vec<Value> {
        // Repeated rows are views: whoever reads them resolves them.
        self.graph
            .values()
            .filter(|v| {
                classes.contains(&self.classes[v.index()])
                    && !matches!(self.graph.node(*v).op, Op::RepeatRows(_))
            })
            .collect()
    }

    fn lower<'a>(
        &'a self,
        program: &'a mut Program,
        values: HashMap<Value, Operand>,
        rows: Rows,
    ) -> Lower<'a> {
        Lower::new(program, &self.graph, (&self.layout, self.params), values).staged(&self.classes, rows)
    }

    fn bind(&self, inputs: &[(&str, BufferId)]) -> HashMap<Value, Operand> {
        let mut out = HashMap::new();
        for v in self.graph.values() {
            if let Op::Input(i) = &self.graph.node(v).op
                && let Some((_, buffer)) = inputs.iter().find(|(name, _)| *name == &*i.name)
            {
                out.insert(v, Operand::dense(*buffer, i.shape.rows(), i.shape.cols()));
            }
        }
        out
    }

    /// Lowers what is fixed and what depends on the time alone; `times` holds all evaluation times.
    pub fn lower_load(&mut self, program: &mut Program, time: &str, times: BufferId) -> Result<()> {
        let mut values = self.kept.clone();
        for (v, o) in self.bind(&[(time, times)]) {
            values.insert(v, Operand { rows: self.times, ..o });
        }
        let nodes = self.nodes(&[Class::Fixed]);
        let values = self.lower(program, values, Rows::Static).run_keeping(&nodes)?;
        let nodes = self.nodes(&[Class::Time]);
        self.kept = self.lower(program, values, Rows::PerTime(self.times)).run_keeping(&nodes)?;
        Ok(())
    }

    /// Lowers what depends on the request, then what depends on request and time; `inputs` binds the request's inputs.
    pub fn lower_request(&mut self, program: &mut Program, inputs: &[(&str, BufferId)]) -> Result<()> {
        let mut values = self.kept.clone();
        values.extend(self.bind(inputs));
        let nodes = self.nodes(&[Class::Request]);
        let values = self.lower(program, values, Rows::Static).run_keeping(&nodes)?;
        let nodes = self.nodes(&[Class::RequestTime]);
        self.kept = self.lower(program, values, Rows::PerTime(self.times)).run_keeping(&nodes)?;
        Ok(())
    }

    /// Lowers evaluation number `e`: the field at `state`, its result (or a step made of it) dense
    /// from an offset in `out`.
    pub fn lower_evaluation(
        &self,
        program: &mut Program,
        e: usize,
        inputs: &[(&str, BufferId)],
        tail: Tail,
        (out, offset): (BufferId, usize),
    ) -> Result<()> {
        let mut graph = self.graph.clone();
        let mut classes = self.classes.clone();
        let mut values = HashMap::new();
        for (&v, o) in &self.kept {
            let class = self.classes[v.index()];
            let shape = self.graph.shape(v);
            let mut o = *o;
            if matches!(class, Class::Time | Class::RequestTime)
                && !matches!(self.graph.node(v).op, Op::RepeatRows(_))
            {
                // Row block e of the values of all times; a view of repeated rows has fewer rows of memory.
                let rows = shape.rows();
                o.view.offset += (e * rows) as u32 / o.view.row_div * o.view.row_stride;
                o.rows = rows;
            }
            values.insert(v, o);
        }
        values.extend(self.bind(inputs));
        let mut output = self.output;
        if let Tail::Step { base, h } = tail {
            let shape = graph.shape(output);
            let from = graph.input("step base", shape)?;
            classes.push(Class::State);
            output = graph.axpby(1.0, from, h, output)?;
            classes.push(Class::State);
            values.insert(from, Operand::dense(base, shape.rows(), shape.cols()));
        }
        let cols = graph.shape(output).cols();
        let nodes: Vec<Value> = graph
            .values()
            .filter(|v| classes[v.index()] == Class::State && !matches!(graph.node(*v).op, Op::RepeatRows(_)))
            .collect();
        let lower =
            Lower::new(program, &graph, (&self.layout, self.params), values).staged(&classes, Rows::Static);
        lower.run(&nodes, &[(output, (out, View::dense(offset, cols)))])
    }
}

fn classify(graph: &Graph, inputs: FieldInputs<'_>, times: usize, staging: bool) -> Vec<Class> {
    let mut classes: Vec<Class> = Vec::with_capacity(graph.nodes.len());
    for v in graph.values() {
        let node = graph.node(v);
        let own = match &node.op {
            Op::Input(i) if &*i.name == inputs.state => Class::State,
            Op::Input(i) if &*i.name == inputs.time => match inputs.time_per_sample {
                true => Class::State,
                false => Class::Time,
            },
            Op::Input(_) => Class::Request,
            _ => node.inputs.iter().fold(Class::Fixed, |c, i| join(c, classes[i.index()])),
        };
        let shapes: Vec<_> = node.inputs.iter().map(|i| graph.shape(*i)).collect();
        // A product's right side is one matrix for all times.
        let timeless = |v: &Value| !matches!(classes[v.index()], Class::Time | Class::RequestTime);
        let right = !matches!(node.op, Op::MatMul(_)) || timeless(&node.inputs[1]);
        let by_rows = right && node.op.row_operands(&shapes, node.shape).is_some();
        let leaf = matches!(node.op, Op::Input(_));
        let repeat = matches!(node.op, Op::RepeatRows(_));
        let class = match own {
            Class::Time if leaf || repeat => own,
            // Only rows that are one per time can be computed for all times at once.
            Class::Time if !staging || !by_rows || node.shape.rows() != 1 => Class::State,
            Class::RequestTime if repeat => own,
            Class::RequestTime
                if !staging || !by_rows || times * node.shape.len() * 4 > REQUEST_TIME_LIMIT =>
            {
                Class::State
            }
            other => other,
        };
        classes.push(class);
    }
    classes
}

fn join(a: Class, b: Class) -> Class {
    use Class::*;
    match (a, b) {
        (Fixed, x) | (x, Fixed) => x,
        (State, _) | (_, State) => State,
        (Time, Time) => Time,
        (Request, Request) => Request,
        _ => RequestTime,
    }
}

/// The inputs that a field graph must have and may have.
pub fn check_inputs(graph: &Graph, allowed: &[&str]) -> Result<()> {
    let names: HashSet<&str> = graph
        .values()
        .filter_map(|v| match &graph.node(v).op {
            Op::Input(i) => Some(&*i.name),
            _ => None,
        })
        .collect();
    match names.iter().find(|n| !allowed.contains(n)) {
        Some(name) => {
            Err(GraphError::Unknown { kind: "input", name: name.to_string(), available: allowed.join(", ") })
        }
        None => Ok(()),
    }
}
