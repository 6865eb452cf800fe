//! No kernel looks at an element that its bindings do not have. Shaders run unchecked, and a driver that clamps indices on its own hides
//! what another one dies of. So here every index into a storage buffer is checked in the shader: one past the end of what a case's
//! buffer holds (canaries follow) spoils a canary of a buffer that the kernel writes.

mod common;

use advect::device::Device;
use advect::kernel::Target;
use advect::kernel::case::{CANARIES, Case};
use advect::kernel::cost::Span;
use advect::selftest::cases::CASES;
use advect::selftest::gpu::CaseRunner;
use std::collections::BTreeMap;

/// A storage buffer as a shader declares it.
struct Storage<'a> {
    name: &'a str,
    element: &'a str,
    writable: bool,
}

fn storage(source: &str) -> Vec<Storage<'_>> {
    source
        .split("var<storage, ")
        .skip(1)
        .map(|declared| {
            let (access, rest) = declared.split_once("> ").expect("an access");
            let (name, rest) = rest.split_once(": array<").expect("an array");
            let element = &rest[..rest.find(">;").expect("an end")];
            Storage { name, element, writable: access == "read_write" }
        })
        .collect()
}

/// 32-bit words of an element, half words for halves.
fn words(source: &str, element: &str) -> usize {
    let alias = source.split_once(&format!("alias {element} = "));
    match alias.map_or(element, |(_, rest)| &rest[..rest.find(';').expect("an end")]) {
        "f32" | "u32" | "atomic<u32>" => 1,
        "vec2<u32>" | "vec4<f16>" => 2,
        "vec4<f32>" | "vec4<u32>" => 4,
        other => panic!("how large is {other}?"),
    }
}

/// Where the bracket that opens at `open` closes.
fn closing(text: &str, open: usize) -> usize {
    let mut depth = 0;
    let at = text[open..].find(|c| {
        depth += i32::from(c == '[') - i32::from(c == ']');
        depth == 0
    });
    open + at.expect("an end")
}

/// WGSL whose indices into storage buffers are checked; the last `short` elements of each count as outside.
fn checked(source: &str, short: usize) -> String {
    let buffers = storage(source);
    let out = buffers.iter().find(|b| b.writable).expect("a buffer that is written");
    let mark = match out.element {
        "atomic<u32>" => format!("atomicStore(&{0}[arrayLength(&{0}) - 9u], 0u);", out.name),
        element => format!("{0}[arrayLength(&{0}) - 9u] = {element}();", out.name),
    };
    let (mut text, mut checks) = (source.to_owned(), String::new());
    for Storage { name, element, .. } in &buffers {
        let used = format!("{name}[");
        let places: Vec<usize> = text.match_indices(&used).map(|(at, _)| at).collect();
        // The last ones first: what is before a place does not move.
        for at in places.into_iter().rev() {
            if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.') {
                continue;
            }
            let open = at + name.len();
            let close = closing(&text, open);
            text.insert_str(close, "))");
            text.insert_str(open + 1, &format!("inside_{name}_(u32("));
        }
        let past = CANARIES / words(source, element) + short;
        checks += &format!(
            "\nfn inside_{name}_(i: u32) -> u32 {{ if i >= arrayLength(&{name}) - {past}u {{ {mark} }} return i; }}"
        );
    }
    text + &checks
}

/// A case whose buffers end where the command's cost says that the last element lies which it touches, or at the end of the 16 bytes around
/// that, for which every buffer has room. Where data say what is touched, and where the cost names nothing, they stay as they are.
fn cut(mut case: Case) -> Case {
    let cost = (case.command.kernel.cost)(&case.command.params);
    for (b, buffer) in case.buffers.iter_mut().enumerate() {
        let all = cost.read.iter().chain(&cost.written);
        let spans: Vec<Span> =
            all.filter(|(n, _)| case.command.args[*n].0 as usize == b).map(|(_, span)| *span).collect();
        if !spans.is_empty() && !spans.iter().any(|span| span.scattered) {
            buffer.truncate(spans.into_iter().map(|span| span.end()).max().unwrap_or(0));
        }
        if let Some((_, want)) = case.expect.iter_mut().find(|(of, _)| *of == b) {
            want.truncate(buffer.len());
        }
        buffer.resize(buffer.len().next_multiple_of(4), 0.0);
    }
    case
}

/// Every case of every variant that the device can run.
fn subjects(target: &Target) -> BTreeMap<&'static str, Vec<Case>> {
    let mut all: BTreeMap<&'static str, Vec<Case>> = BTreeMap::new();
    for case in CASES.iter().flat_map(|(_, make)| make(target)) {
        all.entry(case.command.variant.name).or_default().push(cut(case));
    }
    all
}

/// What goes wrong in the cases of one variant with its indices checked, the first thing of each case.
fn wrong(runner: &CaseRunner, cases: &mut [Case], short: usize) -> Vec<String> {
    let of = cases[0].command.variant;
    let variant = common::rewritten(of, &format!(", {short} short"), checked(of.source, short));
    let mut found = Vec::new();
    for case in cases {
        case.command.variant = variant;
        // SAFETY: every index is checked in the shader; one past the end is noted and, as in the kernel itself, still within the
        // canaries or what the driver keeps behind them: the variant is the kernel's own but for these checks.
        let got = unsafe { runner.run_variant(case) }.map_err(|error| error.to_string());
        case.command.variant = of;
        if let Err(error) = got.and_then(|got| case.check(&got).map_err(|error| error.to_string())) {
            found.push(format!("{}: {error}", of.name));
        }
    }
    found
}

#[test]
fn no_kernel_looks_past_its_bindings() {
    let Some(Device::Gpu(gpu)) = common::gpu_with_matrix_units() else { return };
    let mut subjects = subjects(&Target::from(gpu.caps()));
    assert!(subjects.len() > 150, "{} variants", subjects.len());
    let failed = common::on_two_threads(&mut subjects, |(_, cases)| {
        let runner = CaseRunner::new(&gpu).unwrap();
        wrong(&runner, cases, 0)
    });
    let failed = failed.concat();
    assert!(failed.is_empty(), "{} cases:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn what_looks_past_is_noticed() {
    let Some(Device::Gpu(gpu)) = common::gpu_with_matrix_units() else { return };
    let runner = CaseRunner::new(&gpu).unwrap();
    let mut subjects = subjects(&Target::from(gpu.caps()));
    for name in
        ["adamw", "attention_row", "copy", "matmul_nn_small_vec4", "ode_rows_rows8_full", "softmax_wide"]
    {
        let cases = subjects.get_mut(name).expect("a variant with cases");
        assert!(!wrong(&runner, cases, 4).is_empty(), "{name} may lack its buffers' last elements");
    }
}
