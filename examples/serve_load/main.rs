//! A load on a policy server: robots that each ask for a chunk at a steady rate, and how long they wait.
//!
//! ```sh
//! cargo run --release --example serve_load -- --clients 50 --hz 20 --seconds 10
//! cargo run --release --example serve_load -- --clients 60 --hz 20 --seconds 10 --abuse
//! cargo run --release --example serve_load -- --url ws://127.0.0.1:8000 --json
//! ```
//!
//! With `--abuse` the same robots ask twice, first alone, then beside clients that do everything wrong (abuse.rs),
//! and the two are compared. A robot that sees an error fails the run; how much longer it waits is printed.
//!
//! Without `--url` it serves mlp256 (a chunk of 16 x 2 actions, an observation of 20, random weights) on the CPU in this
//! process, so that the clients share its cores. A latency counts from the time at which the request was due, so a server that
//! falls behind cannot hide it.

mod abuse;

use abuse::ABUSES;
use advect::bench::{self, Workload};
use advect::serve::{ClientOptions, Key, Observation, PolicyClient, ServeConfig, Server};
use advect::{Cpu, Device, Policy, Trainer};
use anyhow::{Context, bail};
use clap::Parser;
use serde_json::json;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Ask a policy server for chunks at a steady rate from many clients
#[derive(Parser)]
struct Args {
    /// A running server; without one mlp256 is served in this process
    #[arg(long)]
    url: Option<String>,
    /// Robots
    #[arg(long, default_value = "50")]
    clients: usize,
    /// Requests per second of each
    #[arg(long, default_value = "20")]
    hz: f64,
    /// How long
    #[arg(long, default_value = "10")]
    seconds: f64,
    /// Requests that share a pass at most (of the server in this process)
    #[arg(long, default_value = "64")]
    max_batch: usize,
    /// How long the first request of a pass waits for others, ms (of the server in this process)
    #[arg(long, default_value = "0.2")]
    batch_wait_ms: f64,
    /// Once more beside clients that do everything wrong; only for a server on this machine
    #[arg(long)]
    abuse: bool,
    /// The server's key, if it asks for one
    #[arg(long)]
    key: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What one client saw.
#[derive(Default)]
struct Seen {
    /// Milliseconds from when a request was due to its reply.
    latencies: Vec<f64>,
    /// Requests in the passes that answered.
    shared: usize,
    errors: Vec<String>,
}

/// What all clients saw in one phase.
struct Phase {
    /// Milliseconds, sorted.
    latencies: Vec<f64>,
    errors: Vec<String>,
    /// Requests without a reply.
    unanswered: usize,
    per_second: f64,
    mean_batch: f64,
}

impl Phase {
    /// The latency that this share of the replies does not exceed.
    fn at(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((share * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "requests": self.latencies.len(), "unanswered": self.unanswered, "errors": self.errors.len(),
            "requests_per_s": self.per_second, "mean_batch_of_a_request": self.mean_batch,
            "p50_ms": self.at(0.5), "p90_ms": self.at(0.9), "p99_ms": self.at(0.99),
            "p999_ms": self.at(0.999), "max_ms": self.at(1.0),
        })
    }

    fn print(&self, asked: f64) {
        println!(
            "{} replies, {:.0} of {asked:.0} a second, {:.1} requests in a pass",
            self.latencies.len(),
            self.per_second,
            self.mean_batch
        );
        println!(
            "latency: p50 {:.2} ms, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}",
            self.at(0.5),
            self.at(0.9),
            self.at(0.99),
            self.at(0.999),
            self.at(1.0)
        );
        println!("errors: {}", self.errors.len());
    }

