//! What an adapter can do: a report for people, and [`Caps`] for choosing kernels.

use serde::Serialize;

/// What kind of machine answers behind an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the CPU's memory.
    Integrated,
    /// A GPU lent by a hypervisor.
    Virtual,
    /// The driver does not say.
    Other,
    /// The CPU playing a GPU (llvmpipe, WARP, SwiftShader): about 50 times slower than the CPU executor.
    Software,
}

/// The limits that decide which kernels fit. Bytes are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DeviceLimits {
    /// Largest buffer, bytes.
    pub max_buffer_bytes: u64,
    /// Largest part of a buffer that a kernel can see through one storage binding, bytes.
    pub max_storage_binding_bytes: u64,
    /// Largest part of a buffer that a kernel can see through a uniform binding, bytes.
    pub max_uniform_binding_bytes: u64,
    /// On-chip memory of one workgroup, bytes.
    pub workgroup_storage_bytes: u32,
    /// Invocations (threads) in one workgroup.
    pub workgroup_invocations: u32,
    /// Largest workgroup along x, y, z.
    pub workgroup_size: [u32; 3],
    /// Largest grid along each dimension, workgroups.
    pub workgroups_per_dimension: u32,
    /// Storage buffers that one kernel can bind.
    pub storage_buffers_per_stage: u32,
    /// Immediates (push constants), bytes; 0 where there are none.
    pub max_immediate_bytes: u32,
    /// Alignment of a dynamic uniform offset, bytes.
    pub uniform_offset_alignment: u32,
    /// Alignment of a storage binding's offset, bytes.
    pub storage_offset_alignment: u32,
}

impl DeviceLimits {
    /// 32-bit elements that one storage binding takes.
    pub fn binding_elements(&self) -> usize {
        usize::try_from(self.max_storage_binding_bytes / 4).unwrap_or(usize::MAX)
    }
}

impl From<&wgpu::Limits> for DeviceLimits {
    fn from(l: &wgpu::Limits) -> Self {
        Self {
            max_buffer_bytes: l.max_buffer_size,
            max_storage_binding_bytes: l.max_storage_buffer_binding_size,
            max_uniform_binding_bytes: l.max_uniform_buffer_binding_size,
            workgroup_storage_bytes: l.max_compute_workgroup_storage_size,
            workgroup_invocations: l.max_compute_invocations_per_workgroup,
            workgroup_size: [
                l.max_compute_workgroup_size_x,
                l.max_compute_workgroup_size_y,
                l.max_compute_workgroup_size_z,
            ],
            workgroups_per_dimension: l.max_compute_workgroups_per_dimension,
            storage_buffers_per_stage: l.max_storage_buffers_per_shader_stage,
            max_immediate_bytes: l.max_immediate_size,
            uniform_offset_alignment: l.min_uniform_buffer_offset_alignment,
            storage_offset_alignment: l.min_storage_buffer_offset_alignment,
        }
    }
}

/// Invocations that run in lockstep and can exchange values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SubgroupSizes {
    /// Smallest size that the driver may choose.
    pub min: u32,
    /// Largest size that the driver may choose.
    pub max: u32,
}

/// Element type of a cooperative matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CoopScalar {
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// 32-bit signed integer.
    I32,
    /// 32-bit unsigned integer.
    U32,
}

impl From<wgpu::CooperativeScalarType> for CoopScalar {
    fn from(scalar: wgpu::CooperativeScalarType) -> Self {
        match scalar {
            wgpu::CooperativeScalarType::F32 => Self::F32,
            wgpu::CooperativeScalarType::F16 => Self::F16,
            wgpu::CooperativeScalarType::I32 => Self::I32,
            wgpu::CooperativeScalarType::U32 => Self::U32,
        }
    }
}

/// A product that the matrix units do in one instruction: C[m, n] += A[m, k] B[k, n].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CoopShape {
    /// Rows of A and C.
    pub m: u32,
    /// Columns of B and C.
    pub n: u32,
    /// Columns of A, rows of B.
    pub k: u32,
    /// Element type of A and B.
    pub input: CoopScalar,
    /// Element type of C.
    pub accumulate: CoopScalar,
}

/// Whether `auto` takes an adapter, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AutoVerdict {
    /// True for the one adapter that `auto` opens.
    pub taken: bool,
    /// The reason in a few words.
    pub reason: String,
}

/// One adapter as `advect devices` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AdapterReport {
    /// Position in [`enumerate`](super::enumerate), accepted as a [`DeviceChoice`](super::DeviceChoice).
    pub index: usize,
    /// The adapter's name.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: &'static str,
    /// The driver's name.
    pub driver: String,
    /// The driver's version.
    pub driver_info: String,
    /// What kind of machine it is.
    pub device_type: AdapterKind,
    /// Whether it runs compute shaders at all.
    pub compute: bool,
    /// What fits.
    pub limits: DeviceLimits,
    /// Subgroup sizes; none where subgroup operations are not supported.
    pub subgroups: Option<SubgroupSizes>,
    /// Whether shaders may use `f16`.
    pub shader_f16: bool,
    /// Whether GPU time can be measured.
    pub timestamps: bool,
    /// Products of the matrix units; empty where there are none.
    pub cooperative_matrix: Vec<CoopShape>,
    /// Whether `auto` takes it.
    pub auto: AutoVerdict,
}

