//! From commands to a plan: a [`Program`] collects buffers and commands, [`Program::finish`] assigns memory by liveness.

use super::rows::Schedule;
use super::{GraphError, Result, memory};
use crate::kernel::{BufferId, Command, Target, matmul};
use std::collections::HashMap;
use std::sync::Arc;

/// What a buffer is for.
#[derive(Clone, Debug, PartialEq)]
pub enum BufferKind {
    /// Lives from its first write to its last read within one run; shares memory with others.
    Temporary,
    /// Has a name and memory of its own; the host may write and read it, and it keeps its value between runs.
    Resident,
    /// Fixed contents.
    Constant(Arc<[f32]>),
}

/// One buffer of a program.
#[derive(Clone, Debug)]
pub struct BufferInfo {
    /// Name of a resident buffer.
    pub name: Option<Arc<str>>,
    /// Elements (32-bit words).
    pub elements: usize,
    /// What it is for.
    pub kind: BufferKind,
}

/// A run of commands that is always replayed as a whole.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Its name: load, request, steps, ...
    pub name: &'static str,
    /// Its commands.
    pub range: std::ops::Range<usize>,
}

/// A program under construction.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) target: Target,
    pub(crate) buffers: Vec<BufferInfo>,
    pub(crate) commands: Vec<Command>,
    phases: Vec<Phase>,
    splits: Vec<usize>,
    constants: HashMap<Vec<u32>, BufferId>,
    costs: Vec<(usize, f64)>,
    pub(crate) schedule: Option<Schedule>,
}

impl Program {
    /// An empty program for a target.
    pub fn new(target: Target) -> Program {
        Program {
            target,
            buffers: Vec::new(),
            commands: Vec::new(),
            phases: Vec::new(),
            splits: Vec::new(),
            constants: HashMap::new(),
            costs: Vec::new(),
            schedule: None,
        }
    }

    /// Starts a phase: the commands pushed from here on belong to it.
    pub fn phase(&mut self, name: &'static str) {
        let at = self.commands.len();
        if let Some(last) = self.phases.last_mut() {
            last.range.end = at;
        }
        self.phases.push(Phase { name, range: at..at });
    }

    fn add(&mut self, name: Option<Arc<str>>, elements: usize, kind: BufferKind) -> Result<BufferId> {
        if elements > u32::MAX as usize {
            let name = name.map_or_else(|| "a temporary".into(), |n| n.to_string());
            return Err(GraphError::TooLarge { name, elements });
        }
        self.buffers.push(BufferInfo { name, elements, kind });
        Ok(BufferId(self.buffers.len() as u32 - 1))
    }

    /// A temporary buffer.
    pub fn temporary(&mut self, elements: usize) -> Result<BufferId> {
        self.add(None, elements, BufferKind::Temporary)
    }

    /// A named buffer of its own.
    pub fn resident(&mut self, name: &str, elements: usize) -> Result<BufferId> {
        if self.buffers.iter().any(|b| b.name.as_deref() == Some(name)) {
            return Err(GraphError::Duplicate { kind: "buffer", name: name.into() });
        }
        self.add(Some(Arc::from(name)), elements, BufferKind::Resident)
    }

    /// The resident buffer of this name.
    pub fn named(&self, name: &str) -> Result<BufferId> {
        let found = self.buffers.iter().position(|b| b.name.as_deref() == Some(name));
        found.map(|i| BufferId(i as u32)).ok_or_else(|| GraphError::Unknown {
            kind: "buffer",
            name: name.into(),
            available: self.buffers.iter().filter_map(|b| b.name.as_deref()).collect::<Vec<_>>().join(", "),
        })
    }

    /// A buffer with fixed contents; equal contents share one buffer.
    pub fn constant(&mut self, data: &[f32]) -> Result<BufferId> {
        let key: Vec<u32> = data.iter().map(|v| v.to_bits()).collect();
        if let Some(id) = self.constants.get(&key) {
            return Ok(*id);
        }
        let id = self.add(None, data.len(), BufferKind::Constant(Arc::from(data)))?;
        self.constants.insert(key, id);
        Ok(id)
    }

    /// A few zeros, bound where a kernel's operand is absent.
    pub fn empty(&mut self) -> BufferId {
        // Four elements always fit a 32-bit index.
        self.constant(&[0.0; 4]).unwrap_or(BufferId(0))
    }

    /// Appends a command; a buffer bound to be written may not be bound twice.
    pub fn push(&mut self, command: Command) -> Result<()> {
        let bad = |what: String| Err(GraphError::Plan { kernel: command.kernel.name, what });
        if !command.is_pending() {
            return bad("is no call of the engine's kernels, or has not the words and buffers of one".into());
        }
        if let Some(unknown) = command.args.iter().find(|id| id.0 as usize >= self.buffers.len()) {
            return bad(format!("binds buffer {}, which the program does not have", unknown.0));
        }
        for (i, w) in command.args.iter().enumerate() {
            if command.kernel.access[i] == crate::device::Access::Read {
                continue;
            }
            if matches!(self.buffers[w.0 as usize].kind, BufferKind::Constant(_)) {
                return bad(format!("writes the constant buffer {}", w.0));
            }
            if command.args.iter().enumerate().any(|(j, other)| i != j && other == w) {
                return bad(format!("binds buffer {} both to write and otherwise", w.0));
            }
        }
        if self.phases.is_empty() {
            self.phase("run");
        }
        self.commands.push(command);
        Ok(())
    }

