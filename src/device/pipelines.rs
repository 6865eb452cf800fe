//! Kernels as the device knows them: compiled pipelines by variant name, and bind groups.

use super::buffers::check_multiple;
use super::counters::add;
use super::pipeline_cache::PipelineCache;
use super::{Buffer, DeviceError, Gpu};
use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash, Hasher};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// Least size of a storage binding, bytes: one vec4. Buffers are never smaller.
const LEAST_STORAGE_BYTES: u64 = 16;

/// How a kernel uses a storage buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`, of which every element is written before any is read.
    Write,
    /// `var<storage, read_write>`.
    ReadWrite,
}

/// One binding of a kernel. Its number in the shader (group 0) is its place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binding {
    /// `var<uniform>` of `bytes` bytes, seen at each dispatch's dynamic offset. At most one; by convention at 0.
    Params {
        /// Size of the parameter block, bytes.
        bytes: u32,
    },
    /// A storage buffer.
    Storage(Access),
}

/// A compiled kernel variant.
#[derive(Debug)]
pub struct Pipeline {
    name: &'static str,
    source: u64,
    pub(super) raw: wgpu::ComputePipeline,
    pub(super) layout: Arc<Layout>,
}

/// A bind group layout; kernels with equal bindings share one, and so can share bind groups.
#[derive(Debug)]
pub(super) struct Layout {
    bindings: Box<[Binding]>,
    raw: wgpu::BindGroupLayout,
    pub has_params: bool,
}

impl Pipeline {
    /// The variant's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The bindings, in order of their numbers.
    pub fn bindings(&self) -> &[Binding] {
        &self.layout.bindings
    }
}

/// What was compiled so far.
#[derive(Debug, Default)]
pub(super) struct PipelineStore {
    pipelines: Mutex<HashMap<&'static str, Arc<Pipeline>>>,
    layouts: Mutex<HashMap<Box<[Binding]>, Arc<Layout>>>,
    /// What the driver keeps of them on disk, if it does.
    pub cache: OnceLock<PipelineCache>,
}

impl Gpu {
    /// The pipeline of the kernel variant `name`, compiled on first use: WGSL `source` with the entry point `main` and
    /// `bindings` in group 0. The same name with another source or other bindings is an error.
    ///
    /// # Safety
    /// The shader runs without checks, neither wgpu's nor, on Vulkan, the driver's. Whoever dispatches the pipeline must see to it that
    /// with the grids, parameters and buffers of every dispatch it reads and writes only within its bindings, ends, and divides by
    /// nothing that is 0. The engine's own kernels do, on plans that [`Program::finish`](crate::graph::Program::finish) has made.
    pub unsafe fn pipeline(
        &self,
        name: &'static str,
        source: &str,
        bindings: &[Binding],
    ) -> Result<Arc<Pipeline>, DeviceError> {
        self.check()?;
        let mut hasher = DefaultHasher::new();
        source.hash(&mut hasher);
        let hash = hasher.finish();
        let store = &self.inner.pipelines;
        let known = lock(&store.pipelines).get(name).cloned();
        if let Some(pipeline) = known {
            return match () {
                () if pipeline.source != hash => {
                    Err(DeviceError::VariantClash { variant: name, what: "source" })
                }
                () if pipeline.bindings() != bindings => {
                    Err(DeviceError::VariantClash { variant: name, what: "bindings" })
                }
                () => Ok(pipeline),
            };
        }
        // The lock is free while the driver compiles, so threads can compile different kernels at once.
        let layout = self.layout(name, bindings)?;
        let begun = Instant::now();
        let raw = self.compile(name, source, &layout)?;
        let spent = begun.elapsed();
        tracing::debug!("compiled {name} in {spent:.1?}");
        add(&self.inner.counters.pipelines_created, 1);
        add(&self.inner.counters.compile_us, spent.as_micros() as u64);
        let pipeline = Arc::new(Pipeline { name, source: hash, raw, layout });
        Ok(lock(&store.pipelines).entry(name).or_insert(pipeline).clone())
    }

