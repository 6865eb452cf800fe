//! Every reader of advect as a function of bytes, for a fuzzer: whatever the bytes are, it returns. What comes back is the outcome
//! in words, by which the test tells inputs that reach something new. Adding a reader is a line of [`READERS`], a
//! function here, and its sound inputs in seeds.rs.

use super::{mutate, seeds};
use advect::control::{ControlSpec, SafetySpec};
use advect::data::{DataSpec, Episodes, read_mat, read_npy_f32, read_npz_f32};
use advect::serve::wire::{MessageLimits, decode, encode};
use advect::serve::{ObservationReader, numbers};
use advect::{Policy, RunConfig};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A reader.
pub struct Reader {
    /// Its name, and its corpus' folder.
    pub name: &'static str,
    /// Runs it; the outcome in words.
    pub run: fn(&[u8]) -> String,
    /// How often it is run, beside the others' shares.
    pub share: u32,
    /// What its bytes are, for mutations that know.
    pub form: mutate::Form,
}

/// All of them.
pub const READERS: &[Reader] = &[
    Reader { name: "wire", run: wire, share: 330, form: mutate::Form::Bytes },
    Reader { name: "observation", run: observation, share: 300, form: mutate::Form::Bytes },
    Reader { name: "run_config", run: run_config, share: 40, form: mutate::Form::Text },
    Reader { name: "npy", run: npy, share: 90, form: mutate::Form::Bytes },
    Reader { name: "npz", run: npz, share: 60, form: mutate::Form::Bytes },
    Reader { name: "npz_array", run: npz_array, share: 40, form: mutate::Form::Bytes },
    Reader { name: "mat", run: mat, share: 50, form: mutate::Form::Bytes },
    Reader { name: "mat_packed", run: mat_packed, share: 20, form: mutate::Form::Bytes },
    Reader { name: "parquet_v2", run: parquet_v2, share: 15, form: mutate::Form::Bytes },
    Reader { name: "parquet_v3", run: parquet_v3, share: 15, form: mutate::Form::Bytes },
    Reader { name: "lerobot_info", run: lerobot_info, share: 10, form: mutate::Form::Text },
    Reader { name: "lerobot_lists", run: lerobot_lists, share: 10, form: mutate::Form::Text },
    Reader { name: "lerobot_config", run: lerobot_config, share: 10, form: mutate::Form::Text },
    Reader { name: "csv", run: csv, share: 60, form: mutate::Form::Text },
    Reader { name: "hdf5", run: hdf5, share: 40, form: mutate::Form::Bytes },
    Reader { name: "mcap", run: mcap, share: 40, form: mutate::Form::Bytes },
    Reader { name: "zarr_array", run: zarr_array, share: 15, form: mutate::Form::Text },
    Reader { name: "zarr_chunk", run: zarr_chunk, share: 15, form: mutate::Form::Bytes },
    Reader { name: "control", run: control, share: 40, form: mutate::Form::Text },
    Reader { name: "policy", run: policy, share: 5, form: mutate::Form::Safetensors },
    Reader { name: "training_state", run: training_state, share: 5, form: mutate::Form::Safetensors },
    Reader { name: "resume", run: resume, share: 2, form: mutate::Form::Safetensors },
];

/// The outcome of sound input.
pub const READ: &str = "is read;";

fn outcome<T, E: std::fmt::Display>(result: Result<T, E>) -> String {
    match result {
        Ok(_) => READ.into(),
        Err(error) => error.to_string(),
    }
}

/// A folder of this process, in memory where the system has such a place.
fn scratch(name: &str) -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.into() } else { std::env::temp_dir() };
        tempfile::tempdir_in(place).expect("a folder for the inputs")
    });
    folder.path().join(name)
}

/// The bytes as a file of this name.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = scratch(name);
    std::fs::write(&path, bytes).expect("the input is written");
    path
}

fn wire(bytes: &[u8]) -> String {
    const LIMITS: MessageLimits = MessageLimits { values: 1000, depth: 8 };
    match decode(bytes, &LIMITS) {
        Ok(value) => {
            let array = numbers(&value);
            if let Ok(array) = &array {
                assert_eq!(array.data.len(), array.shape.iter().product::<usize>());
            }
            assert!(!encode(&value.to_owned()).is_empty());
            outcome(array)
        }
        Err(error) => error.to_string(),
    }
}

fn observation(bytes: &[u8]) -> String {
    static BOTH: OnceLock<[ObservationReader; 2]> = OnceLock::new();
    let readers = BOTH.get_or_init(|| {
        let spec = seeds::policy().spec;
        [ObservationReader::new(&spec), ObservationReader::new(&spec).strict(true)]
    });
    let texts = readers.each_ref().map(|reader| match reader.read(bytes) {
        Ok(request) => {
            assert!(request.obs.iter().all(|v| v.is_finite()));
            READ.to_string()
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() < 400, "an error of {} bytes", text.len());
            text
        }
    });
    texts.join(" / ")
}

fn run_config(bytes: &[u8]) -> String {
    match RunConfig::load(&file("run.toml", bytes)) {
        Ok(config) => outcome(config.check()),
        Err(error) => error.to_string(),
    }
}

fn npy(bytes: &[u8]) -> String {
    outcome(read_npy_f32(file("a.npy", bytes)))
}

fn npz(bytes: &[u8]) -> String {
    let path = file("a.npz", bytes);
    let single = outcome(read_npz_f32(&path, "obs"));
    outcome(Episodes::load(&path, &DataSpec::default())) + &single
}

