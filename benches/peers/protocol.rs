//! The Rust peers' side of the protocol that README.md describes: commands on stdin, one line of JSON for each on stdout.

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Whatever stops a command; its text becomes the row in the table.
pub type Error = Box<dyn std::error::Error>;

/// Numbers in a chunk: the state of the flow.
pub const CHUNK: usize = 32;
/// Untimed runs go on for this long after the first one, seconds.
const WARM_UP: f64 = 0.3;
/// A first run as long as this warms up enough, seconds.
const LONG: f64 = 2.0;
/// More runs in one turn only fill memory.
const MOST_RUNS: usize = 10_000;

/// The command line, the same for all peers.
#[derive(Clone)]
#[allow(dead_code, reason = "each peer takes what it needs")]
pub struct Args {
    /// The network's name.
    pub workload: String,
    /// `cpu` or `gpu`.
    pub device: String,
    /// CPU threads.
    pub threads: usize,
    /// Euler steps.
    pub steps: usize,
    /// The network's parameters.
    pub weights: PathBuf,
    /// `noise` and `observation` of the largest batch; smaller ones take the first rows.
    pub inputs: PathBuf,
    /// Folder for what was sampled.
    pub outputs: PathBuf,
}

impl Args {
    /// From the process's arguments, each `--name value`.
    pub fn parse() -> Result<Args, Error> {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let get = |name: &str| -> Result<String, Error> {
            let at = words.iter().position(|w| w == name);
            let value = at.and_then(|i| words.get(i + 1)).cloned();
            value
                .ok_or_else(|| format!("{name} is missing: a peer is started by benches/peers/run.sh").into())
        };
        Ok(Args {
            workload: get("--workload")?,
            device: get("--device")?,
            threads: get("--threads")?.parse()?,
            steps: get("--steps")?.parse()?,
            weights: get("--weights")?.into(),
            inputs: get("--inputs")?.into(),
            outputs: get("--outputs")?.into(),
        })
    }

    /// Noise [batch, 32] and observations [batch, columns].
    #[allow(dead_code, reason = "each peer takes what it needs")]
    pub fn rows(&self, batch: usize) -> Result<(Vec<f32>, Vec<f32>), Error> {
        let bytes = std::fs::read(&self.inputs)?;
        let file = SafeTensors::deserialize(&bytes)?;
        let first = |name: &str| -> Result<Vec<f32>, Error> {
            let (shape, mut values) = floats(&file, name)?;
            if shape[0] < batch {
                return Err(format!("{name} has {} rows, needed {batch}", shape[0]).into());
            }
            values.truncate(batch * shape[1]);
            Ok(values)
        };
        Ok((first("noise")?, first("observation")?))
    }
}

/// A tensor's shape and values.
pub fn floats(file: &SafeTensors<'_>, name: &str) -> Result<(Vec<usize>, Vec<f32>), Error> {
    let tensor = file.tensor(name)?;
    if tensor.dtype() != Dtype::F32 {
        return Err(format!("{name} is {:?}, needed F32", tensor.dtype()).into());
    }
    let values = tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
    Ok((tensor.shape().to_vec(), values.collect()))
}

/// The sinusoidal embedding of the time of each Euler step, [steps, dim]: sines, then cosines.
#[allow(dead_code, reason = "advect makes its own")]
pub fn time_embeddings(steps: usize, dim: usize) -> Vec<Vec<f32>> {
    let half = dim / 2;
    let frequency = |i: usize| (-(1e4f64.ln()) * i as f64 / (half - 1) as f64).exp();
    let of = |step: usize| {
        let angles = (0..half).map(|i| 99.0 * step as f64 / steps as f64 * frequency(i));
        let (sines, cosines): (Vec<f32>, Vec<f32>) = angles.map(|a| (a.sin() as f32, a.cos() as f32)).unzip();
        [sines, cosines].concat()
    };
    (0..steps).map(of).collect()
}

/// The version of a package in the text of a Cargo.lock.
#[allow(dead_code, reason = "advect knows its own")]
pub fn locked_version(lock: &str, package: &str) -> String {
    let mut lines = lock.lines().skip_while(|line| *line != format!("name = \"{package}\""));
    lines.nth(1).and_then(|line| line.split('"').nth(1)).unwrap_or("unknown").into()
}

/// Prepared work of one size.
pub trait Work {
    /// One run, over when the device is idle.
    fn run(&mut self) -> Result<(), Error>;
    /// The chunks of the last run, [batch, 32]; none of a training step.
    fn output(&mut self) -> Result<Option<Vec<f32>>, Error>;
}

/// One library.
pub trait Peer {
    /// Name, version and device, as the tables show them.
    fn describe(&self) -> (String, String, String);
    /// Work of `what` (`sample` or `train`) and that batch.
    fn prepare(&mut self, what: &str, batch: usize) -> Result<Box<dyn Work>, Error>;
}

/// Answers commands until stdin ends. A panic of the library is an answer too.
pub fn serve(args: &Args, peer: &mut dyn Peer) -> Result<(), Error> {
    let (name, version, device) = peer.describe();
    answer(&json!({"name": name, "version": version, "device": device}))?;
    let mut work: Option<Box<dyn Work>> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut obey = || -> Result<Value, Error> {
            match words[..] {
                ["prepare", what, batch] => {
                    // The last one's memory is free before the next one takes its own.
                    work = None;
                    let begun = Instant::now();
                    let mut next = peer.prepare(what, batch.parse()?)?;
                    let first = Instant::now();
                    next.run()?;
                    let first = first.elapsed().as_secs_f64();
                    let seconds = begun.elapsed().as_secs_f64();
                    let path = args.outputs.join(format!("{name}-{}-{batch}.safetensors", args.workload));
                    let output = next.output()?.map(|values| write(&path, &values)).transpose()?;
                    let warm = Instant::now();
                    while first < LONG && warm.elapsed().as_secs_f64() < WARM_UP {
                        next.run()?;
                    }
                    work = Some(next);
                    Ok(json!({"seconds": seconds, "output": output.map(|()| path)}))
                }
                ["go", seconds] => {
                    let work = work.as_mut().ok_or("nothing is prepared")?;
                    let (seconds, mut ms): (f64, Vec<f64>) = (seconds.parse()?, Vec::new());
                    let begun = Instant::now();
                    while ms.is_empty() || begun.elapsed().as_secs_f64() < seconds && ms.len() < MOST_RUNS {
                        let run = Instant::now();
                        work.run()?;
                        ms.push(1e3 * run.elapsed().as_secs_f64());
                    }
                    Ok(json!({"ms": ms}))
                }
                _ => Err(format!("unknown command {line:?}").into()),
            }
        };
        let obeyed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut obey));
        let reply = match obeyed {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => json!({"error": error.to_string()}),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                json!({"error": format!("panicked: {text}")})
            }
        };
        answer(&reply)?;
    }
    Ok(())
}

/// One line on stdout.
fn answer(value: &Value) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}

/// Chunks as the tensor `output`.
fn write(path: &Path, chunks: &[f32]) -> Result<(), Error> {
    let bytes: Vec<u8> = chunks.iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![chunks.len() / CHUNK, CHUNK], &bytes)?;
    Ok(safetensors::serialize_to_file([("output", view)], None, path)?)
}
