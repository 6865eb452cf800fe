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
    /// Tensors [batch, channels, steps] or [batch, channels, height, width] of the file that are rows
    /// [batch * steps, channels] or [batch * height * width, channels] here.
    channels_last: &'static [&'static str],
    /// What the file puts before a parameter's name.
    prefix: &'static str,
}

impl<'a> GraphCase<'a> {
    pub(super) fn new(file: &'a GoldenFile) -> GraphCase<'a> {
        GraphCase { graph: Graph::new(), file, inputs: Vec::new(), channels_last: &[], prefix: "" }
    }

    /// The case with some tensors [batch, channels, steps] or [batch, channels, height, width] turned to rows
    /// [batch * steps, channels] or [batch * height * width, channels].
    pub(super) fn channels_last(file: &'a GoldenFile, names: &'static [&'static str]) -> GraphCase<'a> {
        GraphCase { channels_last: names, ..GraphCase::new(file) }
    }

    /// The case with parameters whose names in the file begin with `prefix`.
    pub(super) fn with_prefix(file: &'a GoldenFile, prefix: &'static str) -> GraphCase<'a> {
        GraphCase { prefix, ..GraphCase::new(file) }
    }

    /// Samples, channels and places (steps or pixels) of a tensor that is turned to rows; `None`: it lies as in the file.
    fn turned(&self, name: &str) -> Result<Option<[usize; 3]>> {
        if !self.channels_last.contains(&name) {
            return Ok(None);
        }
        Ok(match self.file.dims(name)?.as_slice() {
            [batch, channels, places @ ..] if !places.is_empty() => {
                Some([*batch, *channels, places.iter().product()])
            }
            _ => None,
        })
    }

    /// The tensor `name` as an input.
    pub(super) fn input(&mut self, name: &str) -> Result<Value> {
        let shape = match self.turned(name)? {
            Some([batch, channels, places]) => Shape::matrix(batch * places, channels),
            None => self.file.shape(name)?,
        };
        self.input_as(name, shape)
    }

    /// The tensor `name` as an input of another shape.
    pub(super) fn input_as(&mut self, name: &str, shape: Shape) -> Result<Value> {
        let data = self.file.f32(name)?;
        let data = match self.turned(name)? {
            Some(dims) => transposed(&data, dims),
            None => data,
        };
        self.inputs.push((name.into(), data));
        Ok(self.graph.input(name, shape)?)
    }

    /// The integers `name`, one for each row, as an input [rows, 1].
    pub(super) fn input_steps(&mut self, name: &str) -> Result<Value> {
        let data: Vec<f32> = self.file.u32(name)?.into_iter().map(|v| v as f32).collect();
        let shape = Shape::matrix(data.len(), 1);
        self.inputs.push((name.into(), data));
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
            if let Some([batch, channels, places]) = self.turned(name)? {
                got = transposed(&got, [batch, places, channels]);
            }
            all.push(got);
        }
        Ok(all)
    }
}

/// [batch, rows, cols] as [batch, cols, rows].
fn transposed(data: &[f32], [batch, rows, cols]: [usize; 3]) -> Vec<f32> {
    let at = |e: usize| (e / (rows * cols)) * rows * cols + (e % rows) * cols + e / rows % cols;
    (0..batch * rows * cols).map(|e| data[at(e)]).collect()
}
