//! The CPU executor: a plan replayed through the twins.

use super::profile::{Clock, CommandTime, Profile};
use super::{GraphError, Plan, Result};
use crate::device::{Access, Deadline};
use crate::kernel::{Arg, BufferId, TwinCx};
use std::cell::{Ref, RefCell, RefMut};
use std::sync::Arc;
use std::time::Instant;

/// One cache line, so that vector loads never straddle two.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Zeroed, 64-byte aligned memory of a fixed length.
pub(super) struct Memory {
    lines: Vec<Line>,
    len: usize,
}

impl Memory {
    fn new(len: usize, label: &str) -> Result<Memory> {
        let count = len.div_ceil(16);
        let mut lines = Vec::new();
        lines
            .try_reserve_exact(count)
            .map_err(|_| GraphError::OutOfMemory { label: label.into(), bytes: len * 4 })?;
        lines.resize(count, Line([0.0; 16]));
        Ok(Memory { lines, len })
    }

    fn as_slice(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

/// A slot's memory: a session's own, or shared (read-only) between the sessions of several threads.
enum Slot {
    Own(RefCell<Memory>),
    Shared(Arc<Memory>),
}

enum Guard<'a> {
    Read(Ref<'a, Memory>),
    Write(RefMut<'a, Memory>),
    Shared(&'a Memory),
}

/// Bindings of the widest kernel.
const MAX_ARGS: usize = 10;

/// A plan resident in host memory.
pub struct CpuSession {
    plan: Arc<Plan>,
    slots: Vec<Slot>,
    /// When a replay is given up.
    deadline: Option<Deadline>,
}

impl CpuSession {
    pub(super) fn new(plan: Arc<Plan>) -> Result<CpuSession> {
        plan.afford()?;
        let mut slots = Vec::with_capacity(plan.slots.len());
        for s in &plan.slots {
            let mut memory = Memory::new(s.elements, s.name.as_deref().unwrap_or("a plan's memory"))?;
            if let Some(data) = &s.data {
                memory.as_mut_slice()[..data.len()].copy_from_slice(data);
            }
            slots.push(Slot::Own(RefCell::new(memory)));
        }
        Ok(CpuSession { plan, slots, deadline: None })
    }

    /// A second session of the same plan that shares the read-only buffers `shared` with this one.
    pub(super) fn fork(&mut self, shared: &[BufferId]) -> Result<CpuSession> {
        for id in shared {
            self.shared(*id);
        }
        let slots = Vec::with_capacity(self.slots.len());
        let mut fork = CpuSession { plan: self.plan.clone(), slots, deadline: None };
        for (slot, info) in self.slots.iter().zip(&self.plan.slots) {
            fork.slots.push(match slot {
                Slot::Shared(memory) => Slot::Shared(memory.clone()),
                Slot::Own(own) => {
                    let mut memory =
                        Memory::new(info.elements, info.name.as_deref().unwrap_or("a plan's memory"))?;
                    memory.as_mut_slice().copy_from_slice(own.borrow().as_slice());
                    Slot::Own(RefCell::new(memory))
                }
            });
        }
        Ok(fork)
    }

    /// A buffer's memory, which from here on is shared and read-only.
    fn shared(&mut self, id: BufferId) -> Arc<Memory> {
        let slot = &mut self.slots[id.0 as usize];
        let memory = match slot {
            Slot::Shared(memory) => memory.clone(),
            Slot::Own(own) => {
                Arc::new(std::mem::replace(own.get_mut(), Memory { lines: Vec::new(), len: 0 }))
            }
        };
        *slot = Slot::Shared(memory.clone());
        memory
    }

    /// Memory of its own for a shared buffer; its contents are lost.
    pub(super) fn own(&mut self, id: BufferId) -> Result<()> {
        let info = &self.plan.slots[id.0 as usize];
        let slot = &mut self.slots[id.0 as usize];
        if let Slot::Shared(_) = slot {
            let name = info.name.as_deref().unwrap_or("a plan's memory");
            *slot = Slot::Own(RefCell::new(Memory::new(info.elements, name)?));
        }
        Ok(())
    }

    /// Makes a buffer read-only, for others to adopt.
    pub(super) fn publish(&mut self, id: BufferId) {
        self.shared(id);
    }

    /// Reads the memory of another plan's buffer of the same length in place of its own.
    pub(super) fn share(&mut self, id: BufferId, other: &mut CpuSession, theirs: BufferId) -> Result<()> {
        let (found, needed) =
            (other.plan.slots[theirs.0 as usize].elements, self.plan.slots[id.0 as usize].elements);
        if found != needed {
            let name = self.plan.slots[id.0 as usize].name.as_deref().unwrap_or("a buffer").to_string();
            return Err(GraphError::Length { name, found, needed });
        }
        self.slots[id.0 as usize] = Slot::Shared(other.shared(theirs));
        Ok(())
    }

    /// Shares another session's memory of a shared buffer.
    pub(super) fn adopt(&mut self, other: &CpuSession, id: BufferId) -> Result<()> {
        match &other.slots[id.0 as usize] {
            Slot::Shared(memory) => {
                self.slots[id.0 as usize] = Slot::Shared(memory.clone());
                Ok(())
            }
            Slot::Own(_) => {
                Err(GraphError::Plan { kernel: "session", what: "the buffer is not shared".into() })
            }
        }
    }

    /// When the replays to come are given up.
    pub(super) fn set_deadline(&mut self, deadline: Option<Deadline>) {
        self.deadline = deadline;
    }

    /// Runs phase number `phase`; looks at the deadline, if there is one, before every command.
    pub(super) fn run(&mut self, phase: usize, cx: &TwinCx<'_>) -> Result<()> {
        for index in self.plan.phases[phase].range.clone() {
            if let Some(deadline) = &self.deadline {
                deadline.check("a pass on the CPU")?;
            }
            self.command(index, cx);
        }
        Ok(())
    }

    fn command(&self, index: usize, cx: &TwinCx<'_>) {
        let command = &self.plan.commands[index];
        let mut guards: [Option<Guard<'_>>; MAX_ARGS] = Default::default();
        for ((guard, id), access) in guards.iter_mut().zip(&command.args).zip(command.kernel.access) {
            *guard = Some(match &self.slots[id.0 as usize] {
                Slot::Own(m) if *access == Access::Read => Guard::Read(m.borrow()),
                Slot::Own(m) => Guard::Write(m.borrow_mut()),
                Slot::Shared(m) => Guard::Shared(m),
            });
        }
        let mut args: [Arg<'_>; MAX_ARGS] = [const { Arg::Read(&[]) }; MAX_ARGS];
        for (arg, guard) in args.iter_mut().zip(guards.iter_mut().flatten()) {
            *arg = match guard {
                Guard::Read(m) => Arg::Read(m.as_slice()),
                Guard::Shared(m) => Arg::Read(m.as_slice()),
                Guard::Write(m) => Arg::Write(m.as_mut_slice()),
            };
        }
        (command.kernel.twin)(&command.params, &mut args[..command.args.len()], cx);
    }

    /// Replays phases `replays` times after one that warms up, with a look at the clock between the commands.
    pub(super) fn profile(&mut self, phases: &[usize], replays: usize, cx: &TwinCx<'_>) -> Profile {
        let order: Vec<usize> = phases.iter().flat_map(|p| self.plan.phases[*p].range.clone()).collect();
        let mut seconds = vec![Vec::with_capacity(replays); order.len()];
        for replay in 0..=replays.max(1) {
            for (index, seconds) in order.iter().zip(&mut seconds) {
                let begun = Instant::now();
                self.command(*index, cx);
                if replay > 0 {
                    seconds.push(begun.elapsed().as_secs_f64());
                }
            }
        }
        let commands = order.into_iter().zip(seconds).map(|(index, s)| CommandTime::new(index, s));
        Profile { clock: Clock::Host, commands: commands.collect() }
    }

    pub(super) fn write(&mut self, id: BufferId, offset: usize, data: &[f32]) -> Result<()> {
        let at = offset..offset + data.len();
        let shared = match &mut self.slots[id.0 as usize] {
            Slot::Own(own) => {
                own.get_mut().as_mut_slice()[at].copy_from_slice(data);
                return Ok(());
            }
            Slot::Shared(shared) => shared,
        };
        // Memory that no other session reads any more is written in place.
        if let Some(memory) = Arc::get_mut(shared) {
            memory.as_mut_slice()[at].copy_from_slice(data);
            return Ok(());
        }
        // The others keep what they had: new memory, with what is not written over.
        let name = self.plan.slots[id.0 as usize].name.as_deref().unwrap_or("a plan's memory");
        let mut memory = Memory::new(shared.len, name)?;
        let (old, new) = (shared.as_slice(), memory.as_mut_slice());
        new[..at.start].copy_from_slice(&old[..at.start]);
        new[at.end..].copy_from_slice(&old[at.end..]);
        new[at].copy_from_slice(data);
        *shared = Arc::new(memory);
        Ok(())
    }

    pub(super) fn read(&self, id: BufferId, offset: usize, out: &mut [f32]) {
        match &self.slots[id.0 as usize] {
            Slot::Own(m) => out.copy_from_slice(&m.borrow().as_slice()[offset..offset + out.len()]),
            Slot::Shared(m) => out.copy_from_slice(&m.as_slice()[offset..offset + out.len()]),
        }
    }

    pub(super) fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Program;
    use crate::kernel::Target;

    /// Where a shared buffer's memory lies.
    fn address(session: &CpuSession, id: BufferId) -> *const f32 {
        match &session.slots[id.0 as usize] {
            Slot::Shared(memory) => memory.as_slice().as_ptr(),
            Slot::Own(_) => panic!("its own"),
        }
    }

    #[test]
    fn shared_memory_is_copied_only_while_others_read_it() {
        let mut program = Program::new(Target::CPU);
        let id = program.resident("w", 5).unwrap();
        let mut first = CpuSession::new(Arc::new(program.finish().unwrap())).unwrap();
        first.write(id, 0, &[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let second = first.fork(&[id]).unwrap();
        let read = |session: &CpuSession| {
            let mut out = [0.0; 5];
            session.read(id, 0, &mut out);
            out
        };
        assert_eq!(address(&first, id), address(&second, id));
        first.write(id, 1, &[-2.0, -3.0]).unwrap();
        assert_eq!(read(&first), [1.0, -2.0, -3.0, 4.0, 5.0]);
        assert_eq!(read(&second), [1.0, 2.0, 3.0, 4.0, 5.0], "the other keeps what it had");
        // Now nobody else reads it.
        let before = address(&first, id);
        first.write(id, 4, &[-5.0]).unwrap();
        assert_eq!((address(&first, id), read(&first)), (before, [1.0, -2.0, -3.0, 4.0, -5.0]));
    }
}
