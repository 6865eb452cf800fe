//! Sound inputs, small ones: what the corpus is made of, and what surrounds an input that is a part of a file.

use advect::data::{DataSpec, EpisodeArrays, Kind, convert, write_npy_f32, write_npz};
use advect::serve::{ndarray, wire};
use advect::{Cpu, Device, Episodes, Policy, RunConfig, Trainer};
use flate2::{Compression, write::ZlibEncoder};
use rmpv::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A data file of a set of version 2.1.
pub const V2_DATA: &str = "data/chunk-000/episode_000000.parquet";
/// The list of episodes of a set of version 3.0.
pub const V3_EPISODES: &str = "meta/episodes/chunk-000/file-000.parquet";

/// The description of an array in a zarr store of format 2.
pub const ZARR2_ARRAY: &str = "data/state/.zarray";
/// The description of an array in a zarr store of format 3.
pub const ZARR3_ARRAY: &str = "data/state/zarr.json";
/// A part of that array, of format 2.
pub const ZARR2_CHUNK: &str = "data/state/0.0";
/// A part of that array, of format 3.
pub const ZARR3_CHUNK: &str = "data/state/c/0/0";

const CONTROL: &str = "mode = { kind = \"ensemble\", decay = 0.01 }\nexecute = 1\ndeadline_ms = 20.0\n\
                       hold = { kind = \"fixed\", action = [-1.0, 0.5] }\n";
const SAFETY: &str = "rate_hz = 20.0\nlow = [-1.0, -2.0]\nhigh = [1.0, 2.0]\n";

const RUN: &str = r#"
steps = 4
batch_size = 8
horizon = 4
history = 2
pad_after = 0
seed = 3
network = { kind = "residual", width = 8, blocks = 1, activation = "silu", time = { kind = "raw" }, conditioning = "concat" }
optimizer = { lr = 1e-3, warmup = 2 }
[data]
obs = "obs"
"#;

const CONFIG: &str = r#"{"type": "diffusion", "n_obs_steps": 2, "horizon": 16, "n_action_steps": 8,
"input_features": {"observation.state": {"type": "STATE", "shape": [2]}},
"output_features": {"action": {"type": "ACTION", "shape": [2]}},
"normalization_mapping": {"STATE": "MIN_MAX", "ACTION": "MIN_MAX"}, "down_dims": [16, 32], "kernel_size": 5, "n_groups": 8,
"diffusion_step_embed_dim": 16, "use_film_scale_modulation": true, "noise_scheduler_type": "DDPM", "num_train_timesteps": 100,
"beta_schedule": "squaredcos_cap_v2", "beta_start": 0.0001, "beta_end": 0.02, "prediction_type": "epsilon", "clip_sample": true,
"clip_sample_range": 1.0, "num_inference_steps": null, "vision_backbone": "resnet18"}"#;

fn episodes() -> Episodes {
    let wave = |n: usize, step: f32| (0..n).map(|i| (i as f32 * step).sin()).collect();
    let arrays = EpisodeArrays {
        obs: wave(2 * 12 * 3, 0.1),
        action: wave(2 * 12 * 2, 0.17),
        obs_dim: 3,
        action_dim: 2,
        lengths: vec![12; 2],
        fps: Some(10.0),
        ..Default::default()
    };
    Episodes::from_arrays(arrays).expect("episodes")
}

/// A trainer of [`episodes`] that has not begun.
pub fn trainer() -> Trainer {
    static CONFIG: OnceLock<RunConfig> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = folder.path().join("run.toml");
        std::fs::write(&settings, RUN).expect("written");
        RunConfig::load(&settings).expect("settings")
    });
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let device = DEVICE.get_or_init(|| Device::Cpu(Cpu::with_threads(1).expect("the CPU")));
    Trainer::new(device, &episodes(), config).expect("a trainer")
}

/// What a trainer leaves: the policy's file, and that of the state beside it.
fn run() -> &'static (Vec<u8>, Vec<u8>) {
    static RUN_FILES: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    RUN_FILES.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("p.safetensors");
        let mut trainer = trainer();
        trainer.advance(2).expect("steps");
        trainer.save(&path, "data").expect("saved");
        let read = |path: PathBuf| std::fs::read(path).expect("read");
        (read(path.clone()), read(state_path(&path)))
    })
}

/// The file of that policy.
pub fn policy_file() -> &'static [u8] {
    &run().0
}

