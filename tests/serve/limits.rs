//! Who may connect, how many, and for how long; shutting down.

use crate::toy::{connect, eventually, get, observation, policy, serve, socket, state, websocket};
use advect::serve::{
    ClientError, ClientOptions, ErrorKind, Key, PolicyClient, Refusal, ServeConfig, ServeError, Server,
};
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use tungstenite::{Message, protocol::frame::coding::CloseCode};

fn with_key(key: Option<&str>) -> ClientOptions {
    ClientOptions { key: key.map(String::from), ..ClientOptions::default() }
}

#[test]
fn a_key_keeps_strangers_out() {
    let server = serve(|config| config.key = Some(Key::new("s3cret").expect("a key")));
    for key in [None, Some("wrong"), Some("s3cre"), Some("s3cret2")] {
        match PolicyClient::connect(&server.url(), &with_key(key)).err() {
            Some(ClientError::Refused { status: 401, .. }) => {}
            other => panic!("{key:?}: {other:?}"),
        }
    }
    let mut client = PolicyClient::connect(&server.url(), &with_key(Some("s3cret"))).expect("let in");
    client.infer(&[state(&observation(0))], None).expect("a reply");
    let address = server.address();
    assert_eq!(get(address, "/healthz", "").0, 200);
    assert_eq!(get(address, "/metrics", "").0, 401);
    assert_eq!(get(address, "/metrics", "Authorization: Bearer s3cret\r\n").0, 200);
    assert_eq!(server.metrics().refusals(Refusal::Key), 4);
}

#[test]
fn browser_pages_are_refused() {
    const HANDSHAKE: &str = "Upgrade: websocket\r\nOrigin: http://evil.example\r\nSec-WebSocket-Version: 13\r\n\
                             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let server = serve(|_| ());
    assert_eq!(get(server.address(), "/", HANDSHAKE).0, 403);
    assert_eq!(server.metrics().refusals(Refusal::Origin), 1);
}

#[test]
fn connections_are_counted() {
    let server = serve(|config| config.limits.connections = 2);
    let (first, mut second) = (connect(&server), connect(&server));
    match PolicyClient::connect(&server.url(), &ClientOptions::default()).err() {
        Some(ClientError::Refused { status: 503, .. }) => {}
        other => panic!("{other:?}"),
    }
    // The door for health checks is another.
    assert_eq!(get(server.address(), "/healthz", "").0, 200);
    second.infer(&[state(&observation(0))], None).expect("a reply");
    drop(first);
    eventually("a place is free", || server.metrics().connections() == 1);
    connect(&server).infer(&[state(&observation(0))], None).expect("a reply");
    assert_eq!(server.metrics().refusals(Refusal::Full), 1);
}

#[test]
fn silent_sockets_are_closed() {
    let server = serve(|config| {
        config.limits.handshake = Duration::from_millis(300);
        config.limits.idle = Duration::from_millis(600);
    });
    // No handshake at all, half of one, and one that trickles.
    let mut sockets: Vec<_> = (0..3).map(|_| socket(server.address())).collect();
    sockets[1].write_all(b"GET / HTTP/1.1\r\nHost: rob").expect("sent");
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(500) && sockets[2].write_all(b"G").is_ok() {
        std::thread::sleep(Duration::from_millis(50));
    }
    for mut socket in sockets {
        let mut rest = Vec::new();
        // Closed or reset, and not after our own timeout.
        let _ = socket.read_to_end(&mut rest);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());

    // A half-open client answers no ping; one that reads does, and stays.
    let half_open = websocket(server.address());
    let mut alive = websocket(server.address());
    alive.get_mut().set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1500) {
        // Answers pings.
        let _ = alive.read();
    }
    eventually("the half-open one is closed", || server.metrics().connections() == 1);
    drop(half_open);
    assert!(alive.send(Message::text("still here?")).is_ok());
    alive.get_mut().set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    while !alive.read().expect("still open").is_text() {}
}