    /// Counts operations (a multiply-add is two) of the command that comes next.
    pub fn count_flops(&mut self, flops: f64) {
        self.costs.push((self.commands.len(), flops));
    }

    /// Marks a place where a long recording may be cut into two submits.
    pub fn split_here(&mut self) {
        self.splits.push(self.commands.len());
    }

    /// Commands of a phase so far; none if there is no such phase.
    pub(crate) fn phase_range(&self, name: &str) -> Option<std::ops::Range<usize>> {
        let at = self.phases.iter().position(|p| p.name == name)?;
        let last = at + 1 == self.phases.len();
        let range = self.phases[at].range.clone();
        Some(if last { range.start..self.commands.len() } else { range })
    }

    /// Forgets the commands from number `from` on, their operations and the cuts between them.
    pub(crate) fn truncate(&mut self, from: usize) {
        self.commands.truncate(from);
        self.costs.retain(|(at, _)| *at < from);
        self.splits.retain(|at| *at < from);
    }

    /// Operations counted of one command.
    pub(crate) fn flops_at(&self, command: usize) -> f64 {
        self.costs.iter().filter(|(at, _)| *at == command).map(|(_, f)| f).sum()
    }

    /// Operations counted from command number `from` on.
    pub(crate) fn flops_from(&self, from: usize) -> f64 {
        self.costs.iter().filter(|(at, _)| *at >= from).map(|(_, f)| f).sum()
    }

    /// Elements of a buffer.
    pub fn elements(&self, id: BufferId) -> usize {
        self.buffers[id.0 as usize].elements
    }

    /// Puts two commands in the place of every product that is to be split, with a temporary for its parts.
    fn split_products(&mut self) -> Result<()> {
        if self.commands.iter().all(|c| matmul::scratch(c).is_none()) {
            return Ok(());
        }
        let mut all = Vec::with_capacity(self.commands.len());
        for command in std::mem::take(&mut self.commands) {
            let halves = match matmul::scratch(&command) {
                Some(elements) => matmul::halves(&command, self.temporary(elements)?),
                None => None,
            };
            all.push(halves.map_or_else(|| vec![command], Vec::from));
        }
        self.replace_each(all);
        Ok(())
    }

    /// Drops the commands that are `gone`, and puts what they were merged with in the place of others.
    pub(super) fn replace_merged(&mut self, merged: Vec<Option<Command>>, gone: &[bool]) {
        if !gone.contains(&true) {
            return;
        }
        let old = std::mem::take(&mut self.commands).into_iter();
        let new = old.zip(merged).zip(gone).map(|((command, merged), gone)| match gone {
            true => vec![],
            false => vec![merged.unwrap_or(command)],
        });
        self.replace_each(new.collect());
    }

    /// Puts other commands, or none, in the place of each; phases, cuts and operations move along.
    pub(super) fn replace_each(&mut self, with: Vec<Vec<Command>>) {
        // Where what stands for each command starts, and where all end.
        let mut starts = vec![0];
        for commands in &with {
            starts.push(starts[starts.len() - 1] + commands.len());
        }
        self.commands = with.into_iter().flatten().collect();
        for phase in &mut self.phases {
            phase.range = starts[phase.range.start]..starts[phase.range.end];
        }
        self.splits.iter_mut().for_each(|at| *at = starts[*at]);
        self.costs.iter_mut().for_each(|(at, _)| *at = starts[*at]);
    }

    /// Whether two commands belong to one phase.
    pub(super) fn together(&self, [a, b]: [usize; 2]) -> bool {
        self.phases.iter().any(|phase| phase.range.contains(&a) && phase.range.contains(&b))
    }

    /// Assigns memory and freezes the program.
    pub fn finish(mut self) -> Result<Plan> {
        let at = self.commands.len();
        if let Some(last) = self.phases.last_mut() {
            last.range.end = at;
        }
        self.merge_residuals();
        self.merge_convolutions();
        self.split_products()?;
        let extent = |id: BufferId| self.buffers.get(id.0 as usize).map(|b| (b.name.as_deref(), b.elements));
        check(&self.commands, extent)?;
        let assignment = memory::assign(&self.buffers, &self.commands, &self.phases);
        let slots: Vec<Slot> = assignment
            .slot_elements
            .iter()
            .enumerate()
            .map(|(s, elements)| {
                let owner = assignment.slot_of.iter().position(|&x| x as usize == s);
                let (name, data) = match owner.map(|o| &self.buffers[o]) {
                    Some(BufferInfo { name, kind: BufferKind::Constant(c), .. }) => {
                        (name.clone(), Some(c.clone()))
                    }
                    Some(BufferInfo { name, .. }) => (name.clone(), None),
                    None => (None, None),
                };
                Slot { name, elements: *elements, data }
            })
            .collect();
        for command in &mut self.commands {
            command.args.iter_mut().for_each(|a| *a = BufferId(assignment.slot_of[a.0 as usize]));
        }
        let names = slots
            .iter()
            .enumerate()
            .filter_map(|(i, s)| Some((s.name.clone()?, BufferId(i as u32))))
            .collect();
        Ok(Plan {
            target: self.target,
            slots,
            commands: self.commands,
            phases: self.phases,
            splits: self.splits,
            names,
            flops: self.costs.iter().map(|(_, f)| f).sum(),
            costs: self.costs,
            schedule: self.schedule,
        })
    }
}

