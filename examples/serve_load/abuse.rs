//! Clients that do everything wrong, for a while, each in a thread of its own: what a server of robots must bear.

use advect::serve::{ndarray, wire};
use rmpv::Value;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{Scope, sleep};
use std::time::{Duration, Instant};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

/// The server that is abused.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its key, if it has one: some abuse comes from those who hold it.
    pub key: Option<&'a str>,
    /// The name of the observation that its policy reads.
    pub observation: &'a str,
    /// Values of one step of that observation.
    pub obs_dim: usize,
}

/// One kind of abuse. A round takes at most a few seconds; an error is the server's right to hang up.
pub struct Abuse {
    /// What it does.
    pub name: &'static str,
    round: fn(&Target<'_>) -> io::Result<()>,
}

/// Every kind.
pub const ABUSES: [Abuse; 11] = [
    Abuse { name: "300 silent sockets", round: silent_sockets },
    Abuse { name: "a handshake byte by byte", round: slow_handshake },
    Abuse { name: "a message that never ends, with pings", round: unfinished_message },
    Abuse { name: "replies that are never read", round: unread_replies },
    Abuse { name: "frames that claim to be huge", round: huge_frames },
    Abuse { name: "wrong keys", round: wrong_keys },
    Abuse { name: "noise before, in place of and in frames", round: noise },
    Abuse { name: "NaN, wrong shapes, duplicate keys", round: bad_requests },
    Abuse { name: "connections cut after a request", round: cut_connections },
    Abuse { name: "connections opened and dropped", round: dropped_connections },
    Abuse { name: "pages polled", round: polled_pages },
];

/// Starts every kind of abuse in `scope`, until `done`. `rounds` counts those of each kind.
pub fn start<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    target: Target<'env>,
    done: &'env AtomicBool,
    rounds: &'env [AtomicU64; ABUSES.len()],
) {
    for (abuse, rounds) in ABUSES.iter().zip(rounds) {
        scope.spawn(move || {
            while !done.load(Relaxed) {
                // Refused, reset, timed out: the next round tries again.
                let _ = (abuse.round)(&target);
                rounds.fetch_add(1, Relaxed);
                sleep(Duration::from_millis(20));
            }
        });
    }
}

const HELD: Duration = Duration::from_secs(1);

fn socket(target: &Target<'_>) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&target.address, Duration::from_secs(2))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.set_write_timeout(Some(Duration::from_millis(200)))?;
    Ok(socket)
}

/// A connection after the handshake and the metadata.
fn websocket(target: &Target<'_>) -> io::Result<WebSocket<TcpStream>> {
    let mut request = format!("ws://{}/", target.address).into_client_request().map_err(io::Error::other)?;
    if let Some(key) = target.key {
        let bearer = format!("Bearer {key}").parse().map_err(io::Error::other)?;
        request.headers_mut().insert("authorization", bearer);
    }
    let (mut client, _) = tungstenite::client(request, socket(target)?).map_err(io::Error::other)?;
    client.read().map_err(io::Error::other)?;
    Ok(client)
}

fn sound_request(target: &Target<'_>) -> Vec<u8> {
    let state = ndarray(&[target.obs_dim], &vec![0.1; target.obs_dim]);
    wire::encode(&Value::Map(vec![(target.observation.into(), state)]))
}

