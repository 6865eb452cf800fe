//! Kernels are right whatever order the invocations of a workgroup run in. A software driver runs some at a time, in one order, up to the
//! next barrier, so that a barrier which is missing may never show; a GPU has no such order. Here every kernel with barriers runs with
//! its invocations renumbered: neighbours, which share a subgroup, are in different ones, first to last and last to first; and with NaN in
//! all of a workgroup's memory, where a driver may have left zeros. That this notices a missing barrier, or a sum that was never begun, is
//! seen by taking some away.

mod common;

use advect::device::{Device, Gpu};
use advect::kernel::case::Case;
use advect::kernel::variant::Need;
use advect::kernel::{Target, Variant};
use advect::selftest::cases::CASES;
use advect::selftest::gpu::CaseRunner;
use std::collections::{BTreeMap, BTreeSet};

const BARRIER: &str = "workgroupBarrier();";
/// Cases of a variant that are run.
const CASES_EACH: usize = 3;

/// What number an invocation takes, by its own number `own_`.
fn orders(variant: &Variant) -> Vec<String> {
    let n: u32 = variant.workgroup.iter().product();
    if variant.needs.contains(&Need::MatrixUnits) {
        // Subgroups stay together.
        return vec![format!("{}u - own_", n - 1)];
    }
    let apart = (1..=32).rev().find(|s| n.is_multiple_of(*s)).unwrap_or(1);
    let number = format!("(own_ % {apart}u) * {}u + own_ / {apart}u", n / apart);
    vec![format!("{}u - ({number})", n - 1), number]
}

/// WGSL that fills a workgroup's memory with NaN, for `threads` invocations with numbers `own_`.
fn poison(source: &str, threads: u32) -> String {
    let mut text = "let nan_ = bitcast<f32>(0x7fc00000u | own_);".to_owned();
    for declared in source.split("var<workgroup> ").skip(1) {
        let (name, rest) = declared.split_once(": array<").expect("an array");
        let (kind, count) = rest[..rest.find(">;").expect("an end")].rsplit_once(", ").expect("a length");
        let alias =
            source.split_once(&format!("alias {kind} = ")).map(|(_, rest)| &rest[..rest.find(';').unwrap()]);
        let value = match alias.unwrap_or(kind) {
            "u32" | "vec2<u32>" | "vec4<u32>" => "0x7e007fc0u",
            _ => "nan_",
        };
        text += &format!(
            "for (var i_ = own_; i_ < {count}; i_ += {threads}u) {{ {name}[i_] = {kind}({value}); }}"
        );
    }
    text + BARRIER
}

/// WGSL whose invocations are renumbered, after `first`.
fn renumbered(source: &str, number: &str, first: &str) -> String {
    let builtin = "@builtin(local_invocation_index) ";
    let at = source.find(builtin).expect("an invocation knows its number") + builtin.len();
    let name: String = source[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let body = at + source[at..].find('{').expect("a body");
    let (head, tail) = (&source[at + name.len()..body], &source[body + 1..]);
    format!("{}own_{head}{{\n    {first}\n    let {name} = {number};{tail}", &source[..at])
}

/// WGSL whose loops over halves of a workgroup are written out. A driver that runs invocations together goes through a loop's body once
/// more with all of them off, barriers and all, and that would stand for a barrier that is missing after the loop.
fn written_out(source: &str) -> String {
    let mut text = source.to_owned();
    let loops: Vec<usize> = source.match_indices("for (var ").map(|(at, _)| at).collect();
    // The last ones first: what is before a place does not move.
    for at in loops.into_iter().rev() {
        let open = at + text[at..].find('{').expect("a body");
        let Some((name, first)) = halving(&text[at..open]) else { continue };
        let mut depth = 0;
        let close = text[open..].find(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0
        });
        let close = open + close.expect("an end");
        let body = text[open + 1..close].to_owned();
        let steps = std::iter::successors(Some(first), |s| Some(s / 2)).take_while(|s| *s > 0);
        let all: String = steps.map(|s| format!("{{ let {name} = {s}u;{body}}}\n")).collect();
        text.replace_range(at..=close, &all);
    }
    text
}

/// The name and first value of a loop's variable that is halved until it is 0.
fn halving(head: &str) -> Option<(String, u32)> {
    let head = head.trim_end().strip_prefix("for (var ")?.strip_suffix(')')?;
    let [start, condition, next] = head.split("; ").collect::<Vec<_>>()[..] else { return None };
    let (name, first) = start.split_once(" = ")?;
    let halved = [format!("{name} >>= 1u"), format!("{name} /= 2u")].contains(&next.to_owned());
    let first = first.strip_suffix('u')?.parse().ok()?;
    (halved && condition == format!("{name} > 0u")).then(|| (name.to_owned(), first))
}

