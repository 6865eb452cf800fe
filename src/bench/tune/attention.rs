//! Attention: every variant of each distinct call of its kernels, alone, on random numbers.

use crate::device::Access;
use crate::graph::{Plan, Program, Result};
use crate::kernel::{BufferId, Command, Target, attention_ways, draw, state};
use std::collections::BTreeMap;

/// Of each question, the largest call that asks it.
#[derive(Default)]
pub(super) struct Attention {
    pub(super) by_question: BTreeMap<String, Call>,
}

/// A call: a command for each variant, the guess first, and the elements of its buffers.
pub(super) struct Call {
    ways: Vec<Command>,
    buffers: Vec<(BufferId, usize)>,
}

impl Attention {
    /// Adds those of a plan of which a target has a choice.
    pub(super) fn collect(&mut self, plan: &Plan, target: &Target) {
        for command in &plan.commands {
            let Some((question, ways)) = attention_ways::ways(command, target) else { continue };
            if ways.len() < 2 {
                continue;
            }
            let work = |call: &Command| (call.kernel.cost)(&call.params).flops;
            match self.by_question.get(&question) {
                Some(known) if work(&known.ways[0]) >= work(command) => {}
                _ => {
                    let mut args = command.args.clone();
                    args.sort_unstable_by_key(|id| id.0);
                    args.dedup();
                    let buffers =
                        args.into_iter().map(|id| (id, plan.slots[id.0 as usize].elements)).collect();
                    self.by_question.insert(question, Call { ways, buffers });
                }
            }
        }
    }
}

impl Call {
    /// The variants' names.
    pub(super) fn ways(&self) -> Vec<&'static str> {
        self.ways.iter().map(|command| command.variant.name).collect()
    }

    /// A phase that fills what is read, then one for each variant. Operands keep their places.
    pub(super) fn plan(&self, target: &Target) -> Result<Plan> {
        let mut p = Program::new(target.clone());
        let empty = p.empty();
        let state = p.resident("state", state::WORDS)?;
        p.phase("fill");
        let first = &self.ways[0];
        let mut now = BTreeMap::new();
        for (id, elements) in &self.buffers {
            let buffer = p.resident(&format!("operand {}", id.0), *elements)?;
            if first
                .args
                .iter()
                .zip(first.kernel.access)
                .any(|(a, access)| a == id && *access == Access::Read)
            {
                p.push(draw::command(draw::Law::Normal, *elements, 0, 0, state, empty, (buffer, 0)))?;
            }
            now.insert(id.0, buffer);
        }
        for way in &self.ways {
            p.phase(way.variant.name);
            p.count_flops((way.kernel.cost)(&way.params).flops);
            let args = way.args.iter().map(|id| now[&id.0]).collect();
            p.push(Command { args, ..way.clone() })?;
        }
        p.finish()
    }
}
