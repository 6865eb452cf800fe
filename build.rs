//! Expands the WGSL templates under `shaders/`, validates every variant with naga and writes the typed
//! table that `src/kernel/variant.rs` includes: bindings, workgroup size, shared bytes, parameter bytes. `ADVECT_SHADERS` is the
//! hash of all of them, by which files that depend on the shaders know whether they still hold.
//!
//! The template language is small on purpose (see `build/template.rs`): `//! variants`, `//! where`,
//! `#include`, `#if`, `#for` and `$(expression)`.

#[path = "build/fnv.rs"]
mod fnv;
#[path = "build/template.rs"]
mod template;

use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, StorageAccess, TypeInner};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=shaders");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    let shaders = Path::new("shaders");
    let mut files: Vec<PathBuf> = std::fs::read_dir(shaders)
        .expect("the folder shaders/ is part of the package")
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "wgsl"))
        .collect();
    files.sort();

    let mut modules = String::new();
    let mut hash = fnv::FNV_START;
    let mut all =
        String::from("/// Every variant, in the order of file and name.\npub static ALL: &[&Variant] = &[\n");
    for file in &files {
        let stem = file.file_stem().and_then(|s| s.to_str()).expect("a shader's name is UTF-8");
        let variants =
            template::expand_file(shaders, file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        writeln!(
            modules,
            "/// Variants of `shaders/{stem}.wgsl`.\npub mod {stem} {{\n    use super::{{Access, Variant}};"
        )
        .unwrap();
        for v in &variants {
            let facts = validate(&v.name, &v.source);
            hash = fnv::fnv1a(hash, v.name.as_bytes());
            hash = fnv::fnv1a(hash, v.source.as_bytes());
            let constant =
                v.name.strip_prefix(stem).unwrap_or(&v.name).trim_start_matches('_').to_uppercase();
            let constant = if constant.is_empty() { "ONLY".to_string() } else { constant };
            writeln!(
                modules,
                "    /// `{name}`.\n    pub const {constant}: Variant = Variant {{ name: {name:?}, kernel: {stem:?}, bindings: &{bindings}, \
                 params_bytes: {params}, workgroup: {workgroup:?}, shared_bytes: {shared}, needs: &{needs}, constants: &{constants:?}, source: {source:?} }};",
                name = v.name,
                bindings = facts.bindings,
                params = facts.params_bytes,
                workgroup = facts.workgroup,
                shared = facts.shared_bytes,
                needs = facts.needs,
                constants = v.constants,
                source = v.source,
            )
            .unwrap();
            writeln!(all, "    &{stem}::{constant},").unwrap();
        }
        modules.push_str("}\n");
    }
    all.push_str("];\n");
    println!("cargo:rustc-env=ADVECT_SHADERS={hash:016x}");
    let out = PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("variants.rs");
    std::fs::write(&out, modules + &all).expect("OUT_DIR can be written");
}

struct Facts {
    bindings: String,
    params_bytes: u32,
    workgroup: [u32; 3],
    shared_bytes: u32,
    needs: &'static str,
}

/// Parse and validate one expanded variant; read its interface off the module.
fn validate(name: &str, source: &str) -> Facts {
    let module = naga::front::wgsl::parse_str(source).unwrap_or_else(|e| {
        panic!("shader {name} does not parse:\n{}", e.emit_to_string_with_path(source, name));
    });
    let matrix_units = source.lines().any(|line| line == "enable wgpu_cooperative_matrix;");
    let subgroups = uses_subgroups(&module);
    assert!(
        !(matrix_units && subgroups),
        "shader {name}: drivers crash on subgroup operations beside matrix units"
    );
    let (needs, capabilities) = match (matrix_units, subgroups) {
        (true, _) => {
            ("[super::Need::MatrixUnits]", Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16)
        }
        (_, true) => ("[super::Need::Subgroups]", Capabilities::SUBGROUP),
        _ => ("[]", Capabilities::empty()),
    };
    let mut validator = Validator::new(
        ValidationFlags::all(),
        Capabilities::default() | capabilities | Capabilities::SHADER_FLOAT16_IN_FLOAT32,
    );
    if let Err(e) = validator.validate(&module) {
        panic!("shader {name} is not valid:\n{}", e.emit_to_string_with_path(source, name));
    }
    let entry = match module.entry_points.as_slice() {
        [one] if one.name == "main" => one,
        _ => panic!("shader {name}: found {} entry points, needed one named main", module.entry_points.len()),
    };
    let size = |ty: naga::Handle<naga::Type>| module.types[ty].inner.size(module.to_ctx());
    let (mut bindings, mut params_bytes, mut shared_bytes) = (Vec::new(), 0, 0);
    for (_, global) in module.global_variables.iter() {
        match (&global.space, &global.binding) {
            (AddressSpace::WorkGroup, _) => shared_bytes += size(global.ty),
            (AddressSpace::Uniform, Some(b)) => {
                assert!(
                    b.group == 0 && b.binding == 0,
                    "shader {name}: parameters belong at group 0, binding 0"
                );
                assert!(
                    matches!(module.types[global.ty].inner, TypeInner::Struct { .. }),
                    "shader {name}: parameters are a struct"
                );
                params_bytes = size(global.ty);
            }
            (AddressSpace::Storage { access }, Some(b)) => {
                let writes = access.contains(StorageAccess::STORE);
                bindings.push((b.binding, if writes { "Access::ReadWrite" } else { "Access::Read" }));
            }
            _ => {}
        }
    }
    bindings.sort();
    for (i, (binding, _)) in bindings.iter().enumerate() {
        assert_eq!(*binding as usize, i + 1, "shader {name}: storage bindings run from 1 without gaps");
    }
    let list: Vec<&str> = bindings.iter().map(|(_, access)| *access).collect();
    Facts {
        bindings: format!("[{}]", list.join(", ")),
        params_bytes,
        workgroup: entry.workgroup_size,
        shared_bytes,
        needs,
    }
}

/// Whether a module has subgroup operations, or asks where in its subgroup an invocation is.
fn uses_subgroups(module: &naga::Module) -> bool {
    use naga::{BuiltIn, Expression};
    let functions = module.entry_points.iter().map(|e| &e.function);
    functions.chain(module.functions.iter().map(|(_, f)| f)).any(|f| {
        let places = [
            BuiltIn::SubgroupSize,
            BuiltIn::SubgroupInvocationId,
            BuiltIn::SubgroupId,
            BuiltIn::NumSubgroups,
        ];
        let asks = |b: &naga::Binding| matches!(b, naga::Binding::BuiltIn(b) if places.contains(b));
        let result = |e: &Expression| {
            matches!(e, Expression::SubgroupBallotResult | Expression::SubgroupOperationResult { .. })
        };
        f.arguments.iter().any(|a| a.binding.as_ref().is_some_and(asks))
            || f.expressions.iter().any(|(_, e)| result(e))
    })
}
