//! The shared shaders parse, validate, and translate to every backend's language, alone and together.

use super::Activation;
use naga::valid::{Capabilities, ValidationFlags, Validator};

const MATH: &str = include_str!("../../../shaders/shared/math.wgsl");
const PHILOX: &str = include_str!("../../../shaders/shared/philox.wgsl");

const MAIN_MATH: &str = "
@group(0) @binding(0) var<storage, read_write> io: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let x = io[id.x];
    io[id.x] = activate(id.y, x) + activate_d1(id.y, x) + activate_d2(id.y, x) + m_erf(x) + m_sin_cos_turns(x).x;
}";
const MAIN_PHILOX: &str = "
@group(0) @binding(0) var<storage, read_write> io: array<vec4<f32>>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let key = philox_key(vec2<u32>(1u, 2u), 3u);
    let ctr = philox_counter(vec2<u32>(id.x, 0u), vec2<u32>(philox_index_below(id.y, 7u), 0u));
    io[id.x] = philox_normal4(ctr, key) + philox_uniform4(ctr, key);
}";

fn translate(source: &str) {
    let module =
        naga::front::wgsl::parse_str(source).unwrap_or_else(|e| panic!("{}", e.emit_to_string(source)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}", e.emit_to_string(source)));
    naga::back::spv::write_vec(&module, &info, &naga::back::spv::Options::default(), None).unwrap();
    let msl = naga::back::msl::Options { fake_missing_bindings: true, ..Default::default() };
    naga::back::msl::write_string(&module, &info, &msl, &naga::back::msl::PipelineOptions::default())
        .unwrap();
    let mut text = String::new();
    let (options, pipeline) =
        (naga::back::hlsl::Options::default(), naga::back::hlsl::PipelineOptions::default());
    naga::back::hlsl::Writer::new(&mut text, &options, &pipeline).write(&module, &info, None).unwrap();
}

#[test]
fn math_alone() {
    translate(&format!("{MATH}{MAIN_MATH}"));
}

#[test]
fn philox_alone() {
    translate(&format!("{PHILOX}{MAIN_PHILOX}"));
}

#[test]
fn both_together() {
    translate(&format!("{MATH}{PHILOX}{MAIN_MATH}"));
}

/// The switches handle every code that is not the identity.
#[test]
fn every_code_is_in_the_switch() {
    let body = MATH.split("fn activate(").nth(1).unwrap().split("fn activate_d1").next().unwrap();
    for act in &Activation::ALL[1..] {
        assert!(body.contains(&format!("case {}u:", act.code())), "{act}");
    }
    assert!(!body.contains(&format!("case {}u:", Activation::ALL.len())));
}
