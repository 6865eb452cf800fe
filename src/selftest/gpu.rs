//! Runs cases on WGSL: a plain wgpu device, one dispatch per case, buffers read back with their canaries.
//!
//! This is the reference executor of kernel tests: it shares nothing with the engine's own recording, so that a fault
//! in one does not hide a fault in the other.

use crate::device::Access;
use crate::kernel::Variant;
use crate::kernel::case::Case;
use std::collections::HashMap;

/// Why the kernel tests could not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// No adapter was found, or it gave no device.
    #[error("no GPU device: {reason}")]
    NoDevice {
        /// What wgpu said.
        reason: String,
    },
    /// A case failed to compile, bind, run or come back.
    #[error("{label}: {reason}")]
    Failed {
        /// Which case.
        label: String,
        /// What wgpu said.
        reason: String,
    },
}

/// A device with the pipelines that were used so far.
pub struct CaseRunner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    name: String,
    pipelines: HashMap<&'static str, wgpu::ComputePipeline>,
}

impl CaseRunner {
    /// A runner on the default adapter, with the limits of the adapter.
    pub fn new() -> Result<CaseRunner, GpuError> {
        let none = |reason: String| GpuError::NoDevice { reason };
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        let adapter =
            pollster::block_on(instance.request_adapter(&options)).map_err(|e| none(e.to_string()))?;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("kernel cases"),
            required_features: adapter.features() & wgpu::Features::SUBGROUP,
            required_limits: adapter.limits(),
            ..Default::default()
        };
        let (device, queue) =
            pollster::block_on(adapter.request_device(&descriptor)).map_err(|e| none(e.to_string()))?;
        let name = adapter.get_info().name;
        Ok(CaseRunner { device, queue, name, pipelines: HashMap::new() })
    }

    /// The adapter's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a case's WGSL variant; the buffers afterwards, canaries included.
    pub fn run(&mut self, case: &Case) -> Result<Vec<Vec<f32>>, GpuError> {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let result = self.run_unscoped(case);
        let error = pollster::block_on(scope.pop());
        let failed = |reason: String| GpuError::Failed { label: case.label.clone(), reason };
        match (error, result) {
            (Some(e), _) => Err(failed(e.to_string())),
            (None, result) => result.map_err(failed),
        }
    }

    fn run_unscoped(&mut self, case: &Case) -> Result<Vec<Vec<f32>>, String> {
        use wgpu::BufferUsages as Usage;
        let variant = case.command.variant;
        if !self.pipelines.contains_key(variant.name) {
            let pipeline = pipeline(&self.device, variant);
            self.pipelines.insert(variant.name, pipeline);
        }
        let pipeline = &self.pipelines[variant.name];
        let buffer = |bytes: &[u8], usage: Usage| {
            let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: bytes.len() as u64,
                usage: usage | Usage::COPY_DST,
                mapped_at_creation: false,
            });
            self.queue.write_buffer(&buffer, 0, bytes);
            buffer
        };
        let params = buffer(bytemuck::cast_slice(&case.command.params), Usage::UNIFORM);
        let prepared = case.prepared();
        let buffers: Vec<wgpu::Buffer> = prepared
            .iter()
            .map(|b| buffer(bytemuck::cast_slice(b), Usage::STORAGE | Usage::COPY_SRC))
            .collect();
        let entries: Vec<wgpu::BindGroupEntry<'_>> = std::iter::once(&params)
            .chain(case.command.args.iter().map(|id| &buffers[id.0 as usize]))
            .enumerate()
            .map(|(k, b)| wgpu::BindGroupEntry { binding: k as u32, resource: b.as_entire_binding() })
            .collect();
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, &group, &[]);
            let [x, y, z] = case.command.grid;
            pass.dispatch_workgroups(x, y, z);
        }
        let readback: Vec<wgpu::Buffer> = buffers
            .iter()
            .map(|b| {
                let to = self.device.create_buffer(&wgpu::BufferDescriptor {
                    label: None,
                    size: b.size(),
                    usage: Usage::COPY_DST | Usage::MAP_READ,
                    mapped_at_creation: false,
                });
                encoder.copy_buffer_to_buffer(b, 0, &to, 0, b.size());
                to
            })
            .collect();
        self.queue.submit([encoder.finish()]);
        for b in &readback {
            b.map_async(wgpu::MapMode::Read, .., |_| {});
        }
        self.device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| e.to_string())?;
        readback
            .iter()
            .map(|b| {
                let bytes = b.get_mapped_range(..).map_err(|e| e.to_string())?;
                Ok(bytemuck::pod_collect_to_vec(&bytes))
            })
            .collect()
    }
}

/// The variant's pipeline as the engine makes it: no runtime checks, no zeroed workgroup memory.
fn pipeline(device: &wgpu::Device, variant: &Variant) -> wgpu::ComputePipeline {
    let label = Some(variant.name);
    let source = wgpu::ShaderSource::Wgsl(variant.source.into());
    let descriptor = wgpu::ShaderModuleDescriptor { label, source };
    // SAFETY: the engine's own shaders; these tests exist to show that they stay within their buffers.
    let module =
        unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) };
    let ty = |access: Option<&Access>| wgpu::BindingType::Buffer {
        ty: match access {
            None => wgpu::BufferBindingType::Uniform,
            Some(a) => wgpu::BufferBindingType::Storage { read_only: *a == Access::Read },
        },
        has_dynamic_offset: false,
        min_binding_size: None,
    };
    let entries: Vec<wgpu::BindGroupLayoutEntry> = std::iter::once(None)
        .chain(variant.bindings.iter().map(Some))
        .enumerate()
        .map(|(k, access)| wgpu::BindGroupLayoutEntry {
            binding: k as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: ty(access),
            count: None,
        })
        .collect();
    let group =
        device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label,
        bind_group_layouts: &[Some(&group)],
        immediate_size: 0,
    });
    device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label,
        layout: Some(&layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache: None,
    })
}
