//! Concatenations without copies: a part that nothing else reads is computed where it will lie.

use super::fuse::Fusion;
use super::{Lower, Result};
use crate::graph::{Op, Value};
use crate::kernel::View;
use std::collections::HashMap;

impl Lower<'_> {
    /// Gives the parts of each concatenation among `nodes` their places in it, as far as their kernels write rows of any stride.
    pub(super) fn join(&mut self, nodes: &[Value], kept: &[Value], fusion: &Fusion) -> Result<()> {
        let mut uses: HashMap<Value, usize> = HashMap::new();
        for node in nodes {
            self.graph.node(*node).inputs.iter().for_each(|i| *uses.entry(*i).or_default() += 1);
        }
        // The outer ones first: a concatenation may itself be a part.
        for &node in nodes.iter().rev() {
            if !matches!(self.graph.node(node).op, Op::Concat(_)) || self.values.contains_key(&node) {
                continue;
            }
            let parts = &self.graph.node(node).inputs;
            let own = |v: &Value| {
                let computed = nodes.contains(v) && !self.values.contains_key(v) && !fusion.absorbed(*v);
                let free = !kept.contains(v) && !self.destinations.contains_key(v) && uses.get(v) == Some(&1);
                computed && free && (fusion.ending_at(*v).is_some() || self.writes_strided(*v))
            };
            let own: Vec<bool> = parts.iter().map(own).collect();
            if !own.contains(&true) {
                continue;
            }
            let [rows, cols] = self.size(node);
            let (buffer, whole) = match self.destinations.get(&node) {
                Some(place) => *place,
                None => (self.program.temporary(rows * cols)?, View::dense(0, cols)),
            };
            self.destinations.insert(node, (buffer, whole));
            let mut offset = whole.offset;
            for (part, own) in parts.iter().zip(own) {
                if own {
                    self.destinations.insert(*part, (buffer, View { offset, ..whole }));
                }
                offset += self.graph.shape(*part).cols() as u32;
            }
        }
        Ok(())
    }

    /// Whether the kernel of an operation writes its result wherever it is told to, in one dispatch.
    fn writes_strided(&self, v: Value) -> bool {
        let node = self.graph.node(v);
        match &node.op {
            Op::TimeEmbed(_) => self.graph.shape(node.inputs[0]).cols() == 1,
            Op::Binary(_)
            | Op::Map(_)
            | Op::MapMul(_)
            | Op::Fma(_)
            | Op::MatMul(_)
            | Op::ColSum(_)
            | Op::RowSum(_)
            | Op::Norm(_)
            | Op::NormGrad(_)
            | Op::Rope(_)
            | Op::AttentionGrad(_)
            | Op::Concat(_) => true,
            _ => false,
        }
    }
}
