//! A session: a plan resident on a device. Running it replays pre-resolved commands: no allocation, no shader work.

use super::profile::Profile;
use super::session_cpu::CpuSession;
use super::session_gpu::GpuSession;
use super::{GraphError, Plan, Result};
use crate::device::{CounterSnapshot, Cpu, Deadline, Device};
use crate::kernel::{BufferId, TwinCx};
use std::sync::Arc;

/// A plan resident on a device.
pub struct Session {
    inner: Inner,
    /// CPU threads that a lone session's products are split over.
    threads: usize,
}

enum Inner {
    Cpu(CpuSession, Cpu),
    Gpu(Box<GpuSession>),
}

impl Session {
    /// Makes a plan resident: memory, and on a GPU pipelines and bind groups.
    pub fn new(device: &Device, plan: impl Into<Arc<Plan>>) -> Result<Session> {
        let plan = plan.into();
        plan.check()?;
        let inner = match device {
            Device::Cpu(cpu) => Inner::Cpu(CpuSession::new(plan)?, cpu.clone()),
            Device::Gpu(gpu) => {
                super::matrix_units::check(gpu, &plan)?;
                Inner::Gpu(Box::new(GpuSession::new(gpu, plan)?))
            }
        };
        Ok(Session { inner, threads: 1 })
    }

    /// When the calls to come must be over, until another deadline is set. One that is not fails with
    /// [`DeviceError::Timeout`](crate::device::DeviceError::Timeout): on a GPU where the host waits for it, on the CPU between two kernels.
    /// The session can be used as before; what a late pass of a GPU still brings is never taken for a later one's.
    pub fn set_deadline(&mut self, deadline: Option<Deadline>) {
        match &mut self.inner {
            Inner::Cpu(s, _) => s.set_deadline(deadline),
            Inner::Gpu(s) => s.set_deadline(deadline),
        }
    }

    /// On the CPU, a second session of the same plan that shares the named read-only buffers; for replaying one plan from
    /// several threads.
    pub fn fork(&mut self, shared: &[BufferId]) -> Result<Session> {
        match &mut self.inner {
            Inner::Cpu(session, cpu) => {
                let inner = Inner::Cpu(session.fork(shared)?, cpu.clone());
                Ok(Session { inner, threads: self.threads })
            }

            Inner::Gpu(_) => {
                Err(GraphError::Plan { kernel: "session", what: "only CPU sessions fork".into() })
            }
        }
    }

    /// On the CPU, gives the session memory of its own for a buffer that it shares; its contents are lost.
    pub(crate) fn own(&mut self, id: BufferId) -> Result<()> {
        match &mut self.inner {
            Inner::Cpu(s, _) => s.own(id),
            Inner::Gpu(_) => Ok(()),
        }
    }

    /// On the CPU, makes a buffer read-only, for other sessions to [`adopt`](Session::adopt).
    pub(crate) fn publish(&mut self, id: BufferId) -> Result<()> {
        if let Inner::Cpu(s, _) = &mut self.inner {
            s.publish(id);
        }
        Ok(())
    }

    /// Takes over another CPU session's memory of a shared buffer.
    pub(crate) fn adopt(&mut self, other: &Session, id: BufferId) -> Result<()> {
        match (&mut self.inner, &other.inner) {
            (Inner::Cpu(own, _), Inner::Cpu(other, _)) => own.adopt(other, id),
            _ => Err(GraphError::Plan { kernel: "session", what: "only CPU sessions share memory".into() }),
        }
    }

    /// On the CPU, whether [`Session::run_serial`] and [`Session::run_reading`] split single kernels over the pool's
    /// threads: for plans of few rows and much work, of which one session runs at a time.
    pub fn split_kernels(&mut self, split: bool) {
        self.threads = match &self.inner {
            Inner::Cpu(_, cpu) if split => cpu.threads(),
            _ => 1,
        };
    }

    /// On the CPU, reads another session's memory of a buffer that neither writes, whatever their plans, in place of its own.
    /// On a GPU each session keeps its own.
    pub(crate) fn share(&mut self, id: BufferId, other: &mut Session, theirs: BufferId) -> Result<()> {
        match (&mut self.inner, &mut other.inner) {
            (Inner::Cpu(own, _), Inner::Cpu(other, _)) => own.share(id, other, theirs),
            _ => Ok(()),
        }
    }

    /// The plan.
    pub fn plan(&self) -> &Arc<Plan> {
        match &self.inner {
            Inner::Cpu(s, _) => s.plan(),
            Inner::Gpu(s) => s.plan(),
        }
    }

    fn check(&self, id: BufferId, offset: usize, len: usize) -> Result<()> {
        let Some(slot) = self.plan().slots.get(id.0 as usize) else {
            let available = format!("0 to {}", self.plan().slots.len().saturating_sub(1));
            return Err(GraphError::Unknown { kind: "buffer", name: id.0.to_string(), available });
        };
        let end = offset.saturating_add(len);
        if end > slot.elements {
            let name = slot.name.as_deref().unwrap_or("buffer").to_string();
            return Err(GraphError::Length { name, found: end, needed: slot.elements });
        }
        Ok(())
    }

    fn check_phases(&self, phases: &[usize]) -> Result<()> {
        let have = self.plan().phases.len();
        match phases.iter().find(|phase| **phase >= have) {
            Some(phase) => {
                let available = format!("0 to {}", have.saturating_sub(1));
                Err(GraphError::Unknown { kind: "phase", name: phase.to_string(), available })
            }
            None => Ok(()),
        }
    }

    /// Writes the start of a resident buffer.
    pub fn write(&mut self, id: BufferId, data: &[f32]) -> Result<()> {
        self.write_at(id, 0, data)
    }

