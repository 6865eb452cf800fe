//! Runs cases on WGSL, through the engine's own device floor: its pipelines, bind groups and recordings, so that what is
//! tested is what runs. Buffers carry poison and canaries, and come back whole.

use crate::device::{Binding, Bound, Buffer, Command, DeviceError, Dispatch, Gpu};
use crate::kernel::BufferId;
use crate::kernel::case::Case;
use std::time::Duration;

/// How long one case may take: a software adapter compiles each kernel at its first use.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes for the parameters of one case; the largest struct has far fewer.
const PARAMS_BYTES: u64 = 1024;

/// A GPU on which cases run one after another. Pipelines are compiled once (the GPU keeps them).
pub struct CaseRunner {
    gpu: Gpu,
    params: Buffer,
}

impl CaseRunner {
    /// A runner on an opened GPU.
    pub fn new(gpu: &Gpu) -> Result<CaseRunner, DeviceError> {
        let params = gpu.create_uniform("case parameters", PARAMS_BYTES)?;
        Ok(CaseRunner { gpu: gpu.clone(), params })
    }

    /// Runs a case's WGSL variant; the buffers afterwards, canaries included.
    ///
    /// # Errors
    /// [`DeviceError::Bindings`] for a command that is none of the engine's or that reaches past its buffers; a failing device.
    pub fn run(&self, case: &Case) -> Result<Vec<Vec<f32>>, DeviceError> {
        let command = &case.command;
        let extent = |id: BufferId| case.buffers.get(id.0 as usize).map_or(0, Vec::len);
        let there = command.args.iter().all(|id| (id.0 as usize) < case.buffers.len());
        if !command.is_known() || !there || command.outside(extent).is_some() {
            return Err(DeviceError::Bindings {
                variant: command.variant.name,
                what: format!("the case {:?}", case.label),
                found: "a command that is none of the engine's, or that reaches past its buffers".into(),
                needed: "a command within its buffers".into(),
            });
        }
        // SAFETY: the command is one of the engine's, and touches its buffers only within their ends.
        unsafe { self.run_variant(case) }
    }

    /// As [`CaseRunner::run`], whatever the variant: for shaders that were rewritten to show a fault.
    ///
    /// # Safety
    /// The variant, as the case's parameters and grid have it, must read and write only within the case's buffers and the
    /// [`CANARIES`](crate::kernel::case::CANARIES) elements behind each.
    pub unsafe fn run_variant(&self, case: &Case) -> Result<Vec<Vec<f32>>, DeviceError> {
        let (gpu, variant) = (&self.gpu, case.command.variant);
        let mut bindings = vec![Binding::Params { bytes: variant.params_bytes }];
        bindings.extend(variant.bindings.iter().map(|access| Binding::Storage(*access)));
        // SAFETY: the caller has promised as much of the one dispatch below.
        let pipeline = unsafe { gpu.pipeline(variant.name, variant.source, &bindings) }?;
        gpu.write(&self.params, 0, bytemuck::cast_slice(&case.command.params))?;
        let prepared = case.prepared();
        let buffers = prepared.iter().map(|data| gpu.upload("case", data)).collect::<Result<Vec<_>, _>>()?;
        let mut bound = vec![Bound::whole(&self.params)];
        bound.extend(case.command.args.iter().map(|id| Bound::whole(&buffers[id.0 as usize])));
        let bind_group = gpu.bind_group(&pipeline, &bound)?;
        let run =
            [Dispatch { pipeline, bind_group, uniform_offset: 0, grid: case.command.grid, indirect: None }];

        let bytes: u64 = prepared.iter().map(|b| 4 * b.len() as u64).sum();
        let mut readback = gpu.readback(bytes)?;
        let submission = {
            let mut commands = vec![Command::Run(&run)];
            let mut at = 0;
            for (buffer, data) in buffers.iter().zip(&prepared) {
                let len = 4 * data.len() as u64;
                commands.push(readback.copy(buffer, 0, at, len));
                at += len;
            }
            gpu.submit(&commands)?
        };
        let mut flat = vec![0.0f32; prepared.iter().map(Vec::len).sum()];
        readback.fetch(&submission, bytemuck::cast_slice_mut(&mut flat), TIMEOUT)?;
        let mut rest = flat.as_slice();
        let split = |data: &Vec<f32>| {
            let (own, others) = rest.split_at(data.len());
            rest = others;
            own.to_vec()
        };
        Ok(prepared.iter().map(split).collect())
    }
}
