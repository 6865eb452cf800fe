//! What a Vulkan driver's compiler makes of every kernel: registers, spilled ones, workgroup memory, instructions.
//!
//! ```text
//! cargo bench --bench driver_statistics -- [--device NAME] [--checked] [--may-spill] [--listings FOLDER] [KERNEL...]
//! ```
//!
//! Nothing runs, so a driver will do whose GPU is not there: `tests/drivers/run.sh standins` has several. The SPIR-V is what wgpu hands to
//! a driver, the device is as the engine opens it (`--checked`: with the driver's own checks of loads and stores). Which numbers there are
//! is each driver's choice (VK_KHR_pipeline_executable_properties). The exit status is 1 if a kernel is refused, or
//! spills registers to memory and may not; 3 if the driver does not tell.

use advect::kernel::variant::{self, Need, Variant};
use anyhow::{Context, Result, anyhow, bail};
use ash::{khr, vk};
use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::path::{Path, PathBuf};

/// What the command line asks for.
#[derive(Default)]
struct Asked {
    device: String,
    checked: bool,
    may_spill: bool,
    listings: Option<PathBuf>,
    kernels: Vec<String>,
}

fn asked() -> Result<Asked> {
    let mut asked = Asked::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            // Cargo's own.
            "--bench" => {}
            "--device" => asked.device = words.next().context("--device needs a part of a name")?,
            "--checked" => asked.checked = true,
            "--may-spill" => asked.may_spill = true,
            "--listings" => asked.listings = Some(words.next().context("--listings needs a folder")?.into()),
            flag if flag.starts_with('-') => bail!("unknown option {flag}"),
            _ => asked.kernels.push(word),
        }
    }
    Ok(asked)
}

/// A variant as wgpu's Vulkan backend would write it for a module without run-time checks.
fn spirv(v: &Variant) -> Result<Vec<u32>> {
    let module = naga::front::wgsl::parse_str(v.source).map_err(|e| anyhow!(e.emit_to_string(v.source)))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module)?;
    let unchecked = BoundsCheckPolicy::Unchecked;
    let options = spv::Options {
        lang_version: (1, 6),
        bounds_check_policies: BoundsCheckPolicies {
            index: unchecked,
            buffer: unchecked,
            image_load: unchecked,
            binding_array: unchecked,
        },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        ..Default::default()
    };
    let entry =
        spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: "main".to_string() };
    Ok(spv::write_vec(&module, &info, &options, Some(&entry))?)
}