/// A policy of observations [2, 3] and actions [4, 2].
pub fn policy() -> Policy {
    Policy::from_bytes(policy_file(), Path::new("policy")).expect("a policy")
}

/// Where the state beside a checkpoint lies.
pub fn state_path(checkpoint: &Path) -> PathBuf {
    advect::train::resume::train_path(checkpoint)
}

/// The folder of the tests.
pub fn here() -> PathBuf {
    // cargo-fuzz compiles this file in a package beside them.
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("tests"))
        .find(|p| p.is_dir())
        .expect("tests")
}

/// A file or folder that the tests of formats read.
pub fn formats(name: &str) -> PathBuf {
    here().join("formats").join(name)
}

/// Copies a folder and all that is in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        match path.is_dir() {
            true => copy(&path, &to),
            false => drop(std::fs::copy(&path, &to).expect("copied")),
        }
    }
}

/// A LeRobot data set of two short episodes.
pub fn lerobot(folder: &Path, kind: Kind) {
    let npz = folder.with_extension("npz");
    write_npz(&npz, &episodes()).expect("written");
    convert(&npz, folder, kind, &DataSpec::default(), "push").expect("converted");
}

/// An archive of stored files.
pub fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    let mut zip = npyz::zip::ZipWriter::new(&mut out);
    let stored =
        npyz::zip::write::FileOptions::default().compression_method(npyz::zip::CompressionMethod::Stored);
    for (name, bytes) in files {
        zip.start_file(*name, stored).expect("an entry");
        zip.write_all(bytes).expect("written");
    }
    zip.finish().expect("an archive");
    drop(zip);
    out.into_inner()
}

/// A .mat file of these variables.
pub fn mat_of(variables: &[u8]) -> Vec<u8> {
    let mut out = b"MATLAB 5.0 MAT-file".to_vec();
    out.resize(124, b' ');
    out.extend([0x00, 0x01, b'I', b'M']);
    out.extend(variables);
    out
}

/// A compressed element of a .mat file.
pub fn mat_pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("compressed");
    let data = encoder.finish().expect("compressed");
    [15u32.to_le_bytes().to_vec(), (data.len() as u32).to_le_bytes().to_vec(), data].concat()
}