/// The bytes as an array within a sound archive.
fn npz_array(bytes: &[u8]) -> String {
    let path = file("b.npz", &seeds::zip(&[("obs.npy", bytes), ("obs_names.npy", bytes)]));
    let single = outcome(read_npz_f32(&path, "obs"));
    outcome(Episodes::load(&path, &DataSpec::default())) + &single
}

fn mat(bytes: &[u8]) -> String {
    outcome(read_mat(file("a.mat", bytes)))
}

/// The bytes as the variables of a sound file, compressed.
fn mat_packed(bytes: &[u8]) -> String {
    outcome(read_mat(file("b.mat", &seeds::mat_of(&seeds::mat_pack(bytes)))))
}

fn data_spec(text: &str) -> DataSpec {
    toml::from_str(text).expect("a [data] table")
}

fn csv(bytes: &[u8]) -> String {
    let spec = data_spec("obs = 'q'\naction = 'command'");
    outcome(Episodes::load(file("a.csv", bytes), &spec))
}

fn hdf5(bytes: &[u8]) -> String {
    outcome(Episodes::load(file("a.hdf5", bytes), &DataSpec::default()))
}

fn mcap(bytes: &[u8]) -> String {
    let spec = data_spec("obs = '/joint_states.position'\naction = '/cmd_vel.linear.x'\nfps = 25.0");
    outcome(Episodes::load(file("a.mcap", bytes), &spec))
}

/// A zarr store in which one file is the bytes.
fn zarr(format: &str, part: &str, bytes: &[u8]) -> String {
    let folder = scratch(format);
    if !folder.exists() {
        seeds::copy(&seeds::formats(format), &folder);
    }
    let path = folder.join(part);
    let sound = std::fs::read(&path).expect("the store's file");
    std::fs::write(&path, bytes).expect("the input is written");
    let text = outcome(Episodes::load(&folder, &DataSpec::default()));
    std::fs::write(&path, sound).expect("the file is put back");
    text
}

/// What says how an array is stored, of either format.
fn zarr_array(bytes: &[u8]) -> String {
    zarr("zarr2", seeds::ZARR2_ARRAY, bytes) + &zarr("zarr3", seeds::ZARR3_ARRAY, bytes)
}

/// A part of an array, of either format.
fn zarr_chunk(bytes: &[u8]) -> String {
    zarr("zarr2", seeds::ZARR2_CHUNK, bytes) + &zarr("zarr3", seeds::ZARR3_CHUNK, bytes)
}

/// A controller's settings, and a robot's limits.
fn control(bytes: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(bytes) else { return "not text".into() };
    let controller = match toml::from_str::<ControlSpec>(text) {
        Ok(spec) => outcome(spec.check(&seeds::policy().spec)),
        Err(error) => error.message().into(),
    };
    let limits = match toml::from_str::<SafetySpec>(text) {
        Ok(spec) => outcome(spec.check(2)),
        Err(error) => error.message().into(),
    };
    controller + &limits
}

/// A LeRobot data set in which one file is the bytes.
fn dataset(name: &str, version: advect::data::Kind, part: &str, bytes: &[u8]) -> String {
    let folder = scratch(name);
    if !folder.exists() {
        seeds::lerobot(&folder, version);
    }
    let path = folder.join(part);
    let sound = std::fs::read(&path).expect("the data set's file");
    std::fs::write(&path, bytes).expect("the input is written");
    let text = outcome(Episodes::load(&folder, &DataSpec::default()));
    std::fs::write(&path, sound).expect("the file is put back");
    text
}

fn parquet_v2(bytes: &[u8]) -> String {
    dataset("v2", advect::data::Kind::LeRobotV2, seeds::V2_DATA, bytes)
}

fn parquet_v3(bytes: &[u8]) -> String {
    dataset("v3", advect::data::Kind::LeRobotV3, seeds::V3_EPISODES, bytes)
}

fn lerobot_info(bytes: &[u8]) -> String {
    dataset("info", advect::data::Kind::LeRobotV2, "meta/info.json", bytes)
}

fn lerobot_lists(bytes: &[u8]) -> String {
    dataset("lists", advect::data::Kind::LeRobotV2, "meta/episodes.jsonl", bytes)
        + &dataset("lists", advect::data::Kind::LeRobotV2, "meta/tasks.jsonl", bytes)
}

fn lerobot_config(bytes: &[u8]) -> String {
    let folder = scratch("checkpoint");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("config.json"), bytes).expect("the input is written");
    match outcome(Policy::import_lerobot(&folder)) {
        // The weights, which are not there, are read after it.
        text if text.contains("model.safetensors") => READ.into(),
        text => text,
    }
}

fn policy(bytes: &[u8]) -> String {
    outcome(Policy::from_bytes(bytes, Path::new("policy")))
}

fn training_state(bytes: &[u8]) -> String {
    let checkpoint = scratch("run.safetensors");
    std::fs::write(seeds::state_path(&checkpoint), bytes).expect("the input is written");
    outcome(advect::train::resume::stored_config(&checkpoint))
}

/// The bytes as the state that a run goes on from.
fn resume(bytes: &[u8]) -> String {
    let checkpoint = scratch("resumed.safetensors");
    std::fs::write(&checkpoint, seeds::policy_file()).expect("the policy is written");
    std::fs::write(seeds::state_path(&checkpoint), bytes).expect("the input is written");
    outcome(seeds::trainer().resume(&checkpoint, "data"))
}