/// WGSL without its barrier number `k`.
fn without(source: &str, k: usize) -> Option<String> {
    let (at, _) = source.match_indices(BARRIER).nth(k)?;
    Some(format!("{}{}", &source[..at], &source[at + BARRIER.len()..]))
}

/// The variants with barriers, each with some cases, the largest among them: in those most invocations have something to do.
fn subjects(gpu: &Gpu) -> BTreeMap<&'static str, Vec<Case>> {
    let mut all: BTreeMap<&'static str, Vec<Case>> = BTreeMap::new();
    for case in CASES.iter().flat_map(|(_, make)| make(&Target::from(gpu.caps()))) {
        if case.command.variant.source.contains(BARRIER) {
            all.entry(case.command.variant.name).or_default().push(case);
        }
    }
    for cases in all.values_mut() {
        cases.sort_by_key(|c| std::cmp::Reverse(c.buffers.iter().map(Vec::len).sum::<usize>()));
        let step = cases.len().div_ceil(CASES_EACH);
        *cases = std::mem::take(cases).into_iter().step_by(step).collect();
    }
    all
}

/// One of all variants that share a kernel, a workgroup's size and its memory: they differ in how they load, not in how they wait.
fn one_of_each(all: &mut BTreeMap<&'static str, Vec<Case>>) {
    let mut seen = BTreeSet::new();
    all.retain(|_, cases| {
        let Variant { kernel, workgroup, shared_bytes, .. } = cases[0].command.variant;
        seen.insert((*kernel, *workgroup, *shared_bytes))
    });
}

/// What goes wrong with some WGSL in place of a variant's own, if anything does.
fn wrong(runner: &CaseRunner, cases: &mut [Case], source: &str, mark: &str) -> Option<String> {
    let (of, source) = (cases[0].command.variant, written_out(source));
    let poison = poison(&source, of.workgroup.iter().product());
    for (n, number) in orders(of).into_iter().enumerate() {
        let variant =
            common::rewritten(of, &format!("{mark}, order {n}"), renumbered(&source, &number, &poison));
        for case in cases.iter_mut() {
            case.command.variant = variant;
            // SAFETY: the variant is the kernel's own but for the order of its invocations; its indices are the same.
            let got = unsafe { runner.run_variant(case) }.map_err(|error| error.to_string());
            case.command.variant = of;
            if let Err(error) = got.and_then(|got| case.check(&got).map_err(|error| error.to_string())) {
                return Some(format!("order {n}: {error}"));
            }
        }
    }
    None
}

#[test]
fn no_order_of_invocations_matters() {
    let Some(Device::Gpu(gpu)) = common::gpu_with_matrix_units() else { return };
    let mut subjects = subjects(&gpu);
    assert!(subjects.len() > 80, "{} variants have barriers", subjects.len());
    one_of_each(&mut subjects);
    assert!(subjects.len() > 30, "{} ways to share memory", subjects.len());
    let failed = common::on_two_threads(&mut subjects, |(name, cases)| {
        let source = cases[0].command.variant.source;
        // A runner's parameters are those of one case at a time.
        let runner = CaseRunner::new(&gpu).unwrap();
        wrong(&runner, cases, source, "").map(|why| format!("{name}, {why}"))
    });
    let failed: Vec<String> = failed.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn what_is_missing_is_noticed() {
    let Some(Device::Gpu(gpu)) = common::gpu_with_matrix_units() else { return };
    if !gpu.report().is_software() {
        println!("NOT RUN: what_is_missing_is_noticed: on a GPU a race may go well");
        return;
    }
    let runner = CaseRunner::new(&gpu).unwrap();
    let mut subjects = subjects(&gpu);
    // Before a loop, in it, after it; of sums, tiles and layers.
    let barriers = [
        ("attention_tile", 0),
        ("matvec_four_vec4_tree", 0),
        ("matvec_four_vec4_tree", 1),
        ("mlp_grad_weights_tile16", 1),
        ("norm_wide", 1),
        ("ode_control", 1),
        ("ode_latency_one_full", 1),
        ("softmax_wide", 4),
    ];
    for (name, k) in barriers {
        let cases = subjects.get_mut(name).expect("a variant with barriers");
        let source = without(cases[0].command.variant.source, k).expect("so many barriers");
        let found = wrong(&runner, cases, &source, &format!(" without barrier {k}"));
        assert!(found.is_some(), "{name} runs without its barrier {k}");
    }
    let cases = subjects.get_mut("sumsq").expect("a variant with barriers");
    let source = cases[0].command.variant.source.replace("sums[lane] = ", "sums[lane] += ");
    assert!(wrong(&runner, cases, &source, " from what was there").is_some());
}
