//! A client of the same wire: what openpi-client's WebsocketClientPolicy is in Python.

use super::NoiseKey;
use super::array::{Array, ndarray, numbers};
use super::error::ClientError;
use super::wire::{MessageLimits, decode, encode};
use rmpv::{Value, ValueRef};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};
use tungstenite::client::{ClientRequestBuilder, client_with_config};
use tungstenite::error::ProtocolError;
use tungstenite::handshake::HandshakeError;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, WebSocket};

/// What a message of the server may have at most.
const LIMITS: MessageLimits = MessageLimits { values: 1 << 20, depth: 32 };
/// Longest message of the server, bytes.
const MESSAGE: usize = 64 << 20;

/// Most characters of a server's error.
const REASON: usize = 2000;

/// A socket whose every read and write ends by one point in time: a server that sends a byte now and then does not hold the caller.
struct Timed {
    stream: TcpStream,
    until: Instant,
}

/// When a call that begins now is over. A time beyond what the clock holds is as good as a day.
fn ends(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or(now + Duration::from_secs(86_400))
}

/// The time that is left; none is an error, since sockets take no timeout of 0.
fn left(until: Instant) -> io::Result<Duration> {
    match until.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

impl Read for Timed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.until)?))?;
        self.stream.read(buf)
    }
}

impl Write for Timed {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.until)?))?;
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// How a client connects.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The server's key, sent as `Authorization: Api-Key KEY`.
    pub key: Option<String>,
    /// How long a call may take in all: connecting with its handshake and metadata (but for looking up the host's name, which is the
    /// system's), a request with its reply, or closing.
    pub timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions { key: None, timeout: Duration::from_secs(10) }
    }
}

/// An observation to send.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// Its key, as `observation/state`.
    pub key: &'a str,
    /// [history, dim] or `[dim]`.
    pub shape: &'a [usize],
    /// Its values, row-major.
    pub data: &'a [f32],
}

/// A chunk of actions.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// [horizon, action_dim], in physical units.
    pub actions: Vec<f32>,
    /// Steps of the chunk.
    pub horizon: usize,
    /// Values of an action.
    pub action_dim: usize,
    /// Milliseconds that the device took.
    pub infer_ms: f64,
    /// Milliseconds from the request's arrival at the server to its reply.
    pub total_ms: f64,
    /// Requests that shared the pass.
    pub batch: usize,
    /// Whether the reply was later than the server's deadline.
    pub deadline_missed: bool,
    /// What named the noise: a request with the same key and observation has the same reply.
    pub noise: NoiseKey,
}

/// A blocking connection to a policy server.
pub struct PolicyClient {
    socket: WebSocket<Timed>,
    timeout: Duration,
    metadata: Value,
    /// Whether a reply was lost: the next one to come would be for an older observation.
    lost: bool,
}

impl PolicyClient {
    /// Connects to `host:port` (or `ws://host:port`) and reads the metadata.
    ///
    /// # Errors
    /// [`ClientError`] if nobody answers, the handshake is refused, or the first message is no map.
    pub fn connect(address: &str, options: &ClientOptions) -> Result<PolicyClient, ClientError> {
        let host = address.strip_prefix("ws://").unwrap_or(address).trim_end_matches('/');
        let failed = |source| ClientError::Connect { address: host.into(), source };
        let until = ends(options.timeout);
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let mut stream = None;
        for candidate in host.to_socket_addrs().map_err(failed)? {
            let left = match left(until) {
                Ok(left) => left,
                Err(error) => {
                    last = error;
                    break;
                }
            };
            match TcpStream::connect_timeout(&candidate, left) {
                Ok(connected) => {
                    stream = Some(connected);
                    break;
                }
                Err(error) => last = error,
            }
        }
        let Some(stream) = stream else { return Err(failed(last)) };
        stream.set_nodelay(true).map_err(failed)?;
        let stream = Timed { stream, until };

        let invalid =
            |e: &dyn std::fmt::Display| failed(io::Error::new(io::ErrorKind::InvalidInput, e.to_string()));
        let uri = format!("ws://{host}/").parse().map_err(|e| invalid(&e))?;
        let mut request = ClientRequestBuilder::new(uri);
        if let Some(key) = &options.key {
            request = request.with_header("Authorization", format!("Api-Key {key}"));
        }
        let config = WebSocketConfig::default().max_message_size(Some(MESSAGE)).max_frame_size(Some(MESSAGE));
        let socket = match client_with_config(request, stream, Some(config)) {
            Ok((socket, _)) => socket,
            Err(HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                return Err(ClientError::Refused {
                    address: host.into(),
                    status: response.status().as_u16(),
                });
            }
            Err(HandshakeError::Failure(error)) => return Err(broken(error)),
            Err(HandshakeError::Interrupted(_)) => {
                return Err(ClientError::Broken("the handshake took too long".into()));
            }
        };
        let mut client = PolicyClient { socket, timeout: options.timeout, metadata: Value::Nil, lost: false };
        let message = client.receive()?;
        let metadata = decode(&message, &LIMITS)?.to_owned();
        if !metadata.is_map() {
            return Err(ClientError::Message("the first message is no map of metadata".into()));
        }
        client.metadata = metadata;
        Ok(client)
    }

