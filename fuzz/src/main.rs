//! Runs the readers on mutated inputs, without a special compiler: `fuzz [--executions N] [--seed S] [--record FILE] [TARGET...]`.
//! Inputs whose outcome is new are kept and mutated further. Ends with 1 and the input in hex at a panic, and names inputs that take
//! longer than a second; `--record` writes every input to a file first, for what ends the process itself.

use advect_fuzz::mutate::{Random, mutate};
use advect_fuzz::{TARGETS, Target, seeds};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Inputs that are kept of a target.
const KEPT: usize = 4096;
/// What no reader of a few kilobytes may take.
const SLOW: Duration = Duration::from_secs(1);

struct Options {
    executions: u64,
    seed: u64,
    record: Option<PathBuf>,
    only: Vec<String>,
}

fn options() -> Result<Options, String> {
    let mut options = Options { executions: 100_000, seed: 1, record: None, only: vec![] };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--executions" => {
                options.executions = value()?.parse().map_err(|e| format!("--executions: {e}"))?
            }
            "--seed" => options.seed = value()?.parse().map_err(|e| format!("--seed: {e}"))?,
            "--record" => options.record = Some(value()?.into()),
            "--write-corpus" => {
                write_corpus();
                std::process::exit(0);
            }
            _ => options.only.push(arg),
        }
    }
    Ok(options)
}

fn folder(target: &Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

fn write_corpus() {
    for target in TARGETS {
        std::fs::create_dir_all(folder(target)).expect("the corpus' folder");
        for (n, seed) in seeds::of(target.name).iter().enumerate() {
            std::fs::write(folder(target).join(format!("{n}")), seed).expect("written");
        }
    }
}

/// The stored inputs, in the order of their names.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder(target)).map(|all| all.flatten().map(|e| e.path()).collect());
    let mut paths: Vec<PathBuf> = entries.unwrap_or_default();
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

/// An outcome without its numbers and quoted names.
fn kind(text: &str) -> u64 {
    let mut hash = DefaultHasher::new();
    let mut quoted = false;
    for b in text.bytes() {
        match b {
            b'"' | b'\'' | b'`' => quoted = !quoted,
            b'0'..=b'9' => {}
            _ if !quoted => b.hash(&mut hash),
            _ => {}
        }
    }
    hash.finish()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Runs one target; how many kinds of outcome it saw, or the input that it panicked on.
fn fuzz(target: &Target, executions: u64, options: &Options) -> Result<usize, Vec<u8>> {
    let mut random = Random::new(options.seed);
    let mut kept = corpus(target);
    assert!(!kept.is_empty(), "no corpus for {}", target.name);
    let mut seen = HashSet::new();
    let stored = kept.len() as u64;
    for n in 0..executions {
        let input = match kept.get(n as usize) {
            Some(input) if n < stored => input.clone(),
            _ => {
                let (of, other) = (random.below(kept.len()), random.below(kept.len()));
                mutate(&mut random, target.form, &kept[of], &kept[other])
            }
        };
        if let Some(path) = &options.record {
            std::fs::write(path, &input).expect("the record is written");
        }
        let began = Instant::now();
        let Ok(text) = catch_unwind(AssertUnwindSafe(|| (target.run)(&input))) else { return Err(input) };
        if began.elapsed() > SLOW {
            println!("{}: {:?} for {}", target.name, began.elapsed(), hex(&input));
        }
        if seen.insert(kind(&text)) && kept.len() < KEPT && n >= stored {
            kept.push(input);
        }
    }
    Ok(seen.len())
}

fn main() {
    let options = options().unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(2);
    });
    let chosen: Vec<&Target> = TARGETS
        .iter()
        .filter(|target| options.only.is_empty() || options.only.iter().any(|name| name == target.name))
        .collect();
    let shares: u64 = chosen.iter().map(|target| u64::from(target.share)).sum();
    let (mut total, mut failed) = (0, false);
    for target in chosen {
        let executions = options.executions * u64::from(target.share) / shares.max(1);
        let began = Instant::now();
        match fuzz(target, executions, &options) {
            Ok(kinds) => {
                let rate = executions as f64 / began.elapsed().as_secs_f64();
                println!(
                    "{:16} {executions:>10} executions, {kinds:>5} kinds of outcome, {rate:>8.0} a second",
                    target.name
                );
                total += executions;
            }
            Err(input) => {
                println!("{}: PANIC on {}", target.name, hex(&input));
                failed = true;
            }
        }
    }
    println!("{total} executions in all, seed {}", options.seed);
    if failed {
        std::process::exit(1);
    }
}