    /// Writes a resident buffer from element `offset`.
    pub fn write_at(&mut self, id: BufferId, offset: usize, data: &[f32]) -> Result<()> {
        self.check(id, offset, data.len())?;
        match &mut self.inner {
            Inner::Cpu(s, _) => s.write(id, offset, data),
            Inner::Gpu(s) => s.write(id, offset, data),
        }
    }

    /// Writes integers into a resident buffer.
    pub fn write_u32(&mut self, id: BufferId, data: &[u32]) -> Result<()> {
        self.write(id, bytemuck::cast_slice(data))
    }

    /// Reads the start of a resident buffer.
    pub fn read(&mut self, id: BufferId, out: &mut [f32]) -> Result<()> {
        self.read_at(id, 0, out)
    }

    /// Reads a resident buffer from element `offset`.
    pub fn read_at(&mut self, id: BufferId, offset: usize, out: &mut [f32]) -> Result<()> {
        self.check(id, offset, out.len())?;
        match &mut self.inner {
            Inner::Cpu(s, _) => {
                s.read(id, offset, out);
                Ok(())
            }
            Inner::Gpu(s) => s.read(id, offset, out),
        }
    }

    /// Reads integers from a resident buffer.
    pub fn read_u32(&mut self, id: BufferId, out: &mut [u32]) -> Result<()> {
        self.read(id, bytemuck::cast_slice_mut(out))
    }

    /// Replays phases one after another; on a GPU in one submit while it is predicted to stay under 100 ms, else cut at the
    /// plan's split marks. Does not wait for a GPU to finish: a read does.
    pub fn run(&mut self, phases: &[usize]) -> Result<()> {
        self.repeat(phases, 1)
    }

    /// Replays the phases `times` times; on a GPU in as few submits as [`Session::run`]'s limit allows.
    pub fn repeat(&mut self, phases: &[usize], times: usize) -> Result<()> {
        self.check_phases(phases)?;
        match &mut self.inner {
            Inner::Cpu(s, cpu) => cpu.lead(|team| {
                (0..times).try_for_each(|_| phases.iter().try_for_each(|p| s.run(*p, &team.into())))
            }),
            Inner::Gpu(s) => s.repeat(phases, times),
        }
    }

    /// On the CPU, replays phases on the calling thread alone (but see [`Session::split_kernels`]); on a GPU the same as
    /// [`Session::run`].
    pub fn run_serial(&mut self, phases: &[usize]) -> Result<()> {
        self.check_phases(phases)?;
        match &mut self.inner {
            Inner::Cpu(s, cpu) => alone(s, cpu, phases, self.threads),
            Inner::Gpu(s) => s.repeat(phases, 1),
        }
    }

    /// As [`Session::run_serial`], then reads buffers (at most four) from their starts; on a GPU all in one submit where
    /// that is short enough.
    pub fn run_reading(&mut self, phases: &[usize], reads: &mut [(BufferId, &mut [f32])]) -> Result<()> {
        self.check_phases(phases)?;
        for (id, out) in reads.iter() {
            self.check(*id, 0, out.len())?;
        }
        match &mut self.inner {
            Inner::Cpu(s, cpu) => {
                alone(s, cpu, phases, self.threads)?;
                reads.iter_mut().for_each(|(id, out)| s.read(*id, 0, out));
                Ok(())
            }
            Inner::Gpu(s) => s.run_reading(phases, 1, reads),
        }
    }

    /// As [`Session::repeat`], then reads buffers (at most four) from their starts; on a GPU the copies ride on the last submit.
    pub fn repeat_reading(
        &mut self,
        phases: &[usize],
        times: usize,
        reads: &mut [(BufferId, &mut [f32])],
    ) -> Result<()> {
        self.check_phases(phases)?;
        for (id, out) in reads.iter() {
            self.check(*id, 0, out.len())?;
        }
        if let Inner::Gpu(s) = &mut self.inner {
            return s.run_reading(phases, times, reads);
        }
        self.repeat(phases, times)?;
        self.run_reading(&[], reads)
    }

    /// Replays phases command by command and says how long each took: for measurements. Buffers change as in any replay, on a
    /// GPU as in several (a command that adds to its operand adds more than once). `replays` (at least 1) are measured after one that
    /// warms up; on the CPU on as many threads as [`Session::split_kernels`] says.
    pub fn profile(&mut self, phases: &[usize], replays: usize) -> Result<Profile> {
        self.check_phases(phases)?;
        match &mut self.inner {
            Inner::Cpu(s, cpu) => Ok(match self.threads {
                0 | 1 => s.profile(phases, replays, &TwinCx::SERIAL),
                _ => cpu.lead(|team| s.profile(phases, replays, &team.into())),
            }),
            Inner::Gpu(s) => s.profile(phases, replays),
        }
    }

    /// Waits until the device has done everything submitted.
    pub fn wait(&mut self) -> Result<()> {
        match &mut self.inner {
            Inner::Cpu(..) => Ok(()),
            Inner::Gpu(s) => s.wait(),
        }
    }

    /// Counts of what this device has done so far (zeros on the CPU, which dispatches nothing).
    pub fn counters(&self) -> CounterSnapshot {
        match &self.inner {
            Inner::Cpu(..) => CounterSnapshot::default(),
            Inner::Gpu(s) => s.counters(),
        }
    }
}

/// Replays phases on this thread, or with each kernel split over the pool's.
fn alone(session: &mut CpuSession, cpu: &Cpu, phases: &[usize], threads: usize) -> Result<()> {
    if threads <= 1 || phases.is_empty() {
        return phases.iter().try_for_each(|p| session.run(*p, &TwinCx::SERIAL));
    }
    cpu.lead(|team| phases.iter().try_for_each(|p| session.run(*p, &team.into())))
}
