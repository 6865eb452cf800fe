//! Every reader of files and of the wire on damaged input: no panic, no abort, no more than 2 GB of memory
//! (docs/fuzzing.md).
//!
//! ```sh
//! ADVECT_FUZZ=10000000 cargo test --release --test fuzz -- --nocapture
//! ```
//!
//! ADVECT_FUZZ: how many inputs all readers together are run on. ADVECT_FUZZ_SEED: the seed that damages them; the same
//! seed gives the same inputs. ADVECT_FUZZ_ONLY: the one reader to run. ADVECT_FUZZ_RECORD: a file that every input is
//! written to first, for what ends the process itself. ADVECT_FUZZ_CORPUS: writes the stored inputs anew and runs nothing.
#![cfg(all(feature = "csv", feature = "hdf5", feature = "mcap", feature = "zarr"))]

mod mutate;
mod readers;
mod seeds;

use mutate::{Random, mutate};
use readers::{READERS, Reader};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Executions where nothing else is said: a few seconds.
const EXECUTIONS: u64 = 100_000;
/// What no reader may take, bytes of address space of the whole process.
#[cfg(target_os = "linux")]
const MEMORY: u64 = 2 << 30;
/// The reader whose sound input is not stored.
const OWN: &str = "resume";
/// Inputs that are kept of a reader.
const KEPT: usize = 4096;
/// What no reader of a few kilobytes may take; longer ones are printed.
const SLOW: Duration = Duration::from_secs(1);

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number(name: &str, default: u64) -> u64 {
    setting(name)
        .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}: needed a number")))
}

fn folder(reader: &Reader) -> PathBuf {
    seeds::here().join("fuzz/corpus").join(reader.name)
}

fn write_corpus() {
    for reader in READERS.iter().filter(|reader| reader.name != OWN) {
        std::fs::create_dir_all(folder(reader)).expect("the corpus' folder");
        for (n, seed) in seeds::of(reader.name).iter().enumerate() {
            std::fs::write(folder(reader).join(format!("{n}")), seed).expect("written");
        }
    }
}

/// The stored inputs, in the order of their names.
fn corpus(reader: &Reader) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder(reader)).expect("the corpus' folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a stored input")).collect()
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

/// Runs one reader; how many kinds of outcome it saw, or the input that it panicked on. An input whose outcome is new is
/// kept and damaged further.
fn run(reader: &Reader, executions: u64, seed: u64) -> Result<usize, Vec<u8>> {
    let mut random = Random::new(seed);
    let record = setting("ADVECT_FUZZ_RECORD");
    // A run goes on with the very bits that its trainer makes, so its state is made here.
    let mut kept = if reader.name == OWN { seeds::of(OWN) } else { corpus(reader) };
    assert!(!kept.is_empty(), "no stored input for {}", reader.name);
    let mut seen = HashSet::new();
    let stored = kept.len() as u64;
    let (mut sound, mut first) = (false, String::new());
    for n in 0..executions.max(stored) {
        let input = match kept.get(n as usize) {
            Some(input) if n < stored => input.clone(),
            _ => {
                let (of, other) = (random.below(kept.len()), random.below(kept.len()));
                mutate(&mut random, reader.form, &kept[of], &kept[other])
            }
        };
        if let Some(path) = &record {
            std::fs::write(path, &input).expect("the record is written");
        }
        let began = Instant::now();
        let Ok(text) = catch_unwind(AssertUnwindSafe(|| (reader.run)(&input))) else { return Err(input) };
        sound |= n < stored && text.contains(readers::READ);
        if n == 0 {
            first.clone_from(&text);
        }
        if began.elapsed() > SLOW {
            println!("{}: {:?} for input {n}, {} bytes", reader.name, began.elapsed(), input.len());
        }
        if seen.insert(kind(&text)) && kept.len() < KEPT && n >= stored {
            kept.push(input);
        }
    }
    assert!(sound, "{} reads none of its stored inputs: {first}", reader.name);
    Ok(seen.len())
}

/// Fails every allocation from here on that would take this process over the limit.
fn limit_memory() {
    #[cfg(target_os = "linux")]
    {
        let limit = libc::rlimit { rlim_cur: MEMORY, rlim_max: MEMORY };
        // SAFETY: the call reads one struct, which lives until it returns.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0, "the limit of memory");
    }
    #[cfg(not(target_os = "linux"))]
    println!("NOT CHECKED: the limit of memory, which this test sets on Linux only");
}

#[test]
fn damaged_input_is_an_error_or_data() {
    if setting("ADVECT_FUZZ_CORPUS").is_some() {
        return write_corpus();
    }
    limit_memory();
    let (executions, seed) = (number("ADVECT_FUZZ", EXECUTIONS), number("ADVECT_FUZZ_SEED", 1));
    let only = setting("ADVECT_FUZZ_ONLY");
    let chosen: Vec<&Reader> =
        READERS.iter().filter(|reader| only.as_ref().is_none_or(|name| name == reader.name)).collect();
    assert!(!chosen.is_empty(), "no reader {only:?}");
    let shares: u64 = chosen.iter().map(|reader| u64::from(reader.share)).sum();
    let (mut total, mut panicked) = (0, Vec::new());
    for reader in chosen {
        let executions = executions * u64::from(reader.share) / shares;
        let began = Instant::now();
        match run(reader, executions, seed) {
            Ok(kinds) => {
                let rate = executions as f64 / began.elapsed().as_secs_f64();
                println!(
                    "{:16} {executions:>10} executions, {kinds:>5} kinds of outcome, {rate:>8.0} a second",
                    reader.name
                );
                total += executions;
            }
            Err(input) => panicked.push(format!("{} panicked on {}", reader.name, hex(&input))),
        }
    }
    println!("{total} executions in all, seed {seed}");
    assert!(panicked.is_empty(), "{}", panicked.join("\n"));
}
