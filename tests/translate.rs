//! Every WGSL variant in every language that wgpu speaks, so that Metal and DX12 are checked on machines that have
//! neither; and that the shaders, the kernel table and the test cases agree about what there is.

use advect::device::Access;
use advect::kernel::variant::Need;
use advect::kernel::{KERNELS, Kernel, Target, Variant, variant};
use advect::selftest::cases::CASES;
use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use std::collections::{BTreeMap, BTreeSet};

/// Runtime checks as a browser would have them, and as this engine has them (`create_shader_module_trusted`).
const SETTINGS: [(&str, bool); 2] = [("checked", true), ("unchecked", false)];

fn parse(v: &Variant) -> Result<(naga::Module, ModuleInfo), String> {
    let module =
        naga::front::wgsl::parse_str(v.source).map_err(|e| e.emit_to_string_with_path(v.source, v.name))?;
    let needed = v.needs.iter().map(|need| match need {
        Need::Subgroups => Capabilities::SUBGROUP,
        Need::MatrixUnits => Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16,
    });
    let capabilities = needed
        .fold(Capabilities::default() | Capabilities::SHADER_FLOAT16_IN_FLOAT32, |all, needed| all | needed);
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|e| e.emit_to_string_with_path(v.source, v.name))?;
    Ok((module, info))
}

/// Every policy the same: what wgpu sets for a module with or without bounds checks.
fn policies(checked: bool) -> BoundsCheckPolicies {
    let policy = if checked { BoundsCheckPolicy::Restrict } else { BoundsCheckPolicy::Unchecked };
    BoundsCheckPolicies { index: policy, buffer: policy, image_load: policy, binding_array: policy }
}

fn to_spirv(module: &naga::Module, info: &ModuleInfo, checked: bool) -> Result<usize, String> {
    let mut options = spv::Options { bounds_check_policies: policies(checked), ..Default::default() };
    if !checked {
        options.force_loop_bounding = false;
        options.zero_initialize_workgroup_memory = spv::ZeroInitializeWorkgroupMemoryMode::None;
    }
    let entry =
        spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: "main".to_string() };
    let words = spv::write_vec(module, info, &options, Some(&entry)).map_err(|e| e.to_string())?;
    match words.first() {
        Some(0x0723_0203) => Ok(4 * words.len()),
        other => Err(format!("found first word {other:x?}, needed SPIR-V's magic number")),
    }
}

fn to_msl(module: &naga::Module, info: &ModuleInfo, checked: bool) -> Result<usize, String> {
    // Metal 2.4 is what every macOS that wgpu still supports has; naga's default of 1.0 has no subgroups.
    let mut options =
        msl::Options { lang_version: (2, 4), bounds_check_policies: policies(checked), ..Default::default() };
    if !checked {
        options.force_loop_bounding = false;
        options.zero_initialize_workgroup_memory = false;
    }
    let entry = msl::PipelineOptions {
        entry_point: Some((naga::ShaderStage::Compute, "main".to_string())),
        ..Default::default()
    };
    let (text, translation) = msl::write_string(module, info, &options, &entry).map_err(|e| e.to_string())?;
    match translation.entry_point_names.as_slice() {
        [Ok(name)] if text.contains(&format!("kernel void {name}(")) => Ok(text.len()),
        other => Err(format!("found entry points {other:?}, needed one kernel")),
    }
}

fn uses_subgroups(function: &naga::Function) -> bool {
    use naga::{BuiltIn, Expression};
    let builtin = |b: &Option<naga::Binding>| {
        let subgroup = [BuiltIn::SubgroupSize, BuiltIn::SubgroupInvocationId];
        matches!(b, Some(naga::Binding::BuiltIn(b)) if subgroup.contains(b))
    };
    let result = |e: &Expression| {
        matches!(e, Expression::SubgroupBallotResult | Expression::SubgroupOperationResult { .. })
    };
    function.arguments.iter().any(|a| builtin(&a.binding))
        || function.expressions.iter().any(|(_, e)| result(e))
}

