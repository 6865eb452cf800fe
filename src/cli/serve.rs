//! `advect serve`: a policy behind OpenPI's WebSocket wire.

use super::Run;
use super::common::{Context, Interrupt, note_line, number_in, print};
use super::errors::{Interrupted, Usage};
use super::weights::WeightsArg;
use advect::data::budget::read_text;
use advect::flow::Solver;
use advect::graph::Precision;
use advect::policy::{Policy, SamplerOptions};
use advect::serve::{Key, Limits, ServeConfig, Server};
use anyhow::{Context as _, bail};
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::time::Duration;

/// Longest file of a key, bytes.
const MOST_KEY: u64 = 4096;
/// How often the command looks for Ctrl-C and for a lost device.
const LOOK: Duration = Duration::from_millis(50);

/// Serve a policy to robots over OpenPI's WebSocket wire
///
/// Clients are OpenPI's: WebsocketClientPolicy of the Python package openpi-client, or advect::serve::PolicyClient. A request
/// holds observation/state (or one key for each named input) as [history, obs_dim], or as [obs_dim], which then stands
/// for every step of the history; the reply holds actions [horizon, action_dim] in the units of the demonstrations. Robots
/// that ask at the same time share one pass of the device. GET /healthz and GET /metrics answer on the same port. Ctrl-C and
/// SIGTERM answer what is under way, close every connection and exit with 0.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  advect serve policy.safetensors
  advect serve policy.safetensors --port 0                    takes a free port and prints it
  advect serve policy.safetensors --solver euler:4 --max-batch 16 --deadline-ms 20
  ROBOT_KEY=... advect serve policy.safetensors --host 0.0.0.0 --key-env ROBOT_KEY

