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
    // The requests under way wait for a robot that asks nothing.
    let server = serve(|config| config.batch_wait = Duration::from_millis(400));
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
        let began = Instant::now();
        let closed = scope.spawn(move || idle.read());
        server.shutdown().expect("shut down");
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
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