fn to_hlsl(module: &naga::Module, info: &ModuleInfo, checked: bool) -> Result<usize, String> {
    // 5.1 is what wgpu's DX12 falls back to; subgroup operations exist from 6.0 on.
    let subgroups = module.entry_points.iter().any(|e| uses_subgroups(&e.function))
        || module.functions.iter().any(|(_, f)| uses_subgroups(f));
    let shader_model = if subgroups { hlsl::ShaderModel::V6_0 } else { hlsl::ShaderModel::V5_1 };
    let mut options = hlsl::Options { shader_model, restrict_indexing: checked, ..Default::default() };
    if !checked {
        options.force_loop_bounding = false;
        options.zero_initialize_workgroup_memory = false;
    }
    let entry = hlsl::PipelineOptions { entry_point: Some((naga::ShaderStage::Compute, "main".to_string())) };
    let mut text = String::new();
    let reflection = hlsl::Writer::new(&mut text, &options, &entry)
        .write(module, info, None)
        .map_err(|e| e.to_string())?;
    match reflection.entry_point_names.as_slice() {
        [Ok(name)] if text.contains("[numthreads(") && text.contains(&format!("void {name}(")) => {
            Ok(text.len())
        }
        other => Err(format!("found entry points {other:?}, needed one compute shader")),
    }
}

#[test]
fn every_variant_translates_to_spirv_msl_and_hlsl() {
    type Writer = fn(&naga::Module, &ModuleInfo, bool) -> Result<usize, String>;
    let languages: [(&str, Writer); 3] = [("SPIR-V", to_spirv), ("MSL", to_msl), ("HLSL", to_hlsl)];
    let mut counts: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
    let mut failures = Vec::new();
    for v in variant::ALL {
        let (module, info) = match parse(v) {
            Ok(parsed) => parsed,
            Err(e) => {
                failures.push(format!("{}: {e}", v.name));
                continue;
            }
        };
        for (language, write) in languages {
            // DX12 lists no matrix units, and naga's writer panics on them.
            if language == "HLSL" && v.needs.contains(&Need::MatrixUnits) {
                println!("{}: not in HLSL", v.name);
                continue;
            }
            for (setting, checked) in SETTINGS {
                match write(&module, &info, checked) {
                    Ok(bytes) => {
                        let (n, sum) = counts.entry((language, setting)).or_default();
                        *n += 1;
                        *sum += bytes;
                    }
                    Err(e) => failures.push(format!("{} to {language}, {setting}: {e}", v.name)),
                }
            }
        }
    }
    println!("{} variants of {} kernels", variant::ALL.len(), KERNELS.len());
    for ((language, setting), (n, bytes)) in &counts {
        println!("{language:>7}, {setting:>9}: {n} translated, {} KiB", bytes / 1024);
    }
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    assert!(!variant::ALL.is_empty(), "the table of variants is empty");
}

#[test]
fn names_are_unique_and_every_variant_belongs_to_a_kernel() {
    let mut kernels = BTreeMap::new();
    for k in KERNELS {
        assert!(kernels.insert(k.name, *k).is_none(), "two kernels are named {}", k.name);
        assert!(!k.variants.is_empty(), "kernel {} has no variant", k.name);
        for v in k.variants {
            assert_eq!(v.kernel, k.name, "kernel {} lists variant {} of another file", k.name, v.name);
        }
    }
    let mut names = BTreeSet::new();
    for v in variant::ALL {
        assert!(names.insert(v.name), "two variants are named {}", v.name);
        let kernel =
            kernels.get(v.kernel).unwrap_or_else(|| panic!("variant {}: no kernel {}", v.name, v.kernel));
        let listed = kernel.variants.iter().any(|k| k.name == v.name);
        assert!(listed, "variant {} is missing from its kernel's list: it could never be chosen", v.name);
    }
}

/// A kernel's bindings from Rust, as WGSL can say them: storage is `read` or `read_write`.
fn declared(kernel: &Kernel) -> Vec<bool> {
    kernel.access.iter().map(|a| *a != Access::Read).collect()
}

