//! The floor model: what phases of a plan cost at least, and how long a device needs for that at least.
//!
//! Two floors. The *layered* floor lets every command be a pass of its own over memory: the sum over the commands of the
//! longer of operations / rate and bytes / bandwidth. It is what the plan's commands could reach. The *fused* floor is that of
//! one perfect kernel for all the phases: the longer of all operations / rate and the time to move what must come from outside
//! and go there. That is what the phases read and did not write themselves (parameters, inputs, constants, results of other
//! phases), and what they write into resident buffers or for other phases; what stays between the commands is free.
//! A buffer that is read again and again, as weights are at every solver step, counts once if all that is read of it fits the
//! device's cache, and moves at the cache's bandwidth, for it may still be there from the last run; else it counts each time, at
//! the memory's. Not counted: launches, the host, the way to it and back.

use super::Plan;
use crate::kernel::BufferId;
use crate::kernel::cost::Span;
use std::collections::{HashMap, HashSet};

/// What a device reaches at best.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Rates {
    /// Operations per second, of matrix products.
    pub flops_per_s: f64,
    /// Bytes per second, from and to memory.
    pub memory_bytes_per_s: f64,
    /// Bytes per second while all stays in the cache.
    pub cache_bytes_per_s: f64,
    /// The largest working set that stays in the cache, bytes.
    pub cache_bytes: f64,
}

impl Rates {
    /// Seconds that a command needs at least; its operands lie in the cache if they fit it.
    pub fn seconds(&self, command: &CommandCost) -> f64 {
        let cached = command.bytes <= self.cache_bytes;
        let bandwidth = if cached { self.cache_bytes_per_s } else { self.memory_bytes_per_s };
        (command.flops / self.flops_per_s).max(command.bytes / bandwidth)
    }
}

/// One command, as a pass of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CommandCost {
    /// Its index in the plan.
    pub command: usize,
    /// Operations.
    pub flops: f64,
    /// Bytes read and written, each element once for each binding.
    pub bytes: f64,
}

/// What limits a floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// The operations.
    Arithmetic,
    /// The bandwidth.
    Bandwidth,
}

impl Bound {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Bound::Arithmetic => "arithmetic",
            Bound::Bandwidth => "bandwidth",
        }
    }
}

/// The fused floor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// Seconds.
    pub seconds: f64,
    /// Bytes that come from outside and go there.
    pub bytes: f64,
    /// What takes longer.
    pub bound: Bound,
}

/// What phases cost, replayed one after another.
#[derive(Clone, Debug)]
pub struct PlanCost {
    /// Every command, in order.
    pub commands: Vec<CommandCost>,
    /// Per buffer that is read from outside: its distinct bytes, and all that are read.
    read: Vec<[f64; 2]>,
    /// Per buffer that is written for outside: its distinct bytes.
    written: Vec<f64>,
}

impl PlanCost {
    /// Operations.
    pub fn flops(&self) -> f64 {
        self.commands.iter().map(|c| c.flops).sum()
    }

    /// Bytes that the commands read and write, each a pass of its own.
    pub fn layered_bytes(&self) -> f64 {
        self.commands.iter().map(|c| c.bytes).sum()
    }

    /// Bytes that one perfect kernel reads and writes beside a cache of this many bytes.
    pub fn fused_bytes(&self, cache_bytes: f64) -> f64 {
        self.outside(cache_bytes).iter().sum()
    }

    /// The same, apart: bytes of buffers that fit the cache, and of those that do not.
    fn outside(&self, cache_bytes: f64) -> [f64; 2] {
        let read = self.read.iter().copied();
        read.chain(self.written.iter().map(|distinct| [*distinct; 2])).fold(
            [0.0; 2],
            |[near, far], [distinct, all]| match distinct <= cache_bytes {
                true => [near + distinct, far],
                false => [near, far + all],
            },
        )
    }

    /// The fused floor.
    pub fn floor(&self, rates: &Rates) -> Floor {
        let [near, far] = self.outside(rates.cache_bytes);
        let moving = near / rates.cache_bytes_per_s + far / rates.memory_bytes_per_s;
        let arithmetic = self.flops() / rates.flops_per_s;
        let bound = if arithmetic >= moving { Bound::Arithmetic } else { Bound::Bandwidth };
        Floor { seconds: arithmetic.max(moving), bytes: near + far, bound }
    }
}

impl Plan {
    /// What the phases (indices into [`Plan::phases`]) cost, replayed one after another.
    pub fn cost(&self, phases: &[usize]) -> PlanCost {
        let mut commands = Vec::new();
        let mut inside: HashSet<BufferId> = HashSet::new();
        let mut read: HashMap<BufferId, Traffic> = HashMap::new();
        let mut written: HashMap<BufferId, Traffic> = HashMap::new();
        for index in phases.iter().flat_map(|p| self.phases[*p].range.clone()) {
            let command = &self.commands[index];
            let cost = (command.kernel.cost)(&command.params);
            let buffer = |binding: usize| command.args[binding];
            let mut bytes = 0.0;
            for (spans, traffic) in [(&cost.read, &mut read), (&cost.written, &mut written)] {
                let reading = std::ptr::eq(spans, &cost.read);
                for (binding, span) in spans {
                    let id = buffer(*binding);
                    let touched = self.touched(id, span);
                    bytes += touched;
                    if !(reading && inside.contains(&id)) {
                        traffic.entry(id).or_default().add(*span, touched);
                    }
                }
            }
            inside.extend(cost.written.iter().map(|(binding, _)| buffer(*binding)));
            commands.push(CommandCost { command: index, flops: cost.flops, bytes });
        }
        let whole = |id: &BufferId| 4.0 * self.slots[id.0 as usize].elements as f64;
        let both = |(id, traffic): (&BufferId, &Traffic)| [traffic.distinct.min(whole(id)), traffic.all];
        let read = read.iter().map(both).collect();
        let wanted = self.wanted_outside(phases);
        let leaves = |id: &BufferId| self.slots[id.0 as usize].name.is_some() || wanted.contains(id);
        let written = written.iter().filter(|(id, _)| leaves(id)).map(|w| both(w)[0]).collect();
        PlanCost { commands, read, written }
    }