fn text(chars: &[c_char]) -> String {
    let bytes: Vec<u8> = chars.iter().map(|c| *c as u8).collect();
    CStr::from_bytes_until_nul(&bytes).map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A device, and what one needs to ask its compiler.
struct Compiler {
    device: ash::Device,
    properties: khr::pipeline_executable_properties::Device,
    /// Sides of the square matrices whose products it computes, halves in and single precision out.
    matrix_units: Vec<u32>,
    workgroup_bytes: u32,
}

/// What drivers call the registers that did not fit: their number, or the bytes that hold them.
const SPILLS: [&str; 7] =
    ["Spilled VGPRs", "Scratch size", "Spills to memory", "SLM size", "STP Count", "Spills", "Scratch"];

/// What the compiler says of one variant.
struct Made {
    statistics: Vec<(String, String)>,
    listings: Vec<(String, String)>,
}

impl Compiler {
    /// The first device whose name contains `name`.
    fn open(entry: &ash::Entry, asked: &Asked) -> Result<(Compiler, String)> {
        let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let info = vk::InstanceCreateInfo::default().application_info(&app);
        // SAFETY (also of the calls below): what a call is given lives as long as the call, handles are of the device that is asked, and
        // nothing is destroyed before the process ends.
        let instance = unsafe { entry.create_instance(&info, None)? };
        let mut found = Vec::new();
        for physical in unsafe { instance.enumerate_physical_devices()? } {
            let properties = unsafe { instance.get_physical_device_properties(physical) };
            let name = text(&properties.device_name);
            if name.contains(&asked.device) {
                return Ok((Self::on(entry, &instance, physical, &properties, asked.checked)?, name));
            }
            found.push(name);
        }
        bail!("found {found:?}, needed a Vulkan device with {:?} in its name", asked.device);
    }

    fn on(
        entry: &ash::Entry,
        instance: &ash::Instance,
        physical: vk::PhysicalDevice,
        properties: &vk::PhysicalDeviceProperties,
        checked: bool,
    ) -> Result<Compiler> {
        let extensions = unsafe { instance.enumerate_device_extension_properties(physical)? };
        let has = |wanted: &CStr| extensions.iter().any(|e| e.extension_name_as_c_str() == Ok(wanted));
        if !has(khr::pipeline_executable_properties::NAME) {
            eprintln!("it does not tell what it compiles ({:?})", khr::pipeline_executable_properties::NAME);
            std::process::exit(3);
        }
        let mut enabled = vec![khr::pipeline_executable_properties::NAME.as_ptr()];
        let mut matrix_units = Vec::new();
        if has(khr::cooperative_matrix::NAME) {
            let functions = khr::cooperative_matrix::Instance::new(entry, instance);
            for shape in unsafe { functions.get_physical_device_cooperative_matrix_properties(physical)? } {
                let (half, single) = (vk::ComponentTypeKHR::FLOAT16, vk::ComponentTypeKHR::FLOAT32);
                let side = shape.m_size;
                if [shape.n_size, shape.k_size] == [side; 2]
                    && [shape.a_type, shape.b_type, shape.c_type, shape.result_type]
                        == [half, half, single, single]
                {
                    matrix_units.push(side);
                }
            }
        }
        let mut executables = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
            .pipeline_executable_info(true);
        let mut matrices = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(true);
        let mut core12 = vk::PhysicalDeviceVulkan12Features::default();
        let core10 = vk::PhysicalDeviceFeatures::default().robust_buffer_access(checked);
        if !matrix_units.is_empty() {
            enabled.push(khr::cooperative_matrix::NAME.as_ptr());
            core12 =
                core12.shader_float16(true).vulkan_memory_model(true).vulkan_memory_model_device_scope(true);
        }
        let queue = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
        let mut info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queue)
            .enabled_extension_names(&enabled)
            .enabled_features(&core10)
            .push_next(&mut executables)
            .push_next(&mut core12);
        if !matrix_units.is_empty() {
            info = info.push_next(&mut matrices);
        }
        let device = unsafe { instance.create_device(physical, &info, None)? };
        let workgroup_bytes = properties.limits.max_compute_shared_memory_size;
        let properties = khr::pipeline_executable_properties::Device::new(instance, &device);
        Ok(Compiler { device, properties, matrix_units, workgroup_bytes })
    }

    /// Why this device cannot have the variant.
    fn lacks(&self, v: &Variant) -> Option<&'static str> {
        if v.needs.contains(&Need::MatrixUnits) && !self.matrix_units.contains(&v.constant("S")) {
            Some("no such matrix units")
        } else if v.shared_bytes > self.workgroup_bytes {
            Some("too little workgroup memory")
        } else {
            None
        }
    }

    fn compile(&self, v: &Variant) -> Result<Made> {
        let words = spirv(v)?;
        let bindings: Vec<_> = (0..=v.bindings.len() as u32)
            .map(|i| {
                let kind = if i == 0 {
                    vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC
                } else {
                    vk::DescriptorType::STORAGE_BUFFER
                };
                vk::DescriptorSetLayoutBinding::default()
                    .binding(i)
                    .descriptor_type(kind)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        let d = &self.device;
        // SAFETY: as in `open`; the SPIR-V was validated by naga.
        unsafe {
            let set = d.create_descriptor_set_layout(
                &vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings),
                None,
            )?;
            let sets = [set];
            let layout =
                d.create_pipeline_layout(&vk::PipelineLayoutCreateInfo::default().set_layouts(&sets), None)?;
            let module = d.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(&words), None)?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(c"main");
            let wanted = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
            let info = [vk::ComputePipelineCreateInfo::default().flags(wanted).stage(stage).layout(layout)];
            let pipeline = d
                .create_compute_pipelines(vk::PipelineCache::null(), &info, None)
                .map_err(|(_, e)| anyhow!("the driver says {e}"))?[0];
            let executable = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
            let mut statistics: Vec<_> = self
                .properties
                .get_pipeline_executable_statistics(&executable)?
                .iter()
                .map(|s| {
                    let value = match s.format {
                        vk::PipelineExecutableStatisticFormatKHR::FLOAT64 => format!("{:.2}", s.value.f64),
                        vk::PipelineExecutableStatisticFormatKHR::INT64 => s.value.i64.to_string(),
                        vk::PipelineExecutableStatisticFormatKHR::BOOL32 => (s.value.b32 != 0).to_string(),
                        _ => s.value.u64.to_string(),
                    };
                    (text(&s.name), value)
                })
                .collect();
            let count = self
                .properties
                .get_pipeline_executable_properties(&vk::PipelineInfoKHR::default().pipeline(pipeline))?;
            if let [one] = count.as_slice() {
                statistics.insert(0, ("Subgroup size".into(), one.subgroup_size.to_string()));
            }
            Ok(Made { statistics, listings: self.listings(&executable)? })
        }
    }

    fn listings(&self, executable: &vk::PipelineExecutableInfoKHR) -> Result<Vec<(String, String)>> {
        let handle = self.device.handle();
        let ask = self.properties.fp().get_pipeline_executable_internal_representations_khr;
        let mut count = 0;
        // SAFETY: as in `open`; the second call learns how long each text is, the third has room for it.
        unsafe {
            ask(handle, executable, &mut count, std::ptr::null_mut()).result()?;
            let mut all = vec![vk::PipelineExecutableInternalRepresentationKHR::default(); count as usize];
            ask(handle, executable, &mut count, all.as_mut_ptr()).result()?;
            let mut texts: Vec<Vec<u8>> = all.iter().map(|r| vec![0; r.data_size]).collect();
            for (r, t) in all.iter_mut().zip(&mut texts) {
                r.p_data = t.as_mut_ptr().cast();
            }
            ask(handle, executable, &mut count, all.as_mut_ptr()).result()?;
            Ok(all
                .iter()
                .zip(texts)
                .map(|(r, t)| {
                    let t = String::from_utf8_lossy(&t);
                    (text(&r.name), t.trim_end_matches('\0').to_string())
                })
                .collect())
        }
    }
}