    /// What the server says of itself and its policy.
    pub fn metadata(&self) -> &Value {
        &self.metadata
    }

    /// An entry of the metadata.
    pub fn metadata_of(&self, key: &str) -> Option<&Value> {
        let entries = self.metadata.as_map()?;
        entries.iter().find(|(k, _)| k.as_str() == Some(key)).map(|(_, value)| value)
    }

    /// A chunk for observations; `noise` names its noise, in place of the connection's own.
    ///
    /// # Errors
    /// [`ClientError::Server`] with the server's reason, after which the connection goes on; any other if it is
    /// broken.
    pub fn infer(
        &mut self,
        observations: &[Observation<'_>],
        noise: Option<NoiseKey>,
    ) -> Result<Reply, ClientError> {
        let mut map: Vec<(Value, Value)> =
            observations.iter().map(|o| (Value::from(o.key), ndarray(o.shape, o.data))).collect();
        if let Some(NoiseKey { seed, request }) = noise {
            map.push(("seed".into(), seed.into()));
            map.push(("request".into(), request.into()));
        }
        self.request(&encode(&Value::Map(map)))
    }

    /// Sends a message as it is, and reads its reply. After a reply that did not come in time the connection is of no more
    /// use: what came next would answer an older observation.
    ///
    /// # Errors
    /// As [`PolicyClient::infer`].
    pub fn request(&mut self, message: &[u8]) -> Result<Reply, ClientError> {
        if self.lost {
            return Err(ClientError::Broken("an earlier request failed: connect again".into()));
        }
        self.lost = true;
        self.socket.get_mut().until = ends(self.timeout);
        self.socket.send(Message::Binary(message.to_vec().into())).map_err(broken)?;
        let message = match self.receive() {
            Err(error @ ClientError::Server(_)) => {
                self.lost = false;
                return Err(error);
            }
            received => received?,
        };
        self.lost = false;
        reply(&decode(&message, &LIMITS)?)
    }

    /// Closes the connection in good order.
    ///
    /// # Errors
    /// [`ClientError`] if it is broken already.
    pub fn close(mut self) -> Result<(), ClientError> {
        self.socket.get_mut().until = ends(self.timeout);
        self.socket.close(None).map_err(broken)?;
        loop {
            match self.socket.read() {
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed) => return Ok(()),
                Err(error) => return Err(broken(error)),
            }
        }
    }

    /// The next binary message. A text is the server's error.
    fn receive(&mut self) -> Result<Vec<u8>, ClientError> {
        loop {
            match self.socket.read().map_err(broken)? {
                Message::Binary(bytes) => return Ok(bytes.into()),
                Message::Text(text) => return Err(ClientError::Server(text.chars().take(REASON).collect())),
                Message::Close(frame) => {
                    // Our half of the closing handshake.
                    let _ = self.socket.flush();
                    let reason = frame.map_or_else(|| "no reason given".into(), |frame| frame.to_string());
                    return Err(ClientError::Closed(reason));
                }
                _ => {}
            }
        }
    }
}

fn broken(error: tungstenite::Error) -> ClientError {
    use tungstenite::Error;
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => ClientError::Closed("in good order".into()),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            ClientError::Closed("without a word".into())
        }
        Error::Io(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            ClientError::Broken("no reply in time".into())
        }
        other => ClientError::Broken(other.to_string()),
    }
}

fn entry<'a, 'b>(map: &'a ValueRef<'b>, key: &str) -> Result<&'a ValueRef<'b>, ClientError> {
    let found = match map {
        ValueRef::Map(entries) => {
            let is = |k: &ValueRef<'_>| matches!(k, ValueRef::String(text) if text.as_str() == Some(key));
            entries.iter().find(|(k, _)| is(k)).map(|(_, value)| value)
        }
        _ => None,
    };
    found.ok_or_else(|| ClientError::Message(format!("it has no {key:?}")))
}

fn reply(map: &ValueRef<'_>) -> Result<Reply, ClientError> {
    let wrong = |key: &str| ClientError::Message(format!("{key:?} is of a wrong type"));
    let Array { shape, data: actions } = numbers(entry(map, "actions")?)?;
    let [horizon, action_dim] = shape[..] else { return Err(wrong("actions")) };
    let (timing, noise) = (entry(map, "server_timing")?, entry(map, "noise")?);
    let float = |key: &str| match entry(timing, key)? {
        ValueRef::F64(v) => Ok(*v),
        _ => Err(wrong(key)),
    };
    let whole = |map: &ValueRef<'_>, key: &str| entry(map, key)?.as_u64().ok_or_else(|| wrong(key));
    Ok(Reply {
        actions,
        horizon,
        action_dim,
        infer_ms: float("infer_ms")?,
        total_ms: float("total_ms")?,
        batch: whole(timing, "batch")? as usize,
        deadline_missed: matches!(entry(timing, "deadline_missed")?, ValueRef::Boolean(true)),
        noise: NoiseKey { seed: whole(noise, "seed")?, request: whole(noise, "request")? },
    })
}