    fn layout(&self, name: &'static str, bindings: &[Binding]) -> Result<Arc<Layout>, DeviceError> {
        let params = bindings.iter().filter(|b| matches!(b, Binding::Params { .. })).count();
        let (storage, have) = (bindings.len() - params, self.caps().limits.storage_buffers_per_stage);
        if storage as u64 > u64::from(have) {
            let what = format!("kernel '{name}' in storage buffers (max_storage_buffers_per_shader_stage)");
            return Err(DeviceError::Limit { what, need: storage as u64, have: have.into() });
        }
        if params > 1 {
            return Err(mismatch(name, "parameter blocks", params, "at most 1"));
        }
        if let Some(layout) = lock(&self.inner.pipelines.layouts).get(bindings) {
            return Ok(layout.clone());
        }
        let entries: Vec<_> = bindings.iter().zip(0..).map(|(b, number)| layout_entry(*b, number)).collect();
        let desc = wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries };
        let raw = self.scoped(name, |device| device.create_bind_group_layout(&desc))?;
        let layout = Arc::new(Layout { bindings: bindings.into(), raw, has_params: params == 1 });
        Ok(lock(&self.inner.pipelines.layouts).entry(bindings.into()).or_insert(layout).clone())
    }

    fn compile(
        &self,
        name: &'static str,
        source: &str,
        layout: &Layout,
    ) -> Result<wgpu::ComputePipeline, DeviceError> {
        self.scoped(name, |device| {
            let desc = wgpu::ShaderModuleDescriptor {
                label: Some(name),
                source: wgpu::ShaderSource::Wgsl(source.into()),
            };
            // SAFETY: unchecked shaders may reach past their buffers, loop for ever or divide by zero if they are
            // wrong. Only `pipeline` comes here, whose callers have promised that they are not. The engine compiles only its own
            // kernels: build.rs validates each with naga, grids and bounds come from one Rust table, what each call touches is
            // checked on every plan, and canary tests run every kernel between guard regions. The checks would cost a clamp on
            // each load and a counter in each loop.
            let module =
                unsafe { device.create_shader_module_trusted(desc, wgpu::ShaderRuntimeChecks::unchecked()) };
            let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(name),
                bind_group_layouts: &[Some(&layout.raw)],
                immediate_size: 0,
            });
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(name),
                layout: Some(&layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: self.inner.pipelines.cache.get().map(PipelineCache::raw),
            })
        })
        .map_err(|error| match error {
            DeviceError::Validation { message } | DeviceError::Internal { message } => {
                DeviceError::Shader { variant: name, message }
            }
            other => other,
        })
    }

    /// Binds one buffer to each binding of `pipeline`. Prefer a [`BindGroupCache`] where several dispatches use the
    /// same buffers.
    pub fn bind_group(
        &self,
        pipeline: &Pipeline,
        bound: &[Bound<'_>],
    ) -> Result<Arc<wgpu::BindGroup>, DeviceError> {
        self.check()?;
        let (name, bindings) = (pipeline.name, pipeline.bindings());
        if bound.len() != bindings.len() {
            return Err(mismatch(name, "buffers", bound.len(), bindings.len()));
        }
        let mut entries = Vec::with_capacity(bound.len());
        for ((binding, bound), number) in bindings.iter().zip(bound).zip(0u32..) {
            let size = self.check_bound(name, number, *binding, bound)?;
            let buffer = bound.buffer.raw();
            let resource =
                wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: bound.offset, size });
            entries.push(wgpu::BindGroupEntry { binding: number, resource });
        }
        check_aliases(name, bindings, bound)?;
        let desc =
            wgpu::BindGroupDescriptor { label: Some(name), layout: &pipeline.layout.raw, entries: &entries };
        let group = self.scoped(name, |device| device.create_bind_group(&desc))?;
        add(&self.inner.counters.bind_groups_created, 1);
        Ok(Arc::new(group))
    }

    /// The size to bind, after checking range, alignment and limits.
    fn check_bound(
        &self,
        name: &'static str,
        number: u32,
        binding: Binding,
        bound: &Bound<'_>,
    ) -> Result<Option<NonZeroU64>, DeviceError> {
        let limits = &self.caps().limits;
        let (bytes, most, align) = match binding {
            Binding::Params { bytes } => {
                (u64::from(bytes), limits.max_uniform_binding_bytes, limits.uniform_offset_alignment)
            }
            Binding::Storage(_) => {
                let rest = bound.buffer.bytes().saturating_sub(bound.offset);
                (
                    bound.bytes.unwrap_or(rest),
                    limits.max_storage_binding_bytes,
                    limits.storage_offset_alignment,
                )
            }
        };
        bound.buffer.check_range(bound.offset, bytes)?;
        let what = || format!("kernel '{name}', binding {number} ('{}')", bound.buffer.label());
        check_multiple(bound.offset, align.into(), || format!("the offset of {}", what()))?;
        if bytes > most {
            return Err(DeviceError::Limit { what: format!("{} in bytes", what()), need: bytes, have: most });
        }
        if matches!(binding, Binding::Storage(_)) && bytes < LEAST_STORAGE_BYTES {
            let (found, needed) = (format!("{bytes} bytes"), format!("at least {LEAST_STORAGE_BYTES}"));
            return Err(mismatch(name, &what(), found, needed));
        }
        Ok(NonZeroU64::new(bytes))
    }
}

