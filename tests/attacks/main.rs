//! Small files that would take all memory if they were believed. Each is refused by an error that says why, and what is taken
//! meanwhile is counted by the allocator.

use advect::data::{DataError, DataSpec, read_mat, read_npy_f32, read_npz_f32};
use advect::serve::wire::{DEPTH, MessageLimits, decode};
use advect::{Episodes, Policy, RunConfig};
use flate2::{Compression, write::ZlibEncoder};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What a file of a few hundred kilobytes may have in memory at once: the budget's floor, and as much again while it is checked.
const MOST: usize = 600 << 20;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator as it came; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(NOW.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The result, and the most memory that was in use beside what was before. One at a time.
fn measured<T>(run: impl FnOnce() -> T) -> (T, usize) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = run();
    (result, PEAK.load(Relaxed).saturating_sub(before))
}

/// Reads a file of these bytes; the error's text.
fn refused<T, E: std::fmt::Display>(
    name: &str,
    bytes: &[u8],
    read: impl FnOnce(&Path) -> Result<T, E>,
) -> String {
    assert!(bytes.len() < 1 << 20, "{name} has {} bytes", bytes.len());
    let folder = tempfile::tempdir().expect("a folder");
    let path: PathBuf = folder.path().join(name);
    std::fs::write(&path, bytes).expect("written");
    let (result, peak) = measured(|| read(&path));
    assert!(peak < MOST, "{name}: {peak} bytes");
    match result {
        Ok(_) => panic!("{name} was read"),
        Err(error) => error.to_string(),
    }
}

fn contains(text: &str, words: &str) {
    assert!(text.contains(words), "{text:?} lacks {words:?}");
}

fn npy(shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    let start = [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..]].concat();
    [&start, text.as_bytes(), data].concat()
}

#[test]
fn numpy_headers_that_claim_anything() {
    let read = |bytes: &[u8]| refused("a.npy", bytes, |path: &Path| read_npy_f32(path));
    contains(&read(&npy("(4611686018427387904,)", &[])), "overflows");
    contains(&read(&npy("(4294967296, 4294967296)", &[])), "overflows");
    contains(&read(&npy("(1000000000000,)", &[])), "needs 4000000000000 bytes of memory, and a file of");
    contains(&read(&npy("(1000,)", &[0; 8])), "truncated: found 8 bytes of data, needed 4000");
    contains(&read(b"\x93NUMPY\x02\x00\xff\xff\xff\xff"), "a header of 4294967295 bytes");
    contains(&read(&npy(&"(".repeat(60_000), &[])), "the header is no dictionary");
}

#[test]
fn an_archive_that_unpacks_to_gigabytes() {
    let mut file = std::io::Cursor::new(Vec::new());
    let mut zip = npyz::zip::ZipWriter::new(&mut file);
    let packed =
        npyz::zip::write::FileOptions::default().compression_method(npyz::zip::CompressionMethod::Deflated);
    // Honest: 400 MB of zeros are there, in 400 kB.
    zip.start_file("obs.npy", packed).expect("an entry");
    zip.write_all(&npy("(50000000, 2)", &[])).expect("written");
    (0..400).for_each(|_| zip.write_all(&vec![0; 1_000_000]).expect("written"));
    zip.finish().expect("an archive");
    drop(zip);
    let bytes = file.into_inner();
    let single = refused("a.npz", &bytes, |path| read_npz_f32(path, "obs"));
    contains(&single, "array 'obs' needs 400000000 bytes of memory, and a file of");
    contains(
        &refused("a.npz", &bytes, |path| Episodes::load(path, &DataSpec::default())),
        "needs 400000000 bytes",
    );
}

fn element(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut out = [kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
    out.extend(data);
    out.resize(out.len().next_multiple_of(8), 0);
    out
}

#[test]
fn matlab_cells_of_eight_bytes_each() {
    let words = |values: &[u32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let head = [element(6, &words(&[1, 0])), element(5, &words(&[1, 1 << 23])), element(1, b"c")].concat();
    let cells = element(14, &[head, words(&[14, 0]).repeat(1 << 23)].concat());
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&cells).expect("packed");
    let packed = encoder.finish().expect("packed");
    let mut file = b"MATLAB 5.0 MAT-file".to_vec();
    file.resize(124, b' ');
    file.extend([0x00, 0x01, b'I', b'M']);
    file.extend([words(&[15, packed.len() as u32]), packed].concat());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.mat");
    std::fs::write(&path, &file).expect("written");
    let (result, peak) = measured(|| read_mat(&path));
    assert!(matches!(result, Err(DataError::Budget { .. })) && peak < MOST, "{peak} bytes");
}

#[test]
fn checkpoints_and_configurations() {
    let policy = |bytes: &[u8]| refused("p.safetensors", bytes, |path: &Path| Policy::load(path));
    contains(&policy(&u64::MAX.to_le_bytes()), "not a whole safetensors file");
    let header =
        format!("{{\"a\":{{\"dtype\":\"F32\",\"shape\":[{0},{0}],\"data_offsets\":[0,0]}}}}", u64::MAX);
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    contains(&policy(&file), "not a whole safetensors file");
    let deep = "[".repeat(500_000);
    let file = [&(deep.len() as u64).to_le_bytes()[..], deep.as_bytes()].concat();
    contains(&policy(&file), "not a whole safetensors file");
    let config = |text: &str| refused("run.toml", text.as_bytes(), RunConfig::load);
    contains(&config(&format!("obs = {deep}")), "run.toml");
    contains(&config("steps = 99999999999999999999999"), "run.toml");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("meta")).expect("a folder");
    for info in [deep.clone(), format!("{{\"features\": {deep}"), "{\"fps\": 1e999}".into()] {
        std::fs::write(folder.path().join("meta/info.json"), info).expect("written");
        let (result, peak) = measured(|| Episodes::load(folder.path(), &DataSpec::default()));
        assert!(matches!(result, Err(DataError::LeRobot(_))) && peak < MOST, "{peak} bytes");
    }
}

#[test]
fn messages_that_claim_anything() {
    let limits = MessageLimits { values: 1000, depth: DEPTH };
    for claims in [0xddu8, 0xdf, 0xc6, 0xdb, 0xc9] {
        let (result, peak) = measured(|| decode(&[claims, 0xff, 0xff, 0xff, 0xff, 0], &limits).map(drop));
        assert!(result.is_err() && peak < 1 << 20, "{claims:x}: {peak} bytes");
    }
    for bomb in [vec![0x91; 1 << 20], [&[0xdd, 0, 15, 0, 0][..], &[0xc0; 15 << 16]].concat()] {
        let (result, peak) = measured(|| decode(&bomb, &limits).map(drop));
        assert!(result.is_err() && peak < 1 << 20, "{peak} bytes");
    }
}
