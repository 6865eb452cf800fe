//! What a Vulkan driver's compiler makes of every kernel: registers, spilled ones, workgroup memory, instructions.
//!
//! ```text
//! cargo bench --bench driver_statistics -- [--device NAME] [--listings FOLDER] [KERNEL...]
//! ```
//!
//! Nothing runs, so a driver will do whose GPU is not there: before Mesa 25.2 `RADV_FORCE_FAMILY=gfx1100` makes a radeonsi of that family
//! from nothing, later ones and NVK take a stand-in of the kernel's part (`drm-shim`). The SPIR-V is what wgpu hands to the driver.
//! `VK_KHR_pipeline_executable_properties` defines which numbers there are: each driver has its own.

use advect::kernel::variant::{self, Need, Variant};
use anyhow::{Context, Result, anyhow, bail};
use ash::{khr, vk};
use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::path::PathBuf;

/// What the command line asks for.
#[derive(Default)]
struct Asked {
    device: String,
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
    matrix_units: bool,
    workgroup_bytes: u32,
}

/// What the compiler says of one variant.
struct Made {
    statistics: Vec<(String, String)>,
    listings: Vec<(String, String)>,
}

impl Compiler {
    /// The first device whose name contains `name`.
    fn open(entry: &ash::Entry, name: &str) -> Result<(Compiler, String)> {
        let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        // SAFETY (also of the calls below): what they are given lives as long as the calls, handles are of the device that is asked, and
        // the process ends with the program, so nothing is destroyed before its last use.
        unsafe {
            let instance =
                entry.create_instance(&vk::InstanceCreateInfo::default().application_info(&app), None)?;
            let all = instance.enumerate_physical_devices()?;
            let named = |d: &vk::PhysicalDevice| {
                let p = instance.get_physical_device_properties(*d);
                (text(&p.device_name), p)
            };
            let found: Vec<String> = all.iter().map(|d| named(d).0).collect();
            let Some(&physical) = all.iter().find(|d| named(d).0.contains(name)) else {
                bail!("found {found:?}, needed a Vulkan device with {name:?} in its name");
            };
            let (name, limits) = named(&physical);
            let extensions = instance.enumerate_device_extension_properties(physical)?;
            let has = |wanted: &CStr| extensions.iter().any(|e| e.extension_name_as_c_str() == Ok(wanted));
            if !has(khr::pipeline_executable_properties::NAME) {
                bail!(
                    "'{name}' does not tell what it compiles ({:?})",
                    khr::pipeline_executable_properties::NAME
                );
            }
            let matrix_units = has(khr::cooperative_matrix::NAME);
            let mut enabled = vec![khr::pipeline_executable_properties::NAME.as_ptr()];
            let mut executables = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
                .pipeline_executable_info(true);
            if std::env::var("ROB").as_deref() == Ok("2") {
                enabled.push(ash::ext::robustness2::NAME.as_ptr());
            }
            let mut matrices =
                vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(true);
            let mut core12 = vk::PhysicalDeviceVulkan12Features::default();
            // As wgpu does, which changes what loads may be joined.
            let core10 = vk::PhysicalDeviceFeatures::default()
                .robust_buffer_access(std::env::var("ROB").as_deref() != Ok("0"));
            let mut rob2 = vk::PhysicalDeviceRobustness2FeaturesEXT::default().robust_buffer_access2(true);
            if matrix_units {
                enabled.push(khr::cooperative_matrix::NAME.as_ptr());
                core12 = core12
                    .shader_float16(true)
                    .vulkan_memory_model(true)
                    .vulkan_memory_model_device_scope(true);
            }
            let queue = [vk::DeviceQueueCreateInfo::default().queue_priorities(&[1.0])];
            let mut info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queue)
                .enabled_extension_names(&enabled)
                .enabled_features(&core10)
                .push_next(&mut executables)
                .push_next(&mut core12);
            if std::env::var("ROB").as_deref() == Ok("2") {
                info = info.push_next(&mut rob2);
            }
            if matrix_units {
                info = info.push_next(&mut matrices);
            }
            let device = instance.create_device(physical, &info, None)?;
            let properties = khr::pipeline_executable_properties::Device::new(&instance, &device);
            let workgroup_bytes = limits.limits.max_compute_shared_memory_size;
            Ok((Compiler { device, properties, matrix_units, workgroup_bytes }, name))
        }
    }

    /// Why this device cannot have the variant.
    fn lacks(&self, v: &Variant) -> Option<&'static str> {
        if v.needs.contains(&Need::MatrixUnits) && !self.matrix_units {
            Some("no matrix units")
        } else if v.shared_bytes > self.workgroup_bytes {
            Some("workgroup memory")
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

fn main() -> Result<()> {
    let asked = asked()?;
    // SAFETY: the loader is the system's Vulkan library.
    let entry = unsafe { ash::Entry::load() }.context("no Vulkan loader")?;
    let (compiler, name) = Compiler::open(&entry, &asked.device)?;
    println!("{name}");
    let mut refused = 0;
    let mut rows: BTreeMap<&str, Vec<(String, String)>> = BTreeMap::new();
    for v in variant::ALL {
        if !asked.kernels.is_empty() && !asked.kernels.iter().any(|k| k == v.kernel || k == v.name) {
            continue;
        }
        if let Some(lacking) = compiler.lacks(v) {
            println!("{}: not compiled ({lacking})", v.name);
            continue;
        }
        match compiler.compile(v) {
            Ok(made) => {
                if let Some(folder) = &asked.listings {
                    std::fs::create_dir_all(folder)?;
                    for (kind, listing) in &made.listings {
                        let kind: String = kind.chars().filter(char::is_ascii_alphanumeric).collect();
                        std::fs::write(folder.join(format!("{}.{kind}.txt", v.name)), listing)?;
                    }
                }
                rows.insert(v.name, made.statistics);
            }
            Err(e) => {
                refused += 1;
                println!("{}: REFUSED: {e}", v.name);
            }
        }
    }
    let mut columns: Vec<&String> = Vec::new();
    for (c, _) in rows.values().flatten() {
        if !columns.contains(&c) {
            columns.push(c);
        }
    }
    let head: Vec<&str> = columns.iter().map(|c| c.as_str()).collect();
    println!("\n| variant | {} |\n|---|{}", head.join(" | "), "---:|".repeat(head.len()));
    for (name, statistics) in &rows {
        let cell = |c: &&String| {
            statistics.iter().find(|(n, _)| n == *c).map(|(_, v)| v.clone()).unwrap_or_default()
        };
        println!("| {name} | {} |", columns.iter().map(cell).collect::<Vec<_>>().join(" | "));
    }
    if refused > 0 {
        bail!("the driver refused {refused} kernels");
    }
    Ok(())
}
