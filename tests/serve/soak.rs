//! A minute of everything at once: robots that ask at a steady rate, robots that come and go, and clients that do everything
//! wrong. No robot may see an error or another's chunk, and memory may not grow.

use crate::abuse_load::{ABUSES, Target, start};
use crate::toy::{OBS, connect, cpu, eventually, observation, policy, serve, state};
use advect::policy::{Noise, SamplerOptions};
use advect::serve::{PolicyClient, Reply, STATE, Server};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const ROBOTS: usize = 60;
/// What each asks at, 20 Hz.
const PERIOD: Duration = Duration::from_millis(50);
const QUIET: Duration = Duration::from_secs(15);
const ABUSED: Duration = Duration::from_secs(45);
/// How much resident memory may grow after the first third of the abuse, bytes.
const GROWTH: u64 = 24 << 20;

/// Resident memory of this process, the server's threads included; none where there is no /proc.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| 1024 * kib)
}

/// A robot until `until`: milliseconds that each reply took, and a reply to check. Some connect anew now and then, in good
/// order or not.
fn robot(server: &Server, number: usize, until: Instant) -> (Vec<f64>, Reply) {
    let obs = observation(number);
    let mut client: PolicyClient = connect(server);
    let (mut latencies, mut last, mut n) = (Vec::new(), None, 0);
    let mut due = Instant::now() + PERIOD.mul_f64(number as f64 / ROBOTS as f64);
    while due < until {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let reply = client.infer(&[state(&obs)], None).expect("a robot sees no error");
        assert_eq!(reply.noise.request, n);
        latencies.push(1e3 * due.elapsed().as_secs_f64());
        last = Some(reply);
        n += 1;
        if number.is_multiple_of(20) && n == 100 {
            let old = std::mem::replace(&mut client, connect(server));
            if number == 0 {
                old.close().expect("closed");
            }
            n = 0;
        }
        due += PERIOD;
    }
    (latencies, last.expect("a reply"))
}

/// All robots for a while; the latencies of all, sorted.
fn robots(server: &Server, time: Duration) -> Vec<f64> {
    let until = Instant::now() + time;
    let seen: Vec<_> = std::thread::scope(|scope| {
        let robots: Vec<_> =
            (0..ROBOTS).map(|number| scope.spawn(move || robot(server, number, until))).collect();
        robots.into_iter().map(|robot| robot.join().expect("a robot saw no error")).collect()
    });
    // What a robot was sent is what its observation and its noise give, whoever asked beside it.
    let mut sampler = policy().sampler(&cpu(), 1, 1, &SamplerOptions::default()).expect("a sampler");
    for (number, (_, reply)) in seen.iter().enumerate() {
        let steps = [observation(number); 2].concat();
        let mut chunk = vec![f32::NAN; reply.actions.len()];
        sampler.sample(&steps, Noise::PerObservation(&[reply.noise]), &mut chunk).expect("a chunk");
        assert_eq!(chunk, reply.actions, "robot {number}");
    }
    let mut latencies: Vec<f64> = seen.into_iter().flat_map(|(latencies, _)| latencies).collect();
    latencies.sort_by(f64::total_cmp);
    latencies
}

#[test]
#[ignore = "takes a minute: cargo test --release --test serve -- --ignored"]
fn a_minute_of_everything() {
    let server = serve(|config| {
        config.max_batch = 64;
        config.limits.handshake = Duration::from_secs(1);
        config.limits.write = Duration::from_millis(500);
        config.limits.idle = Duration::from_secs(2);
    });
    let quiet = robots(&server, QUIET);
    let target = Target { address: server.address(), key: None, observation: STATE, obs_dim: OBS };
    let done = AtomicBool::new(false);
    let rounds = [const { AtomicU64::new(0) }; ABUSES.len()];
    let (abused, early) = std::thread::scope(|scope| {
        start(scope, target, &done, &rounds);
        let early = scope.spawn(|| {
            std::thread::sleep(ABUSED / 3);
            resident()
        });
        let abused = robots(&server, ABUSED);
        done.store(true, Relaxed);
        (abused, early.join().expect("measured"))
    });
    eventually("all have left", || server.metrics().connections() == 0);
    for (what, latencies) in [("alone", &quiet), ("beside every abuse", &abused)] {
        let at = |share: f64| latencies[(share * (latencies.len() - 1) as f64).round() as usize];
        println!(
            "{what}: {} replies, p50 {:.2} ms, p99 {:.2}, max {:.2}",
            latencies.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
    for (abuse, rounds) in ABUSES.iter().zip(&rounds) {
        let rounds = rounds.load(Relaxed);
        println!("{rounds:8} rounds of {}", abuse.name);
        assert!(rounds > 0, "no round of {}", abuse.name);
    }
    assert!(server.healthy());
    match (early, resident()) {
        (Some(before), Some(after)) => {
            println!("resident memory: {} MiB, at the end {} MiB", before >> 20, after >> 20);
            assert!(after <= before + GROWTH, "memory grew from {before} to {after} bytes");
        }
        _ => println!("NOT CHECKED: this system has no /proc/self/status, so memory was not measured"),
    }
    server.shutdown().expect("shut down");
}
