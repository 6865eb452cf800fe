//! A case that is a graph: builds it from the file's tensors, runs it once through a program and a session.

use super::{GoldenFile, Result, Score};
use crate::device::Device;
use crate::graph::lower::lower;
use crate::graph::{Graph, ParamLayout, Program, Session, Shape, Value};
use crate::kernel::{Target, View};

/// A graph whose inputs and parameters are tensors of a file.
pub(super) struct GraphCase<'a> {
    pub(super) graph: Graph,
    file: &'a GoldenFile,
    inputs: Vec<(String, Vec<f32>)>,
    /// What the parameters' names begin with in the file.
    prefix: &'static str,
}

impl<'a> GraphCase<'a> {
    pub(super) fn new(file: &'a GoldenFile) -> GraphCase<'a> {
        GraphCase { graph: Graph::new(), file, inputs: Vec::new(), prefix: "" }
    }

    /// A case whose parameters are named as in the reference, and `prefix` + that in the file.
    pub(super) fn with_prefix(file: &'a GoldenFile, prefix: &'static str) -> GraphCase<'a> {
        GraphCase { prefix, ..GraphCase::new(file) }
    }

    /// The tensor `name` as an input.
    pub(super) fn input(&mut self, name: &str) -> Result<Value> {
        self.input_as(name, self.file.shape(name)?)
    }

    /// The tensor `name` as an input of another shape.
    pub(super) fn input_as(&mut self, name: &str, shape: Shape) -> Result<Value> {
        self.inputs.push((name.into(), self.file.f32(name)?));
        Ok(self.graph.input(name, shape)?)
    }

    /// The tensor `name` as a parameter.
    pub(super) fn param(&mut self, name: &str) -> Result<Value> {
        Ok(self.graph.param(name, self.file.shape(name)?)?)
    }

    /// Runs the case whose output is `y` and compares `out.y` and the gradients `grad.<name>` of sum(y cot.y) by `wrt`.
    pub(super) fn check_vjp(
        mut self,
        device: &Device,
        y: Value,
        wrt: &[(&str, Value)],
        score: &mut Score,
    ) -> Result<()> {
        let shape = self.graph.shape(y);
        let d = self.input_as("cot.y", shape)?;
        let values: Vec<Value> = wrt.iter().map(|w| w.1).collect();
        let grads = self.graph.vjp(&[(y, d)], &values)?;
        let mut outputs = vec![("out.y".to_string(), y)];
        outputs.extend(wrt.iter().zip(grads).map(|((name, _), g)| (format!("grad.{name}"), g)));
        self.check(device, &outputs, score)
    }

    /// The given data, laid out unlike the file's, as an input.
    pub(super) fn input_of(&mut self, name: &str, shape: Shape, data: Vec<f32>) -> Result<Value> {
        self.inputs.push((name.into(), data));
        Ok(self.graph.input(name, shape)?)
    }

    /// Runs the graph and compares each value with the tensor of its name.
    pub(super) fn check(self, device: &Device, outputs: &[(String, Value)], score: &mut Score) -> Result<()> {
        let file = self.file;
        for ((name, _), got) in outputs.iter().zip(self.run(device, outputs)?) {
            score.close(file, name, &got)?;
        }
        Ok(())
    }

    /// Runs the graph; the values of `outputs`.
    pub(super) fn run(self, device: &Device, outputs: &[(String, Value)]) -> Result<Vec<Vec<f32>>> {
        let layout = ParamLayout::of(&self.graph);
        let mut program = Program::new(Target::of(device));
        let params = program.resident("params", layout.len().max(1))?;
        let mut inputs = Vec::new();
        for (name, data) in &self.inputs {
            inputs.push((name.as_str(), program.resident(name, data.len())?));
        }
        let mut places = Vec::new();
        for (name, value) in outputs {
            let shape = self.graph.shape(*value);
            places.push((*value, (program.resident(name, shape.len())?, View::dense(0, shape.cols()))));
        }
        lower(&mut program, &self.graph, (&layout, params), &inputs, &places)?;
        let mut session = Session::new(device, program.finish()?)?;
        for (name, data) in &self.inputs {
            let id = session.plan().buffer(name)?;
            session.write(id, data)?;
        }
        let params = session.plan().buffer("params")?;
        for info in layout.iter() {
            session.write_at(
                params,
                info.offset,
                &self.file.f32(&format!("{}{}", self.prefix, info.name))?,
            )?;
        }
        session.run(&[0])?;
        let mut all = Vec::new();
        for (name, value) in outputs {
            let id = session.plan().buffer(name)?;
            let mut got = vec![0.0; self.graph.shape(*value).len()];
            session.read(id, &mut got)?;
            all.push(got);
        }
        Ok(all)
    }
}