/// Writes what a compiler shows of a kernel, a file for each kind of listing.
fn write_listings(folder: &Path, name: &str, made: &Made) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for (kind, listing) in &made.listings {
        let kind: String = kind.chars().filter(char::is_ascii_alphanumeric).collect();
        std::fs::write(folder.join(format!("{name}.{kind}.txt")), listing)?;
    }
    Ok(())
}

fn print(rows: &BTreeMap<&str, Vec<(String, String)>>) {
    let mut columns: Vec<&str> = Vec::new();
    for (column, _) in rows.values().flatten() {
        if !columns.contains(&column.as_str()) {
            columns.push(column);
        }
    }
    println!("\n| variant | {} |\n|---|{}", columns.join(" | "), "---:|".repeat(columns.len()));
    for (name, statistics) in rows {
        let cell = |column: &&str| {
            statistics.iter().find(|(name, _)| name == column).map_or("", |(_, value)| value.as_str())
        };
        println!("| {name} | {} |", columns.iter().map(cell).collect::<Vec<_>>().join(" | "));
    }
}

fn main() -> Result<()> {
    let asked = asked()?;
    // SAFETY: what is loaded is the system's Vulkan library.
    let entry = unsafe { ash::Entry::load() }.context("no Vulkan loader")?;
    let (compiler, device) = Compiler::open(&entry, &asked)?;
    println!("{device}");
    let (mut refused, mut spilling, mut rows) = (Vec::new(), Vec::new(), BTreeMap::new());
    for v in variant::ALL {
        if !asked.kernels.is_empty() && !asked.kernels.iter().any(|k| k == v.kernel || k == v.name) {
            continue;
        }
        if let Some(lacking) = compiler.lacks(v) {
            println!("{}: not compiled ({lacking})", v.name);
            continue;
        }
        let made = match compiler.compile(v) {
            Ok(made) => made,
            Err(error) => {
                refused.push(format!("{} is refused: {error}", v.name));
                continue;
            }
        };
        if let Some(folder) = &asked.listings {
            write_listings(folder, v.name, &made)?;
        }
        for (name, value) in &made.statistics {
            if SPILLS.contains(&name.as_str()) && value != "0" {
                spilling.push(format!("{} spills: {name} {value}", v.name));
            }
        }
        rows.insert(v.name, made.statistics);
    }
    print(&rows);
    println!("\n{device}: {} kernels compiled, {} spill registers to memory", rows.len(), spilling.len());
    let wrong = if asked.may_spill { refused } else { [refused, spilling].concat() };
    if !wrong.is_empty() {
        bail!("{device}:\n{}", wrong.join("\n"));
    }
    Ok(())
}