impl AdapterReport {
    /// Asks an adapter. The verdict for `auto` is given later, when all adapters are known.
    pub(super) fn of(index: usize, adapter: &wgpu::Adapter) -> Self {
        let (info, features) = (adapter.get_info(), adapter.features());
        let down = adapter.get_downlevel_capabilities();
        let cooperative_matrix = if features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
            adapter.cooperative_matrix_properties().iter().map(shape).collect()
        } else {
            Vec::new()
        };
        Self {
            index,
            device_type: kind(info.device_type, &info.name),
            name: info.name,
            backend: info.backend.to_str(),
            driver: info.driver,
            driver_info: info.driver_info,
            compute: down.flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS),
            limits: DeviceLimits::from(&adapter.limits()),
            subgroups: features
                .contains(wgpu::Features::SUBGROUP)
                .then_some(SubgroupSizes { min: info.subgroup_min_size, max: info.subgroup_max_size }),
            shader_f16: features.contains(wgpu::Features::SHADER_F16),
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
            cooperative_matrix,
            auto: AutoVerdict { taken: false, reason: String::new() },
        }
    }

    /// Whether the CPU plays the GPU.
    pub fn is_software(&self) -> bool {
        self.device_type == AdapterKind::Software
    }

    /// One line: name, backend, kind and driver.
    pub fn describe(&self) -> String {
        let kind = match self.device_type {
            AdapterKind::Discrete => "discrete",
            AdapterKind::Integrated => "integrated",
            AdapterKind::Virtual => "virtual",
            AdapterKind::Other => "kind unknown",
            AdapterKind::Software => "software",
        };
        let driver = format!("{} {}", self.driver, self.driver_info);
        format!("{} [{}, {kind}] {}", self.name, self.backend, driver.trim()).trim_end().to_owned()
    }
}

/// What an opened device can do. Kernels are chosen from this alone; only what was really enabled appears.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Caps {
    /// What fits.
    pub limits: DeviceLimits,
    /// Subgroup sizes, where subgroup operations may be used.
    pub subgroups: Option<SubgroupSizes>,
    /// Whether shaders may use `f16`.
    pub f16: bool,
    /// Whether a [`Timer`](super::Timer) can be had.
    pub timestamps: bool,
    /// Whether shaders may use immediates.
    pub immediates: bool,
    /// Products of the matrix units; empty unless asked for with
    /// [`GpuOptions::cooperative_matrix`](super::GpuOptions).
    pub cooperative_matrix: Vec<CoopShape>,
    /// The CPU plays the GPU.
    pub software: bool,
    /// It has memory of its own.
    pub discrete: bool,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: &'static str,
}

impl Caps {
    /// The report's abilities, less what was not enabled.
    pub(super) fn of(report: &AdapterReport, enabled: wgpu::Features) -> Self {
        let coop = enabled.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
        Self {
            limits: report.limits,
            subgroups: report.subgroups.filter(|_| enabled.contains(wgpu::Features::SUBGROUP)),
            f16: enabled.contains(wgpu::Features::SHADER_F16),
            timestamps: enabled.contains(wgpu::Features::TIMESTAMP_QUERY),
            immediates: enabled.contains(wgpu::Features::IMMEDIATES),
            cooperative_matrix: if coop { report.cooperative_matrix.clone() } else { Vec::new() },
            software: report.is_software(),
            discrete: report.device_type == AdapterKind::Discrete,
            backend: report.backend,
        }
    }
}

fn shape(p: &wgpu::CooperativeMatrixProperties) -> CoopShape {
    CoopShape { m: p.m_size, n: p.n_size, k: p.k_size, input: p.ab_type.into(), accumulate: p.cr_type.into() }
}

/// The driver's word, corrected by the names of known software rasterisers (some report `Other` or `Virtual`).
fn kind(reported: wgpu::DeviceType, name: &str) -> AdapterKind {
    const SOFTWARE: [&str; 5] = ["llvmpipe", "lavapipe", "swiftshader", "basic render", "softpipe"];
    let name = name.to_lowercase();
    if SOFTWARE.iter().any(|s| name.contains(s)) {
        return AdapterKind::Software;
    }
    match reported {
        wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
        wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
        wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
        wgpu::DeviceType::Cpu => AdapterKind::Software,
        wgpu::DeviceType::Other => AdapterKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_is_known_by_type_and_by_name() {
        assert_eq!(kind(wgpu::DeviceType::Cpu, "x"), AdapterKind::Software);
        assert_eq!(kind(wgpu::DeviceType::Other, "SwiftShader Device (LLVM 10)"), AdapterKind::Software);
        assert_eq!(kind(wgpu::DeviceType::DiscreteGpu, "Radeon RX 7900"), AdapterKind::Discrete);
    }
}
