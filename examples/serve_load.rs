//! A load on a policy server: robots that each ask for a chunk at a steady rate, and how long they wait.
//!
//! ```sh
//! cargo run --release --example serve_load -- --clients 50 --hz 20 --seconds 10
//! cargo run --release --example serve_load -- --url ws://127.0.0.1:8000 --json
//! ```
//!
//! Without `--url` it serves mlp256 (a chunk of 16 x 2 actions, an observation of 20, random weights) on the CPU in this
//! process, so that the clients share its cores. A latency counts from the time at which the request was due, so a server that
//! falls behind cannot hide it.

use advect::bench::{self, Workload};
use advect::serve::{ClientOptions, Observation, PolicyClient, ServeConfig, Server};
use advect::{Cpu, Device, Policy, Trainer};
use anyhow::{Context, bail};
use clap::Parser;
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
    let options = ClientOptions::default();
    let mut clients = Vec::new();
    for _ in 0..args.clients {
        clients.push(PolicyClient::connect(&url, &options)?);
    }
    let entry = |key: &str| clients[0].metadata_of(key).map(ToString::to_string).unwrap_or_default();
    let [policy, device, solver] = ["policy", "device", "solver"].map(|key| entry(key).replace('"', ""));
    let dim = clients[0].metadata_of("obs_dim").and_then(|v| v.as_u64()).context("obs_dim")? as usize;
    let key =
        clients[0].metadata_of("observation_keys").and_then(|v| v[0].as_str()).context("a key")?.to_string();

    let period = Duration::from_secs_f64(1.0 / args.hz);
    let requests = (args.seconds * args.hz).ceil() as u32;
    // Robots are not in step: their phases are spread over a period.
    let start = Instant::now() + Duration::from_millis(50);
    let seen: Vec<Seen> = std::thread::scope(|scope| {
        let robots: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(robot, client)| {
                let first = start + period.mul_f64(robot as f64 * 0.618_034 % 1.0);
                let (key, obs) = (key.as_str(), vec![0.01 * robot as f32; dim]);
                scope.spawn(move || ask(client, key, &obs, first, period, requests))
            })
            .collect();
        robots.into_iter().map(|robot| robot.join().unwrap_or_default()).collect()
    });
    let took = start.elapsed().as_secs_f64();

    let mut latencies: Vec<f64> = seen.iter().flat_map(|s| s.latencies.iter().copied()).collect();
    latencies.sort_by(f64::total_cmp);
    let errors: Vec<&String> = seen.iter().flat_map(|s| &s.errors).collect();
    let at = |q: f64| {
        let last = latencies.len().saturating_sub(1);
        latencies.get((q * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
    };
    let rate = latencies.len() as f64 / took;
    let shared = seen.iter().map(|s| s.shared).sum::<usize>() as f64 / latencies.len().max(1) as f64;
    let asked = args.clients as f64 * args.hz;
    let lost = args.clients * requests as usize - latencies.len();
    if args.json {
        let report = serde_json::json!({
            "policy": policy, "device": device, "solver": solver,
            "clients": args.clients, "hz": args.hz, "seconds": args.seconds,
            "requests": latencies.len(), "unanswered": lost, "errors": errors.len(),
            "requests_per_s": rate, "asked_per_s": asked, "mean_batch_of_a_request": shared,
            "p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99), "p999_ms": at(0.999), "max_ms": at(1.0),
        });
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{policy} by {solver} on {device}: {} clients at {} Hz", args.clients, args.hz);
        println!(
            "{} replies, {rate:.0} of {asked:.0} a second, {shared:.1} requests in a pass",
            latencies.len()
        );
        println!(
            "latency: p50 {:.2} ms, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}",
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            at(1.0)
        );
        println!("errors: {}", errors.len());
    }
    if let Some(server) = server {
        server.shutdown()?;
    }
    match errors.first() {
        Some(first) => bail!("{} errors, the first: {first}", errors.len()),
        None if lost > 0 => bail!("{lost} requests had no reply"),
        None => Ok(()),
    }
}

/// One robot: a request at every tick, late ones at once.
fn ask(
    mut client: PolicyClient,
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