#[test]
fn hundreds_of_silent_sockets_keep_nobody_out() {
    let server = serve(|config| {
        config.key = Some(Key::new("s3cret").expect("a key"));
        config.limits.connections = 4;
    });
    let key = with_key(Some("s3cret"));
    let mut early = PolicyClient::connect(&server.url(), &key).expect("let in");
    let mut silent: Vec<_> = (0..300).map(|_| socket(server.address())).collect();
    // Some have sent half a handshake.
    silent.iter_mut().step_by(3).for_each(|socket| drop(socket.write_all(b"GET / HTTP/1.1\r\nHost: r")));
    let address = server.address();
    assert_eq!(get(address, "/healthz", "").0, 200);
    assert_eq!(get(address, "/metrics", "Authorization: Bearer s3cret\r\n").0, 200);
    let mut robots: Vec<_> =
        (0..3).map(|_| PolicyClient::connect(&server.url(), &key).expect("let in")).collect();
    for client in robots.iter_mut().chain([&mut early]) {
        client.infer(&[state(&observation(0))], None).expect("a reply");
    }
    // As many robots as are allowed: those without the key are none of them.
    assert_eq!(server.metrics().connections(), 4);
}

#[test]
fn pings_do_not_keep_an_unfinished_message_alive() {
    let server = serve(|config| config.limits.idle = Duration::from_millis(500));
    let mut client = websocket(server.address());
    let socket = client.get_mut();
    // A masked frame that is not its message's last, then pings that are answered.
    socket.write_all(&[0x02, 0x81, 0, 0, 0, 0, 7]).expect("sent");
    let began = Instant::now();
    let mut closed = false;
    while began.elapsed() < Duration::from_secs(8) && !closed {
        closed = socket.write_all(&[0x89, 0x80, 0, 0, 0, 0]).is_err() || server.metrics().connections() == 0;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(closed, "still open after {:?}", began.elapsed());
    assert!(began.elapsed() >= Duration::from_millis(400));

    // A whole message in as many parts, with pings between them, is answered.
    let server = serve(|_| ());
    let mut client = websocket(server.address());
    let request = rmpv::Value::Map(vec![(
        advect::serve::STATE.into(),
        advect::serve::ndarray(&[crate::toy::OBS], &observation(0)),
    )]);
    let request = advect::serve::wire::encode(&request);
    for (n, byte) in request.iter().enumerate() {
        let last = if n + 1 == request.len() { 0x80 } else { 0 };
        let first = if n == 0 { 2 } else { 0 };
        client.get_mut().write_all(&[last | first, 0x81, 0, 0, 0, 0, *byte]).expect("sent");
        client.get_mut().write_all(&[0x89, 0x80, 0, 0, 0, 0]).expect("sent");
    }
    while !client.read().expect("a frame").is_binary() {}
}

/// A server that sends a byte now and then, and never a whole message.
#[test]
fn a_client_waits_no_longer_than_it_was_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let dripping = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) && stream.write_all(b"H").is_ok() {
            std::thread::sleep(Duration::from_millis(30));
        }
    });
    let options = ClientOptions { timeout: Duration::from_millis(300), ..ClientOptions::default() };
    let began = Instant::now();
    let error = PolicyClient::connect(&address, &options).err().expect("no connection");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}: {error}", began.elapsed());
    dripping.join().expect("ended");
}

#[test]
fn a_long_message_ends_its_connection_alone() {
    let server = serve(|config| config.limits.message = 8192);
    let mut other = connect(&server);
    let mut client = websocket(server.address());
    let _ = client.send(Message::Binary(vec![0; 100_000].into()));
    let mut reasons = Vec::new();
    while let Ok(message) = client.read() {
        reasons.push(message);
    }
    // What was unread may reset the connection before the reason arrives.
    if let Some(Message::Text(text)) = reasons.first() {
        assert!(text.contains("longer than 8192 bytes"), "{text}");
    }
    eventually("it is closed", || server.metrics().connections() == 1);
    assert_eq!(server.metrics().errors(ErrorKind::Oversize), 1);
    other.infer(&[state(&observation(0))], None).expect("a reply");
}