/// Which of the bindings 1, 2, ... a module writes, and the bytes of its parameters.
fn interface(module: &naga::Module) -> (Vec<bool>, u32) {
    let (mut writes, mut params) = (BTreeMap::new(), 0);
    for (_, global) in module.global_variables.iter() {
        match (&global.space, &global.binding) {
            (naga::AddressSpace::Uniform, Some(_)) => {
                params = module.types[global.ty].inner.size(module.to_ctx());
            }
            (naga::AddressSpace::Storage { access }, Some(b)) => {
                writes.insert(b.binding, access.contains(naga::StorageAccess::STORE));
            }
            _ => {}
        }
    }
    (writes.into_values().collect(), params)
}

#[test]
fn bindings_and_parameters_agree_between_wgsl_and_rust() {
    for kernel in KERNELS {
        for v in kernel.variants {
            let (module, _) = parse(v).unwrap_or_else(|e| panic!("{}: {e}", v.name));
            let (writes, params) = interface(&module);
            let table: Vec<bool> = v.bindings.iter().map(|a| *a != Access::Read).collect();
            assert_eq!(writes, table, "{}: WGSL and build.rs's table differ in what is written", v.name);
            assert_eq!(writes, declared(kernel), "{}: WGSL and the kernel differ in what is written", v.name);
            assert_eq!(params, v.params_bytes, "{}: bytes of parameters in WGSL and in the table", v.name);
            assert_eq!(
                params as usize, kernel.params_bytes,
                "{}: bytes of parameters in WGSL and Rust",
                v.name
            );
        }
    }
}

#[test]
fn every_kernel_has_cases() {
    let mut count: BTreeMap<&str, usize> = KERNELS.iter().map(|k| (k.name, 0)).collect();
    for (name, cases) in CASES {
        // Kernels for what not every GPU has show their cases on the CPU.
        let on_gpu = cases(&Target::MINIMAL_GPU);
        let cases = if on_gpu.is_empty() { cases(&Target::CPU) } else { on_gpu };
        for case in cases {
            let kernel = case.command.kernel.name;
            *count
                .get_mut(kernel)
                .unwrap_or_else(|| panic!("cases {name}: kernel {kernel} is not in KERNELS")) += 1;
        }
    }
    println!("cases: {}", count.iter().map(|(k, n)| format!("{k} {n}")).collect::<Vec<_>>().join(", "));
    let without: Vec<_> = count.iter().filter(|(_, n)| **n == 0).map(|(k, _)| *k).collect();
    assert!(without.is_empty(), "kernels without a case: {}", without.join(", "));
}

#[test]
fn every_shader_opens_with_its_contract() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let mut seen = 0;
    for file in std::fs::read_dir(&folder).expect("shaders/ is part of the package").flatten() {
        let path = file.path();
        if path.extension().is_none_or(|e| e != "wgsl") {
            continue;
        }
        let stem = path.file_stem().and_then(|s| s.to_str()).expect("a shader's name is UTF-8").to_string();
        let text = std::fs::read_to_string(&path).expect("a shader is UTF-8");
        // `//!` lines are the template's: axes and constants.
        let contract: Vec<&str> = text
            .lines()
            .skip_while(|l| l.starts_with("//!"))
            .take_while(|l| l.starts_with("//") && !l.starts_with("//!"))
            .collect();
        let first = contract.first().copied().unwrap_or_default();
        assert!(
            first.starts_with(&format!("// {stem}: ")),
            "{stem}.wgsl: found {first:?} first, needed a contract that opens with '// {stem}: '"
        );
        assert!(contract.len() >= 2, "{stem}.wgsl: a contract says the formula, the shapes and who calls it");
        assert!(KERNELS.iter().any(|k| k.name == stem), "{stem}.wgsl belongs to no kernel");
        seen += 1;
    }
    assert_eq!(seen, KERNELS.len(), "one shader per kernel");
}