In Python (pip install openpi-client):
  policy = WebsocketClientPolicy(\"127.0.0.1\", 8000)
  actions = policy.infer({\"observation/state\": state})[\"actions\"]")]
pub struct Serve {
    /// The checkpoint
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// The interface to listen on; 127.0.0.1 is this machine alone
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The port; 0 takes a free one
    #[arg(long, default_value = "8000")]
    port: u16,
    /// Most requests that share a pass; batches of 1, 2, 4, ... up to it are compiled at the start
    #[arg(long, value_name = "N", default_value = "64", value_parser = batch)]
    max_batch: usize,
    /// How long the first request of a pass waits for other robots', ms
    #[arg(long, value_name = "T", default_value = "0.2", value_parser = milliseconds)]
    batch_wait_ms: Duration,
    /// Count replies later than this as misses (they are sent all the same), ms
    #[arg(long, value_name = "T", value_parser = milliseconds)]
    deadline_ms: Option<Duration>,
    /// euler:N, midpoint:N, heun:N, rk4:N, rk4_38:N, bosh3:RTOL[:ATOL], dopri5:RTOL[:ATOL] or tsit5:RTOL[:ATOL]
    #[arg(long, default_value = "euler:10")]
    solver: Solver,
    /// How weights are stored: f32, or f16 where a product is bound by reading them (`advect bench --precision f16` says how far
    /// that is off)
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// The moving average of the weights, or the weights themselves
    #[arg(long, value_enum, default_value = "ema")]
    weights: WeightsArg,
    /// Seed of the noise: with the number of the connection and of the request it names every chunk's noise
    #[arg(long, value_name = "S", default_value = "0")]
    seed: u64,
    /// Refuse requests with keys that the policy has no use for. Without this a prompt or pictures, as OpenPI's clients send them, are
    /// passed over, which is said once
    #[arg(long)]
    strict: bool,
    /// Environment variable that holds the key that clients must show
    #[arg(long, value_name = "VAR", conflicts_with = "key_file")]
    key_env: Option<String>,
    /// File that holds the key that clients must show
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Most robots connected at once
    #[arg(long, value_name = "N", default_value = "256", value_parser = batch)]
    max_connections: usize,
    /// Longest message that is taken, MB; the default has room for three pictures of 480 x 640 as doubles
    #[arg(long, value_name = "MB", default_value = "32", value_parser = megabytes)]
    max_message_mb: usize,
    /// Close a connection after so long without a sign of life, s
    #[arg(long, value_name = "S", default_value = "120", value_parser = seconds)]
    idle_timeout_s: Duration,
    /// Give up a pass of the device that takes longer, s: its robots get an error, and /healthz answers 503 until the device is done
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    pass_timeout_s: Duration,
}

fn batch(text: &str) -> Result<usize, String> {
    number_in(text, 1, 1 << 16)
}

fn megabytes(text: &str) -> Result<usize, String> {
    number_in(text, 1, 1024)
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    match text.trim().parse::<f64>() {
        Ok(ms) if (0.0..=60_000.0).contains(&ms) => Ok(Duration::from_secs_f64(1e-3 * ms)),
        _ => Err("needed a number of milliseconds from 0 to 60000".into()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.trim().parse::<f64>() {
        Ok(s) if (0.1..=86_400.0).contains(&s) => Ok(Duration::from_secs_f64(s)),
        _ => Err("needed a number of seconds from 0.1 to 86400".into()),
    }
}

impl Run for Serve {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        let key = self.key()?;
        let policy = Policy::load(&self.policy)?;
        let interrupt = Interrupt::catch()?;
        let device = cx.open_for(self.precision)?;
        if key.is_none() && !self.loopback() {
            note_line(&format!(
                "warning: {} is not this machine alone, and there is no key: anybody who reaches the port can use the \
                 policy (see --key-env)",
                self.host
            ));
        }
        let name = self.policy.file_stem().unwrap_or(self.policy.as_os_str()).to_string_lossy().into_owned();
        let config = ServeConfig {
            host: self.host.clone(),
            port: self.port,
            name,
            sampler: SamplerOptions {
                solver: self.solver,
                weights: self.weights.into(),
                precision: self.precision,
                ..SamplerOptions::default()
            },
            max_batch: self.max_batch,
            batch_wait: self.batch_wait_ms,
            deadline: self.deadline_ms,
            seed: self.seed,
            strict: self.strict,
            key,
            limits: Limits {
                message: self.max_message_mb << 20,
                connections: self.max_connections,
                idle: self.idle_timeout_s,
                pass: self.pass_timeout_s,
                ..Limits::default()
            },
        };
        let solver = policy.spec.solver(self.solver)?;
        let server = Server::start(policy, &device, config)?;
        if interrupt.pressed() {
            // Nobody was served yet.
            server.shutdown()?;
            return Err(Interrupted.into());
        }
        let (policy, url) = (self.policy.display(), server.url());
        let line = format!("serving {policy} on {url} ({solver}, batches up to {})", self.max_batch);
        // Robots are served whether or not anybody reads where.
        if print(&format!("{line}\n")).is_err() {
            note_line(&line);
        }
        while !interrupt.pressed() && server.healthy() {
            std::thread::sleep(LOOK);
        }
        let lost = !server.healthy();
        server.shutdown()?;
        if lost {
            bail!("the device is lost: start again");
        }
        note_line("stopped");
        Ok(())
    }
}

impl Serve {
    fn key(&self) -> anyhow::Result<Option<Key>> {
        let (text, origin) = match (&self.key_env, &self.key_file) {
            (Some(name), _) => match std::env::var(name) {
                Ok(text) => (text, format!("--key-env {name}")),
                Err(std::env::VarError::NotPresent) => {
                    return Err(Usage(format!("--key-env {name}: no such environment variable")).into());
                }
                // The error would print the key.
                Err(std::env::VarError::NotUnicode(_)) => {
                    return Err(Usage(format!("--key-env {name}: found no text, needed ASCII")).into());
                }
            },
            (None, Some(path)) => {
                let origin = format!("--key-file {}", path.display());
                (read_text(path, "the key", MOST_KEY).context(origin.clone())?, origin)
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(Key::new(&text).context(origin)?))
    }

    /// Whether all addresses of the host are this machine's own. A name that has none is told when listening fails.
    fn loopback(&self) -> bool {
        let addresses = (self.host.as_str(), self.port).to_socket_addrs();
        addresses.is_ok_and(|mut addresses| addresses.all(|a| a.ip().is_loopback()))
    }
}