/// A buffer, or a part of it, offered to a binding.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    buffer: &'a Buffer,
    offset: u64,
    bytes: Option<u64>,
}

impl<'a> Bound<'a> {
    /// The whole buffer. For [`Binding::Params`], the window of the parameter block that dynamic offsets move.
    pub fn whole(buffer: &'a Buffer) -> Self {
        Self { buffer, offset: 0, bytes: None }
    }

    /// `bytes` bytes from byte `offset` on. The offset must respect `storage_offset_alignment`.
    pub fn part(buffer: &'a Buffer, offset: u64, bytes: u64) -> Self {
        Self { buffer, offset, bytes: Some(bytes) }
    }
}

/// Bind groups by layout and buffers, so that dispatches over the same buffers share one and a replay binds less. A
/// session owns it while it plans; it keeps its buffers alive.
#[derive(Debug)]
pub struct BindGroupCache {
    gpu: Gpu,
    groups: HashMap<(usize, Vec<Slot>), Arc<wgpu::BindGroup>>,
    // Layouts are keyed by address, so those in use must stay.
    layouts: Vec<Arc<Layout>>,
}

type Slot = (wgpu::Buffer, u64, Option<u64>);

impl BindGroupCache {
    /// An empty cache.
    pub fn new(gpu: &Gpu) -> Self {
        Self { gpu: gpu.clone(), groups: HashMap::new(), layouts: Vec::new() }
    }

    /// The bind group of these buffers for `pipeline`, made on first use.
    pub fn get(
        &mut self,
        pipeline: &Pipeline,
        bound: &[Bound<'_>],
    ) -> Result<Arc<wgpu::BindGroup>, DeviceError> {
        let slots = bound.iter().map(|b| (b.buffer.raw().clone(), b.offset, b.bytes)).collect();
        match self.groups.entry((Arc::as_ptr(&pipeline.layout) as usize, slots)) {
            Entry::Occupied(known) => {
                add(&self.gpu.inner.counters.bind_groups_reused, 1);
                Ok(known.get().clone())
            }
            Entry::Vacant(new) => {
                let group = self.gpu.bind_group(pipeline, bound)?;
                self.layouts.push(pipeline.layout.clone());
                Ok(new.insert(group).clone())
            }
        }
    }
}

fn layout_entry(binding: Binding, number: u32) -> wgpu::BindGroupLayoutEntry {
    let (ty, dynamic, least) = match binding {
        Binding::Params { bytes } => (wgpu::BufferBindingType::Uniform, true, u64::from(bytes)),
        Binding::Storage(access) => {
            // Enough for the element of any array; less would refuse kernels that load vec4s.
            let least = LEAST_STORAGE_BYTES;
            (wgpu::BufferBindingType::Storage { read_only: access == Access::Read }, false, least)
        }
    };
    wgpu::BindGroupLayoutEntry {
        binding: number,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: dynamic,
            min_binding_size: NonZeroU64::new(least),
        },
        count: None,
    }
}

/// wgpu tracks whole buffers: one bound both read-only and writable in a dispatch is refused, but only at submission.
fn check_aliases(name: &'static str, bindings: &[Binding], bound: &[Bound<'_>]) -> Result<(), DeviceError> {
    let writes = |b: &Binding| matches!(b, Binding::Storage(Access::Write | Access::ReadWrite));
    for (i, (binding, a)) in bindings.iter().zip(bound).enumerate() {
        let clash = bindings
            .iter()
            .zip(bound)
            .position(|(other, b)| writes(binding) && !writes(other) && a.buffer.raw() == b.buffer.raw());
        if let Some(j) = clash {
            let what = format!("bindings {j} (read) and {i} (write)");
            let found = format!("'{}' in both", a.buffer.label());
            return Err(mismatch(name, &what, found, "two buffers, or both writable"));
        }
    }
    Ok(())
}

fn mismatch(variant: &'static str, what: &str, found: impl ToString, needed: impl ToString) -> DeviceError {
    let (what, found, needed) = (what.to_owned(), found.to_string(), needed.to_string());
    DeviceError::Bindings { variant, what, found, needed }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
