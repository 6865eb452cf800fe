//! A minute of everything at once: robots that ask, robots that come and go, and clients that do everything wrong. No robot may
//! see an error, and memory may not grow.

use crate::toy::{OBS, connect, eventually, observation, serve, socket, state, websocket};
use advect::serve::{STATE, ndarray, wire};
use rmpv::Value;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tungstenite::Message;

const ROBOTS: usize = 20;
const TIME: Duration = Duration::from_secs(60);
/// How much resident memory may grow after the first quarter, bytes.
const GROWTH: u64 = 24 << 20;

/// Resident memory of this process, the server's threads included; none where there is no /proc.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| 1024 * kib)
}

#[test]
#[ignore = "takes a minute: cargo test --release --test serve -- --ignored"]
fn a_minute_of_everything() {
    let server = serve(|config| {
        config.max_batch = 16;
        config.limits.handshake = Duration::from_secs(1);
        config.limits.write = Duration::from_millis(500);
        config.limits.idle = Duration::from_secs(2);
    });
    let address = server.address();
    let (done, answered, slowest) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let began = Instant::now();
    let quarter = std::thread::scope(|scope| {
        for robot in 0..ROBOTS {
            let (server, done, answered, slowest) = (&server, &done, &answered, &slowest);
            scope.spawn(move || {
                let obs = observation(robot);
                let mut client = connect(server);
                let mut n = 0u64;
                while !done.load(Relaxed) {
                    let asked = Instant::now();
                    let reply = client.infer(&[state(&obs)], None).expect("a robot sees no error");
                    slowest.fetch_max(asked.elapsed().as_micros() as u64, Relaxed);
                    assert_eq!(reply.noise.request, n);
                    answered.fetch_add(1, Relaxed);
                    n += 1;
                    // Every third robot reconnects now and then, in good order or not.
                    if robot % 3 == 0 && n.is_multiple_of(100) {
                        let old = std::mem::replace(&mut client, connect(server));
                        if n.is_multiple_of(200) {
                            old.close().expect("closed");
                        }
                        n = 0;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        let done = &done;
        let request = wire::encode(&Value::Map(vec![(STATE.into(), ndarray(&[OBS], &observation(0)))]));
        scope.spawn(move || {
            for n in 0u32.. {
                if done.load(Relaxed) {
                    break;
                }
                let noise: Vec<u8> =
                    (0..200u32).map(|i| ((i + 7 * n).wrapping_mul(2_654_435_761) >> 11) as u8).collect();
                let _ = socket(address).write_all(&noise);
                let mut client = websocket(address);
                let _ = client.get_mut().write_all(&noise);
                let mut client = websocket(address);
                for piece in [&noise[..], &request[..request.len() - 1], &[0xdf, 0xff, 0xff, 0xff, 0xff]] {
                    let _ = client.send(Message::Binary(piece.to_vec().into()));
                    let _ = client.read();
                }
                let _ = client.send(Message::Binary(vec![0xc0; 2 << 20].into()));
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let flood = wire::encode(&Value::Map(vec![(STATE.into(), ndarray(&[OBS], &observation(1)))]));
        scope.spawn(move || {
            // Half-open and slow ones: they hold sockets until the server drops them.
            while !done.load(Relaxed) {
                let _half_open: Vec<_> = (0..5).map(|_| websocket(address)).collect();
                let _silent: Vec<_> = (0..5).map(|_| socket(address)).collect();
                let mut slow = websocket(address);
                slow.get_mut().set_write_timeout(Some(Duration::from_millis(100))).expect("a timeout");
                let until = Instant::now() + Duration::from_secs(3);
                while Instant::now() < until && !done.load(Relaxed) {
                    if slow.send(Message::Binary(flood.clone().into())).is_err() {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                }
            }
        });
        std::thread::sleep(TIME / 4);
        let quarter = resident();
        std::thread::sleep((began + TIME).saturating_duration_since(Instant::now()));
        done.store(true, Relaxed);
        quarter
    });
    eventually("all have left", || server.metrics().connections() == 0);
    let (answered, slowest) = (answered.load(Relaxed), slowest.load(Relaxed) as f64 / 1e6);
    println!("{answered} replies, the slowest after {slowest:.3} s");
    assert!(answered > 1000 && slowest < 5.0, "{answered} replies, the slowest after {slowest} s");
    assert!(server.healthy());
    match (quarter, resident()) {
        (Some(before), Some(after)) => {
            println!("resident memory: {} MiB, at the end {} MiB", before >> 20, after >> 20);
            assert!(after <= before + GROWTH, "memory grew from {before} to {after} bytes");
        }
        _ => println!("NOT CHECKED: this system has no /proc/self/status, so memory was not measured"),
    }
    server.shutdown().expect("shut down");
}