#[test]
fn a_client_never_takes_a_late_reply_for_the_next() {
    // The other robot never asks, so the first request of a pass waits for it.
    let server = serve(|config| config.batch_wait = Duration::from_millis(600));
    let _other = connect(&server);
    let options = ClientOptions { timeout: Duration::from_millis(200), ..ClientOptions::default() };
    let mut client = PolicyClient::connect(&server.url(), &options).expect("a connection");
    for words in ["no reply in time", "connect again", "connect again"] {
        match client.infer(&[state(&observation(0))], None) {
            Err(ClientError::Broken(text)) => assert!(text.contains(words), "{text}"),
            other => panic!("{words}: {other:?}"),
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn shutdown_answers_and_closes() {
    // The request under way waits for a robot that asks nothing, far longer than the test lasts: only the shutdown ends that.
    let server = serve(|config| config.batch_wait = Duration::from_secs(3600));
    let mut idle = websocket(server.address());
    let mut asking = connect(&server);
    let address = server.address();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| {
            let reply = asking.infer(&[state(&observation(0))], None);
            let after = asking.infer(&[state(&observation(0))], None);
            (reply, after)
        });
        eventually("the request is under way", || server.metrics().requests() == 1);
        let closed = scope.spawn(move || idle.read());
        server.shutdown().expect("shut down");
        match closed.join().expect("ended").expect("a frame") {
            Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Away),
            other => panic!("{other:?}"),
        }
        let (reply, after) = answer.join().expect("ended");
        reply.expect("what was under way is answered");
        assert!(matches!(after, Err(ClientError::Closed(_) | ClientError::Broken(_))), "{after:?}");
    });
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens");
}

#[test]
fn settings_that_make_no_sense() {
    let start = |with: &dyn Fn(&mut ServeConfig)| {
        let mut config = ServeConfig { port: 0, ..ServeConfig::default() };
        with(&mut config);
        Server::start(policy(), &crate::toy::cpu(), config).map(drop).unwrap_err().to_string()
    };
    assert!(start(&|c| c.max_batch = 0).contains("max_batch: found 0"));
    assert!(start(&|c| c.limits.connections = 0).contains("connections: found 0"));
    assert!(start(&|c| c.limits.message = 100).contains("limits.message"));
    assert!(start(&|c| c.limits.idle = Duration::ZERO).contains("limits.idle"));
    assert!(start(&|c| c.host = "no such host".into()).contains("cannot listen on no such host:0"));
    let taken = serve(|_| ());
    let port = taken.address().port();
    let error = Server::start(policy(), &crate::toy::cpu(), ServeConfig { port, ..ServeConfig::default() });
    assert!(matches!(error.err(), Some(ServeError::Bind { .. })));
}

#[test]
fn a_late_pass_is_given_up_and_said() {
    let Some(device) = crate::toy::gpu() else { return };
    let mut config = ServeConfig { port: 0, max_batch: 8, ..ServeConfig::default() };
    config.limits.pass = Duration::from_nanos(1);
    let server = Server::start(policy(), &device, config).expect("the first passes have their time");
    let address = server.address();
    for passes in 1..=3 {
        match connect(&server).infer(&[state(&observation(0))], None) {
            Err(ClientError::Server(text)) => assert!(text.contains("did not finish within 1ns"), "{text}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(server.metrics().late_passes(), passes);
        eventually("the device is done with it", || get(address, "/healthz", "").0 == 200);
    }
    let text = get(address, "/metrics", "").1;
    for line in ["advect_device_late 0", "advect_device_lost 0", "advect_late_passes_total 3"] {
        assert!(text.lines().any(|l| l == line), "no {line} in {text}");
    }
    assert!(server.healthy());
}