    fn check(&self) -> anyhow::Result<()> {
        match self.errors.first() {
            Some(first) => bail!("{} errors, the first: {first}", self.errors.len()),
            None if self.unanswered > 0 => bail!("{} requests had no reply", self.unanswered),
            None => Ok(()),
        }
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let positive = |v: f64| v.is_finite() && v > 0.0;
    if args.clients == 0 || !positive(args.hz) || !positive(args.seconds) {
        bail!("--clients, --hz and --seconds must be above 0");
    }
    let server = match &args.url {
        Some(_) => None,
        None => {
            let config = ServeConfig {
                port: 0,
                name: "mlp256".into(),
                max_batch: args.max_batch,
                batch_wait: Duration::from_secs_f64(1e-3 * args.batch_wait_ms.clamp(0.0, 1e3)),
                key: args.key.as_deref().map(Key::new).transpose()?,
                ..ServeConfig::default()
            };
            let device = Device::Cpu(Cpu::new()?);
            Some(Server::start(mlp256(&device)?, &device, config)?)
        }
    };
    let url = match (&server, &args.url) {
        (Some(server), _) => server.url(),
        (None, url) => url.clone().context("a URL")?,
    };
    let options = ClientOptions { key: args.key.clone(), ..ClientOptions::default() };
    let mut clients = Vec::new();
    for _ in 0..args.clients {
        clients.push(PolicyClient::connect(&url, &options)?);
    }
    let entry = |key: &str| clients[0].metadata_of(key).map(ToString::to_string).unwrap_or_default();
    let [policy, device, solver] = ["policy", "device", "solver"].map(|key| entry(key).replace('"', ""));
    let dim = clients[0].metadata_of("obs_dim").and_then(|v| v.as_u64()).context("obs_dim")? as usize;
    let key =
        clients[0].metadata_of("observation_keys").and_then(|v| v[0].as_str()).context("a key")?.to_string();

    let quiet = phase(&args, &mut clients, &key, dim);
    let mut rounds = [const { AtomicU64::new(0) }; ABUSES.len()];
    let abused = match args.abuse {
        true => {
            let address = local(&url)?;
            let target = abuse::Target { address, key: args.key.as_deref(), observation: &key, obs_dim: dim };
            let done = AtomicBool::new(false);
            Some(std::thread::scope(|scope| {
                abuse::start(scope, target, &done, &rounds);
                // The sockets that say nothing are there before the robots are counted.
                std::thread::sleep(Duration::from_millis(500));
                let seen = phase(&args, &mut clients, &key, dim);
                done.store(true, Relaxed);
                seen
            }))
        }
        false => None,
    };
    let rounds = rounds.each_mut().map(|rounds| *rounds.get_mut());
    let asked = args.clients as f64 * args.hz;
    if args.json {
        let mut report = json!({
            "policy": policy, "device": device, "solver": solver,
            "clients": args.clients, "hz": args.hz, "seconds": args.seconds, "asked_per_s": asked,
        });
        let parts = report.as_object_mut().context("a report")?;
        parts.extend(quiet.json().as_object().cloned().unwrap_or_default());
        if let Some(abused) = &abused {
            let counts = ABUSES.iter().zip(rounds).map(|(abuse, n)| (abuse.name.to_string(), n.into()));
            parts.insert("abused".into(), abused.json());
            parts.insert("abuse_rounds".into(), serde_json::Value::Object(counts.collect()));
            parts.insert("p99_ratio".into(), (abused.at(0.99) / quiet.at(0.99)).into());
        }
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{policy} by {solver} on {device}: {} clients at {} Hz", args.clients, args.hz);
        quiet.print(asked);
        if let Some(abused) = &abused {
            println!("\nbeside every abuse:");
            abused.print(asked);
            let ratio = |share: f64| abused.at(share) / quiet.at(share);
            println!("beside abuse over alone: p50 {:.2}, p99 {:.2}", ratio(0.5), ratio(0.99));
            for (abuse, rounds) in ABUSES.iter().zip(rounds) {
                println!("{rounds:8} rounds of {}", abuse.name);
            }
        }
    }
    drop(clients);
    let healthy = server.as_ref().is_none_or(Server::healthy);
    if let Some(server) = server {
        server.shutdown()?;
    }
    if !healthy {
        bail!("the server is not healthy any more");
    }
    quiet.check()?;
    abused.map_or(Ok(()), |phase| phase.check().context("beside abuse"))
}

/// The address of a server on this machine: no other is abused.
fn local(url: &str) -> anyhow::Result<SocketAddr> {
    let host = url.strip_prefix("ws://").unwrap_or(url).trim_end_matches('/');
    let address = host.to_socket_addrs().with_context(|| format!("the address of {url}"))?.next();
    match address {
        Some(address) if address.ip().is_loopback() => Ok(address),
        _ => bail!("--abuse is for a server on this machine (127.0.0.1, localhost), not for {url}"),
    }
}

/// All robots ask at their rate.
fn phase(args: &Args, clients: &mut [PolicyClient], key: &str, dim: usize) -> Phase {
    let period = Duration::from_secs_f64(1.0 / args.hz);
    let requests = (args.seconds * args.hz).ceil() as u32;
    // Robots are not in step: their phases are spread over a period.
    let start = Instant::now() + Duration::from_millis(50);
    let seen: Vec<Seen> = std::thread::scope(|scope| {
        let robots: Vec<_> = clients
            .iter_mut()
            .enumerate()
            .map(|(robot, client)| {
                let first = start + period.mul_f64(robot as f64 * 0.618_034 % 1.0);
                let obs = vec![0.01 * robot as f32; dim];
                scope.spawn(move || ask(client, key, &obs, first, period, requests))
            })
            .collect();
        robots.into_iter().map(|robot| robot.join().unwrap_or_default()).collect()
    });
    let took = start.elapsed().as_secs_f64();
    let shared = seen.iter().map(|s| s.shared).sum::<usize>() as f64;
    let mut latencies: Vec<f64> = seen.iter().flat_map(|s| s.latencies.iter().copied()).collect();
    latencies.sort_by(f64::total_cmp);
    Phase {
        errors: seen.into_iter().flat_map(|s| s.errors).collect(),
        unanswered: args.clients * requests as usize - latencies.len(),
        per_second: latencies.len() as f64 / took,
        mean_batch: shared / latencies.len().max(1) as f64,
        latencies,
    }
}

/// One robot: a request at every tick, late ones at once.
fn ask(
    client: &mut PolicyClient,
    key: &str,
    obs: &[f32],
    first: Instant,
    period: Duration,
    requests: u32,
) -> Seen {
    let mut seen = Seen::default();
    for n in 0..requests {
        let due = first + period * n;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        match client.infer(&[Observation { key, shape: &[obs.len()], data: obs }], None) {
            Ok(reply) => {
                seen.latencies.push(1e3 * due.elapsed().as_secs_f64());
                seen.shared += reply.batch;
            }
            Err(error) => seen.errors.push(error.to_string()),
        }
        if seen.errors.len() > 10 {
            break;
        }
    }
    seen
}

/// The benchmark's network as a policy, untrained.
fn mlp256(device: &Device) -> anyhow::Result<Policy> {
    let config = bench::run_config(Workload::Mlp256, 32, 0);
    let demonstrations = bench::demonstrations(4, 64, 0)?;
    Ok(Trainer::new(device, &demonstrations, &config)?.policy()?)
}