fn noise_bytes(n: u32) -> Vec<u8> {
    (0..n).map(|i| (i.wrapping_add(n).wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn silent_sockets(target: &Target<'_>) -> io::Result<()> {
    let mut held = Vec::new();
    for n in 0..300 {
        let Ok(mut socket) = socket(target) else { continue };
        if n % 3 == 0 {
            let _ = socket.write_all(b"GET / HTTP/1.1\r\nHost: r");
        }
        held.push(socket);
    }
    sleep(HELD);
    Ok(())
}

fn slow_handshake(target: &Target<'_>) -> io::Result<()> {
    let (mut socket, began) = (socket(target)?, Instant::now());
    for byte in b"GET / HTTP/1.1\r\nHost: robot\r\nX-Long: ".iter().chain(std::iter::repeat(&b'x')) {
        if began.elapsed() > HELD {
            break;
        }
        socket.write_all(&[*byte])?;
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn unfinished_message(target: &Target<'_>) -> io::Result<()> {
    let (mut client, began) = (websocket(target)?, Instant::now());
    // A masked frame that is not its message's last.
    client.get_mut().write_all(&[0x02, 0x81, 0, 0, 0, 0, 7])?;
    while began.elapsed() < HELD {
        client.get_mut().write_all(&[0x89, 0x80, 0, 0, 0, 0])?;
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn unread_replies(target: &Target<'_>) -> io::Result<()> {
    let (mut client, began) = (websocket(target)?, Instant::now());
    let request = sound_request(target);
    while began.elapsed() < HELD {
        client.send(Message::Binary(request.clone().into())).map_err(io::Error::other)?;
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn huge_frames(target: &Target<'_>) -> io::Result<()> {
    // 2^62 bytes, and 64 MiB of which the first are sent.
    for length in [1u64 << 62, 64 << 20] {
        let mut client = websocket(target)?;
        let header = [&[0x82, 0xff][..], &length.to_be_bytes(), &[1, 2, 3, 4]].concat();
        client.get_mut().write_all(&header)?;
        let _ = client.get_mut().write_all(&vec![0; 64 << 10]);
        let _ = client.read();
    }
    Ok(())
}

fn wrong_keys(target: &Target<'_>) -> io::Result<()> {
    for key in ["", "wrong", "Bearer", "\u{7f}"] {
        let mut socket = socket(target)?;
        write!(
            socket,
            "GET / HTTP/1.1\r\nHost: robot\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {key}\r\n\r\n"
        )?;
        let _ = socket.read(&mut [0; 64])?;
    }
    Ok(())
}

fn noise(target: &Target<'_>) -> io::Result<()> {
    let noise = noise_bytes(300);
    let _ = socket(target)?.write_all(&noise);
    let _ = websocket(target)?.get_mut().write_all(&noise);
    let mut client = websocket(target)?;
    for piece in noise.chunks(60) {
        client.send(Message::Binary(piece.to_vec().into())).map_err(io::Error::other)?;
        client.read().map_err(io::Error::other)?;
    }
    Ok(())
}

fn bad_requests(target: &Target<'_>) -> io::Result<()> {
    let mut client = websocket(target)?;
    let (name, dim) = (target.observation, target.obs_dim);
    let map = |entries: Vec<Value>| {
        wire::encode(&Value::Map(entries.into_iter().map(|value| (name.into(), value)).collect()))
    };
    let sound = || ndarray(&[dim], &vec![0.1; dim]);
    let messages = [
        map(vec![ndarray(&[dim], &vec![f32::NAN; dim])]),
        map(vec![ndarray(&[dim], &vec![f32::MAX; dim])]),
        map(vec![ndarray(&[dim + 1], &vec![0.1; dim + 1])]),
        map(vec![ndarray(&[1 << 20, 0], &[])]),
        map(vec![sound(), sound()]),
        map(vec![]),
        wire::encode(&Value::Array(vec![Value::Nil; 10_000])),
    ];
    for message in messages {
        client.send(Message::Binary(message.into())).map_err(io::Error::other)?;
        client.read().map_err(io::Error::other)?;
    }
    Ok(())
}

fn cut_connections(target: &Target<'_>) -> io::Result<()> {
    let request = sound_request(target);
    for _ in 0..4 {
        let mut client = websocket(target)?;
        client.send(Message::Binary(request.clone().into())).map_err(io::Error::other)?;
    }
    Ok(())
}

fn dropped_connections(target: &Target<'_>) -> io::Result<()> {
    (0..20).try_for_each(|_| socket(target).map(drop))
}

fn polled_pages(target: &Target<'_>) -> io::Result<()> {
    for path in ["/healthz", "/metrics", "/no/such/page"] {
        let mut socket = socket(target)?;
        let key = target.key.unwrap_or_default();
        write!(
            socket,
            "GET {path} HTTP/1.1\r\nHost: robot\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\r\n"
        )?;
        let _ = socket.read(&mut [0; 256])?;
    }
    Ok(())
}