fn element(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut out = [kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
    out.extend(data);
    out.resize(out.len().next_multiple_of(8), 0);
    out
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn head(name: &str, class: u32, dims: &[u32]) -> Vec<u8> {
    [element(6, &words(&[class, 0])), element(5, &words(dims)), element(1, name.as_bytes())].concat()
}

fn matrices() -> Vec<Vec<u8>> {
    let numbers = |name: &str| {
        let data: Vec<u8> = [1.0f64, -2.0, 3.5, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        element(14, &[head(name, 6, &[2, 2]), element(9, &data)].concat())
    };
    let cells = element(14, &[head("c", 1, &[1, 2]), numbers(""), numbers("")].concat());
    let names = [words(&[5 | 4 << 16, 8]), element(1, b"pos\0\0\0\0\0dt\0\0\0\0\0\0")].concat();
    let structure = element(14, &[head("s", 2, &[1, 1]), names, numbers(""), numbers("")].concat());
    let text = element(14, &[head("t", 4, &[1, 2]), element(4, &[104, 0, 105, 0])].concat());
    vec![numbers("x"), cells, structure, text]
}

fn messages() -> Vec<Vec<u8>> {
    let map = |entries: Vec<(&str, Value)>| {
        wire::encode(&Value::Map(entries.into_iter().map(|(k, v)| (k.into(), v)).collect()))
    };
    let state = || ndarray(&[2, 3], &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
    let list = Value::Array(vec![1.into(), (-2).into(), 0.5.into()]);
    let scalar = Value::Map(vec![
        (Value::Binary(b"__npgeneric__".to_vec()), true.into()),
        (Value::Binary(b"data".to_vec()), 2.5.into()),
        (Value::Binary(b"dtype".to_vec()), "<f8".into()),
    ]);
    vec![
        map(vec![("observation/state", state())]),
        map(vec![("observation/state", list.clone()), ("seed", 7.into()), ("request", 9.into())]),
        map(vec![
            ("observation/state", state()),
            ("prompt", "go".into()),
            ("image", Value::Binary(vec![1; 40])),
        ]),
        map(vec![("observation/state", Value::Array(vec![scalar.clone(), 2.into(), scalar]))]),
        wire::encode(&state()),
        wire::encode(&Value::Array(vec![list.clone(), list])),
        wire::encode(&Value::Ext(3, vec![1, 2, 3, 4])),
    ]
}

/// The sound inputs of a target.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let read = |path: PathBuf| std::fs::read(path).expect("read");
    let npy = || {
        write_npy_f32(at("a.npy"), &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).expect("written");
        let little = read(at("a.npy"));
        let other = |descr: &str, fortran: &str, shape: &str, data: &[u8]| {
            let text = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
            let start = [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..]].concat();
            [&start, text.as_bytes(), data].concat()
        };
        vec![
            little,
            other(">f8", "True", "(2, 2)", &[1; 32]),
            other("|u1", "False", "(4,)", &[1, 2, 3, 4]),
            other("<f2", "False", "()", &[0, 60]),
            other("<U2", "False", "(2,)", &[97, 0, 0, 0, 98, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0]),
        ]
    };
    let set = |kind: Kind, part: &str| {
        lerobot(&at("set"), kind);
        read(at("set").join(part))
    };
    match target {
        "wire" | "observation" => messages(),
        "run_config" => {
            let all = toml_of(&RunConfig::default());
            vec![RUN.into(), b"steps = 10".to_vec(), all]
        }
        "npy" | "npz_array" => npy(),
        "npz" => {
            write_npz(at("a.npz"), &episodes()).expect("written");
            let arrays = npy();
            vec![read(at("a.npz")), zip(&[("obs.npy", &arrays[0]), ("action.npy", &arrays[0])])]
        }
        "mat" => {
            let mut all: Vec<Vec<u8>> = matrices().iter().map(|m| mat_of(m)).collect();
            all.push(mat_of(&mat_pack(&matrices().concat())));
            all
        }
        "mat_packed" => matrices(),
        "parquet_v2" => vec![set(Kind::LeRobotV2, V2_DATA)],
        "parquet_v3" => vec![set(Kind::LeRobotV3, V3_EPISODES)],
        "lerobot_info" => vec![set(Kind::LeRobotV2, "meta/info.json")],
        "lerobot_lists" => {
            let episodes = set(Kind::LeRobotV2, "meta/episodes.jsonl");
            vec![episodes, b"{\"task_index\": 0, \"task\": \"push\"}\n".to_vec()]
        }
        "lerobot_config" => vec![CONFIG.into()],
        "policy" => vec![unsigned(&policy().to_bytes().expect("bytes"))],
        "csv" => vec![read(formats("table.csv")), b"q,command,episode\n1,2,0\n3,4,0\n5,6,1\n".to_vec()],
        "hdf5" => {
            ["aloha.hdf5", "robomimic_latest.hdf5", "minari.hdf5"].map(|name| read(formats(name))).into()
        }
        "mcap" => ["zstd.mcap", "lz4.mcap"].map(|name| read(formats(name))).into(),
        "zarr_array" => {
            vec![read(formats("zarr2").join(ZARR2_ARRAY)), read(formats("zarr3").join(ZARR3_ARRAY))]
        }
        "zarr_chunk" => {
            vec![read(formats("zarr2").join(ZARR2_CHUNK)), read(formats("zarr3").join(ZARR3_CHUNK))]
        }
        "control" => vec![CONTROL.into(), SAFETY.into()],
        "training_state" | "resume" => vec![unsigned(&run().1)],
        other => panic!("no target {other}"),
    }
}

/// A checkpoint without its checksum, which would stand before all that lies behind it.
fn unsigned(file: &[u8]) -> Vec<u8> {
    let length = u64::from_le_bytes(file[..8].try_into().expect("a length")) as usize;
    let header = String::from_utf8(file[8..8 + length].to_vec()).expect("a header");
    let Some(at) = header.find("\"advect.checksum\":\"") else { return file.to_vec() };
    let end = at + header[at..].match_indices('"').nth(3).expect("a value").0 + 1;
    // With the comma that follows it, or else precedes it.
    let header = match header[end..].starts_with(',') {
        true => header[..at].to_string() + &header[end + 1..],
        false => header[..at].trim_end_matches(',').to_string() + &header[end..],
    };
    // As safetensors pads it.
    let header = format!("{header:width$}", width = header.len().next_multiple_of(8));
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &file[8 + length..]].concat()
}

/// The defaults as a file has them.
fn toml_of(config: &RunConfig) -> Vec<u8> {
    format!(
        "steps = {}\nbatch_size = {}\nhorizon = {}\nhistory = {}\n",
        config.steps, config.batch_size, config.horizon, config.history
    )
    .into_bytes()
}