/// Memory of a plan.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Name of a resident buffer.
    pub name: Option<Arc<str>>,
    /// Elements (32-bit words).
    pub elements: usize,
    /// Contents of a constant.
    pub data: Option<Arc<[f32]>>,
}

/// A graph scheduled for one target and batch size: memory, commands, phases.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The target that the kernels were chosen for.
    pub target: Target,
    /// Memory.
    pub slots: Vec<Slot>,
    /// Commands; their arguments are slots.
    pub commands: Vec<Command>,
    /// Phases, in order.
    pub phases: Vec<Phase>,
    /// Command indices before which a recording may be cut.
    pub splits: Vec<usize>,
    /// Operations of all phases together.
    pub flops: f64,
    /// Operations of single commands, by index.
    pub costs: Vec<(usize, f64)>,
    /// How the steps run, if they are a chain that could be one dispatch.
    pub schedule: Option<Schedule>,
    names: HashMap<Arc<str>, BufferId>,
}

/// Whether every command is one of the engine's and stays within its buffers, of which `extent` knows name and elements. Kernels run
/// unchecked on a GPU, so nothing that fails here may reach a device.
fn check<'a>(
    commands: &[Command],
    extent: impl Fn(BufferId) -> Option<(Option<&'a str>, usize)>,
) -> Result<()> {
    for command in commands {
        let kernel = command.kernel.name;
        if !command.is_known() || command.args.iter().any(|id| extent(*id).is_none()) {
            return Err(GraphError::Plan { kernel, what: "is no command of this plan".into() });
        }
        if let Some((binding, needed)) = command.outside(|id| extent(id).map_or(0, |(_, elements)| elements))
        {
            let id = command.args[binding];
            let (name, extent) = extent(id).unwrap_or_default();
            let buffer = name.map_or_else(|| format!("buffer {}", id.0), |name| format!("{name:?}"));
            return Err(GraphError::Outside { kernel, buffer, extent, needed });
        }
    }
    Ok(())
}

impl Plan {
    /// Whether the plan is as [`Program::finish`] made it, as far as a device must know: its parts are open to change.
    pub(super) fn check(&self) -> Result<()> {
        let broken = |what: String| Err(GraphError::Plan { kernel: "plan", what });
        if let Some(phase) = self.phases.iter().find(|p| p.range.end > self.commands.len()) {
            return broken(format!("phase {:?} ends after the last command", phase.name));
        }
        if let Some(slot) = self.slots.iter().find(|s| s.data.as_ref().is_some_and(|d| d.len() > s.elements))
        {
            return broken(format!("{} elements do not hold their data", slot.elements));
        }
        check(&self.commands, |id| self.slots.get(id.0 as usize).map(|s| (s.name.as_deref(), s.elements)))
    }

    /// Whether the host has memory for the plan, as far as the system says how much it has.
    pub(super) fn afford(&self) -> Result<()> {
        let need = self.slots.iter().fold(0u64, |sum, s| sum.saturating_add(4 * s.elements as u64));
        // Small plans are not worth a look at the system's files.
        if need < 1 << 26 {
            return Ok(());
        }
        match crate::device::memory::available() {
            Some(have) if need > have => Err(GraphError::HostMemory { need, have }),
            _ => Ok(()),
        }
    }

    /// A resident buffer by name.
    pub fn buffer(&self, name: &str) -> Result<BufferId> {
        self.names.get(name).copied().ok_or_else(|| {
            let mut names: Vec<&str> = self.names.keys().map(|n| &**n).collect();
            names.sort_unstable();
            GraphError::Unknown { kind: "buffer", name: name.into(), available: names.join(", ") }
        })
    }

    /// A phase by name, as an index.
    pub fn phase(&self, name: &str) -> Result<usize> {
        self.phases.iter().position(|p| p.name == name).ok_or_else(|| GraphError::Unknown {
            kind: "phase",
            name: name.into(),
            available: self.phases.iter().map(|p| p.name).collect::<Vec<_>>().join(", "),
        })
    }

    /// Number of commands in a phase: dispatches on a GPU.
    pub fn dispatches(&self, phase: usize) -> usize {
        self.phases[phase].range.len()
    }

    /// Bytes of all slots.
    pub fn bytes(&self) -> usize {
        self.slots.iter().map(|s| s.elements * 4).sum()
    }
}

#[cfg(test)]
mod tests;