    /// What one command costs as a pass of its own.
    pub fn command_cost(&self, command: usize) -> CommandCost {
        let call = &self.commands[command];
        let cost = (call.kernel.cost)(&call.params);
        let bytes = |(binding, span): &(usize, Span)| self.touched(call.args[*binding], span);
        let bytes = cost.read.iter().chain(&cost.written).map(bytes).sum();
        CommandCost { command, flops: cost.flops, bytes }
    }

    /// Bytes of a span; scattered elements are at most all of the buffer.
    fn touched(&self, id: BufferId, span: &Span) -> f64 {
        4.0 * span.elements().min(self.slots[id.0 as usize].elements) as f64
    }

    /// Buffers that commands of other phases read.
    fn wanted_outside(&self, phases: &[usize]) -> HashSet<BufferId> {
        let mut wanted = HashSet::new();
        for (p, phase) in self.phases.iter().enumerate() {
            // Memory that a phase fills itself is not what another left there: temporaries share slots.
            let mut own = HashSet::new();
            for command in &self.commands[phase.range.clone()] {
                let foreign = |id: &BufferId| !phases.contains(&p) && !own.contains(id);
                wanted.extend(command.reads().filter(foreign));
                own.extend(command.writes());
            }
        }
        wanted
    }
}

/// What is read or written of one buffer.
#[derive(Default)]
struct Traffic {
    seen: HashSet<Span>,
    distinct: f64,
    all: f64,
}

impl Traffic {
    fn add(&mut self, span: Span, bytes: f64) {
        self.all += bytes;
        if self.seen.insert(span) {
            self.distinct += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Program;
    use crate::kernel::binary::{self, BinaryOp};
    use crate::kernel::matmul::{self, Epilogue, Form};
    use crate::kernel::{Target, View};

    const RATES: Rates =
        Rates { flops_per_s: 100.0, memory_bytes_per_s: 10.0, cache_bytes_per_s: 40.0, cache_bytes: 1000.0 };

    /// Two products with the same weights [3, 3] in phase `steps`, after a sum in phase `request`.
    fn plan() -> Plan {
        let mut program = Program::new(Target::CPU);
        let (x, w) = (program.resident("x", 6).unwrap(), program.resident("w", 9).unwrap());
        let y = program.resident("y", 6).unwrap();
        let (a, b) = (program.temporary(6).unwrap(), program.temporary(6).unwrap());
        let empty = program.empty();
        let view = View::dense(0, 3);
        program.phase("request");
        let sum = binary::command(BinaryOp::Mul, [2.0, 0.0, 0.0], [2, 3], (x, view), (x, view), (a, view));
        program.push(sum).unwrap();
        program.phase("steps");
        for (from, to) in [(a, b), (b, y)] {
            let operands = ((from, view), (w, view), (to, view));
            let (p, q, r) = operands;
            let epilogue = Epilogue::default();
            let product = matmul::command(Form::NT, [2, 3, 3], p, q, r, &epilogue, empty, &Target::CPU);
            program.push(product).unwrap();
        }
        program.finish().unwrap()
    }

    #[test]
    fn by_hand() {
        let plan = plan();
        let request = plan.cost(&[0]);
        assert_eq!(request.flops(), 12.0);
        // x twice as operands of the command, once from memory; the result for the other phase.
        assert_eq!((request.layered_bytes(), request.fused_bytes(0.0)), (72.0, 72.0));
        assert_eq!(request.fused_bytes(1e3), 48.0);

        let steps = plan.cost(&[1]);
        assert_eq!(steps.flops(), 2.0 * 2.0 * 18.0);
        assert_eq!(steps.layered_bytes(), 2.0 * (24.0 + 36.0 + 24.0));
        // The input, the weights once or twice, the result; what lies between is free.
        assert_eq!(steps.fused_bytes(1e3), 24.0 + 36.0 + 24.0);
        assert_eq!(steps.fused_bytes(0.0), 24.0 + 72.0 + 24.0);

        let both = plan.cost(&[0, 1]);
        assert_eq!(both.fused_bytes(1e3), 24.0 + 36.0 + 24.0);
        assert_eq!(both.commands.iter().map(|c| c.command).collect::<Vec<_>>(), [0, 1, 2]);
        let floor = both.floor(&RATES);
        assert_eq!((floor.seconds, floor.bytes, floor.bound), (84.0 / 40.0, 84.0, Bound::Bandwidth));
        // Of 30 bytes of cache only the inputs and the result find room.
        let small = both.floor(&Rates { cache_bytes: 30.0, ..RATES });
        assert_eq!((small.seconds, small.bytes), (72.0 / 10.0 + 48.0 / 40.0, 24.0 + 72.0 + 24.0));
        let layered: f64 = both.commands.iter().map(|c| RATES.seconds(c)).sum();
        assert_eq!(layered, (72.0 + 2.0 * 84.0) / 40.0);
        assert_eq!(plan.command_cost(1), both.commands[1]);
        let fast = Rates { cache_bytes_per_s: 1e9, ..RATES };
        assert_eq!(both.floor(&fast).bound, Bound::Arithmetic);
        assert_eq!(both.floor(&fast).seconds, 0.84);
    }
}
