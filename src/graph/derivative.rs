//! Reverse and forward mode as graph-to-graph transforms.

use super::{Graph, Op, Result, Shape, Value};
use std::collections::BTreeMap;

impl Graph {
    /// The vector-Jacobian product: cotangents of `wrt` given cotangents of outputs. Values that the outputs do not
    /// depend on get zeros.
    pub fn vjp(&mut self, outputs: &[(Value, Value)], wrt: &[Value]) -> Result<Vec<Value>> {
        let depends = self.depends_on(wrt);
        let mut cotangents: BTreeMap<Value, Vec<Value>> = BTreeMap::new();
        for &(v, d) in outputs {
            cotangents.entry(v).or_default().push(d);
        }
        let mut done: BTreeMap<Value, Value> = BTreeMap::new();
        // Values are numbered in topological order, so the largest open one has all its users behind it.
        while let Some((v, parts)) = cotangents.pop_last() {
            if !depends.get(v.index()).copied().unwrap_or(false) {
                continue;
            }
            let d = self.total(&parts)?;
            done.insert(v, d);
            let node = self.node(v).clone();
            let wanted: Vec<bool> = node.inputs.iter().map(|i| depends[i.index()]).collect();
            if !wanted.contains(&true) {
                continue;
            }
            let parts = node.op.vjp(self, v, d, &wanted)?;
            for ((input, part), wanted) in node.inputs.iter().zip(parts).zip(&wanted) {
                if let (Some(part), true) = (part, wanted) {
                    cotangents.entry(*input).or_default().push(part);
                }
            }
        }
        wrt.iter()
            .map(|v| match done.get(v) {
                Some(d) => Ok(*d),
                None => self.zeros(self.shape(*v)),
            })
            .collect()
    }

    /// The sum of cotangents of one value. Those of slices that together are the whole are laid side by side: no zeros around
    /// each of them are written, and none added.
    fn total(&mut self, parts: &[Value]) -> Result<Value> {
        let mut slices: Vec<(usize, Value)> = Vec::new();
        for v in parts {
            if let Op::Pad(pad) = &self.node(*v).op {
                slices.push((pad.start, self.node(*v).inputs[0]));
            }
        }
        slices.sort_by_key(|(start, _)| *start);
        let mut end = 0;
        let joined = slices.iter().all(|(start, v)| {
            let meets = *start == end;
            end += self.shape(*v).cols();
            meets
        });
        let whole = slices.len() > 1 && joined && end == self.shape(parts[0]).cols();
        let mut sum = match whole {
            true => Some(self.concat(&slices.iter().map(|(_, v)| *v).collect::<Vec<_>>())?),
            false => None,
        };
        for v in parts {
            if !whole || !matches!(self.node(*v).op, Op::Pad(_)) {
                sum = self.sum(sum, Some(*v))?;
            }
        }
        sum.ok_or_else(|| super::error::shape_error("vjp", &[], "at least one cotangent"))
    }

    /// Gradients of a [1, 1] loss.
    pub fn grad(&mut self, loss: Value, wrt: &[Value]) -> Result<Vec<Value>> {
        let one = self.constant(self.shape(loss), vec![1.0; self.shape(loss).len()])?;
        self.vjp(&[(loss, one)], wrt)
    }

    /// The Jacobian-vector product: tangents of `outputs` given tangents of inputs. Outputs that do not depend on the
    /// inputs get zeros.
    pub fn jvp(&mut self, tangents: &[(Value, Value)], outputs: &[Value]) -> Result<Vec<Value>> {
        let mut tangent: BTreeMap<Value, Value> = tangents.iter().copied().collect();
        let last = outputs.iter().map(|v| v.index() + 1).max().unwrap_or(0);
        let needed = self.needed_for(outputs);
        for v in self.values().take(last) {
            if !needed[v.index()] || tangent.contains_key(&v) {
                continue;
            }
            let node = self.node(v).clone();
            let parts: Vec<Option<Value>> = node.inputs.iter().map(|x| tangent.get(x).copied()).collect();
            if parts.iter().any(Option::is_some)
                && let Some(t) = node.op.jvp(self, v, &parts)?
            {
                tangent.insert(v, t);
            }
        }
        outputs
            .iter()
            .map(|v| match tangent.get(v) {
                Some(t) => Ok(*t),
                None => self.zeros(self.shape(*v)),
            })
            .collect()
    }

    /// For each node, whether it depends on one of `wrt` other than through a stopped gradient.
    fn depends_on(&self, wrt: &[Value]) -> Vec<bool> {
        let mut out = vec![false; self.nodes.len()];
        for v in self.values() {
            let node = self.node(v);
            out[v.index()] = wrt.contains(&v)
                || (!matches!(node.op, Op::StopGradient(_)) && node.inputs.iter().any(|i| out[i.index()]));
        }
        out
    }

    /// For each node, whether one of `outputs` needs it.
    pub(crate) fn needed_for(&self, outputs: &[Value]) -> Vec<bool> {
        let mut out = vec![false; self.nodes.len()];
        outputs.iter().for_each(|v| out[v.index()] = true);
        for v in self.values().rev() {
            if out[v.index()] {
                self.node(v).inputs.iter().for_each(|i| out[i.index()] = true);
            }
        }
        out
    }

    /// Zeros of a shape.
    pub fn zeros(&mut self, shape: Shape) -> Result<Value> {
        self.constant(shape, vec![0.0; shape.len()])
    }

    /// Whether a value is the constant 1.
    pub(crate) fn is_one(&self, v: Value) -> bool {
        matches!(&self.node(v).op, Op::Constant(c) if c.data.iter().all(|x| *x == 1.0))
    }

    /// The sum of what there is.
    pub(crate) fn sum(&mut self, a: Option<Value>, b: Option<Value>) -> Result<Option<Value>> {
        Ok(match (a, b) {
            (Some(a), Some(b)) => Some(self.add(a, b)?),
            (a, b) => a.or(b),
        })
    }
}
