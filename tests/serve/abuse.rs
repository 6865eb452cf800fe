//! Clients that do everything wrong, beside one that does everything right.

use crate::toy::{HISTORY, OBS, connect, eventually, observation, serve, socket, state, websocket};
use advect::serve::{STATE, Server, ndarray, wire};
use rmpv::Value;
use std::io::ErrorKind::{TimedOut, WouldBlock};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tungstenite::Message;

/// Runs `abuse` while a well-behaved robot asks at a steady pace; none of its requests may fail or take long.
fn beside_a_robot(server: &Server, abuse: impl FnOnce()) {
    let done = AtomicBool::new(false);
    let mut client = connect(server);
    let answered = std::thread::scope(|scope| {
        let robot = scope.spawn(|| {
            let mut answered = 0;
            while !done.load(Ordering::Relaxed) {
                let began = Instant::now();
                client.infer(&[state(&observation(1))], None).expect("a reply");
                assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
                answered += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            answered
        });
        // Whatever becomes of the abuse, the robot stops.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let stop = Stop(&done);
        abuse();
        drop(stop);
        robot.join().expect("the robot saw no error")
    });
    assert!(answered > 0);
    assert!(server.healthy());
    eventually("only the robot is left", || server.metrics().connections() <= 1);
}

fn request() -> Vec<u8> {
    wire::encode(&Value::Map(vec![(STATE.into(), ndarray(&[OBS], &observation(0)))]))
}

#[test]
fn garbage_harms_nobody() {
    let server = serve(|config| config.limits.handshake = Duration::from_millis(500));
    let address = server.address();
    beside_a_robot(&server, || {
        for seed in 0..40u32 {
            let noise: Vec<u8> =
                (0..300u32).map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            // Before the handshake, in place of frames, and in frames.
            let _ = socket(address).write_all(&noise);
            let _ = websocket(address).get_mut().write_all(&noise);
            let mut client = websocket(address);
            for piece in noise.chunks(60) {
                client.send(Message::Binary(piece.to_vec().into())).expect("sent");
                assert!(client.read().expect("an answer").is_text());
            }
            let damaged: Vec<u8> =
                request().iter().enumerate().map(|(i, b)| if i == seed as usize { !b } else { *b }).collect();
            client.send(Message::Binary(damaged.into())).expect("sent");
            client.read().expect("an answer");
        }
        // A frame header that claims 2^62 bytes, an unmasked frame, a reserved opcode, a fragment that never ends.
        let huge = [0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        for bytes in [&huge[..], &[0x82, 0x01, 0x00], &[0x83, 0x80, 0, 0, 0, 0], &[0x02, 0x81, 0, 0, 0, 0, 9]]
        {
            let _ = websocket(address).get_mut().write_all(bytes);
        }
    });
}

#[test]
fn wrong_shapes_and_types_harm_nobody() {
    let server = serve(|_| ());
    beside_a_robot(&server, || {
        let mut client = websocket(server.address());
        let state = |value: Value| wire::encode(&Value::Map(vec![(STATE.into(), value)]));
        let deep = (0..7).fold(Value::from(1), |inner, _| Value::Array(vec![inner]));
        let shapes: [&[usize]; 6] = [&[], &[0], &[OBS + 1], &[1, OBS], &[HISTORY, OBS, 1], &[1 << 20, 0]];
        let mut messages: Vec<Vec<u8>> = shapes
            .map(|shape| state(ndarray(shape, &vec![0.5; shape.iter().product()])))
            .into_iter()
            .chain([Value::Nil, "x".into(), deep, Value::Map(vec![]), Value::Ext(1, vec![0])].map(state))
            .collect();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            messages.push(state(ndarray(&[OBS], &[0.0, bad, 0.0])));
        }
        messages.push(wire::encode(&Value::Array(vec![Value::Nil; 100_000])));
        for message in messages {
            client.send(Message::Binary(message.into())).expect("sent");
            let answer = client.read().expect("an answer");
            assert!(answer.is_text(), "{answer:?}");
        }
    });
}

#[test]
fn slow_readers_are_dropped() {
    let server = serve(|config| config.limits.write = Duration::from_millis(300));
    beside_a_robot(&server, || {
        // Sends and never reads: the replies fill the buffers between.
        let mut client = websocket(server.address());
        client.get_mut().set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let began = Instant::now();
        let mut sent = 0;
        let mut whole = true;
        while began.elapsed() < Duration::from_secs(60) && server.metrics().connections() > 1 {
            // What the server has not taken yet goes on with the next call.
            let done = if whole { client.send(Message::Binary(request().into())) } else { client.flush() };
            whole = done.is_ok();
            match done {
                Ok(()) => sent += 1,
                Err(tungstenite::Error::Io(e)) if matches!(e.kind(), WouldBlock | TimedOut) => {}
                Err(_) => break,
            }
        }
        assert!(sent > 100, "{sent}");
        eventually("it is dropped", || server.metrics().connections() == 1);
    });
}

#[test]
fn hundreds_of_clients_at_once() {
    const CLIENTS: usize = 200;
    let server = serve(|config| config.max_batch = 32);
    std::thread::scope(|scope| {
        for robot in 0..CLIENTS {
            let server = &server;
            scope.spawn(move || {
                let mut client = connect(server);
                for n in 0..5 {
                    let reply = client.infer(&[state(&observation(robot))], None).expect("a reply");
                    assert_eq!(reply.noise.request, n);
                }
                // Some leave in good order, some do not.
                if robot % 2 == 0 {
                    client.close().expect("closed");
                }
            });
        }
    });
    eventually("all have left", || server.metrics().connections() == 0);
    assert_eq!(server.metrics().batches().1, (5 * CLIENTS) as f64);
    connect(&server).infer(&[state(&observation(0))], None).expect("the server goes on");
}
