//! A small policy, a server for it, and clients.

// Each test program uses its own part of these.
#![allow(dead_code)]

pub use crate::common::{cpu, gpu};
use advect::data::{EpisodeArrays, ObsInput};
use advect::serve::{ClientOptions, Observation, PolicyClient, STATE, ServeConfig, Server};
use advect::{Episodes, Policy, RunConfig, Trainer};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tungstenite::WebSocket;

pub const HISTORY: usize = 2;
pub const OBS: usize = 3;
pub const HORIZON: usize = 4;
pub const ACTION: usize = 2;

const RUN: &str = "
steps = 4
batch_size = 8
horizon = 4
history = 2
pad_after = 0
obs_clip = 0.0
network = { kind = \"residual\", width = 16, blocks = 1, activation = \"silu\", time = { kind = \"raw\" }, conditioning = \"concat\" }
";

/// Observations [2, 3], actions [4, 2].
pub fn policy() -> Policy {
    policy_of(vec![])
}

/// The same with named inputs.
pub fn policy_of(obs_inputs: Vec<ObsInput>) -> Policy {
    let wave = |n: usize, step: f32| (0..n).map(|i| (i as f32 * step).sin()).collect();
    let arrays = EpisodeArrays {
        obs: wave(4 * 20 * OBS, 0.1),
        action: wave(4 * 20 * ACTION, 0.17),
        obs_dim: OBS,
        obs_inputs,
        action_dim: ACTION,
        lengths: vec![20; 4],
        fps: Some(10.0),
        ..Default::default()
    };
    let config: RunConfig = toml::from_str(RUN).expect("settings");
    let mut trainer =
        Trainer::new(&cpu(), &Episodes::from_arrays(arrays).expect("episodes"), &config).expect("a trainer");
    trainer.advance(2).expect("steps");
    trainer.policy().expect("a policy")
}

/// A server on a free port, with settings changed by `with`.
pub fn serve(with: impl FnOnce(&mut ServeConfig)) -> Server {
    let mut config = ServeConfig { port: 0, max_batch: 8, name: "toy".into(), ..ServeConfig::default() };
    with(&mut config);
    Server::start(policy(), &cpu(), config).expect("a server")
}

pub fn connect(server: &Server) -> PolicyClient {
    PolicyClient::connect(&server.url(), &ClientOptions::default()).expect("a connection")
}

/// An observation [3] of a robot.
pub fn observation(robot: usize) -> [f32; OBS] {
    [0.1 * robot as f32, -0.3, 0.5]
}

pub fn state(data: &[f32]) -> Observation<'_> {
    const STEP: &[usize] = &[OBS];
    const ALL: &[usize] = &[HISTORY, OBS];
    Observation { key: STATE, shape: if data.len() == OBS { STEP } else { ALL }, data }
}

/// A plain socket that breaks rather than hangs.
pub fn socket(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    socket.set_write_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    socket
}

/// A WebSocket after the handshake and the metadata, to do with what one likes.
pub fn websocket(address: SocketAddr) -> WebSocket<TcpStream> {
    let (mut client, _) =
        tungstenite::client(format!("ws://{address}/"), socket(address)).expect("a handshake");
    assert!(client.read().expect("metadata").is_binary());
    client
}

/// Status and body of a GET with header lines.
pub fn get(address: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let mut socket = socket(address);
    let request = format!("GET {path} HTTP/1.1\r\nHost: robot\r\nConnection: close\r\n{headers}\r\n");
    socket.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_string()).unwrap_or_default();
    (status, body)
}

/// Waits until something holds, for ten seconds at most.
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("not within ten seconds: {what}");
}
