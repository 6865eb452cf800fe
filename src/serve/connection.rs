//! One robot's connection: metadata, then requests and replies in turn.

use super::batcher::{Chunk, Job};
use super::error::RequestError;
use super::listener::Peer;
use super::server::{Shared, stopped};
use super::{NoiseKey, array, robot_seed, wire};
use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use rmpv::Value;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, timeout};

/// How long the other side has for its half of the closing handshake.
const CLOSING: Duration = Duration::from_secs(1);

/// Why a connection ends by our will.
struct Ending {
    code: u16,
    reason: &'static str,
}

/// A message that does not come to its end.
const STUCK: Ending = Ending {
    code: close_code::POLICY,
    reason: "found a message that was not finished in time, needed its end",
};

/// The client is gone, or does not take what it is sent.
struct Gone;

/// Serves one robot until it leaves, fails or the server shuts down.
pub(super) async fn run(mut socket: WebSocket, shared: &Shared, peer: &Peer) {
    let address = peer.address;
    let _open = shared.metrics.connected();
    let robot = shared.robots.fetch_add(1, Ordering::Relaxed);
    tracing::info!("{address}: robot {robot} is connected");
    let mut connection = Connection {
        socket: &mut socket,
        shared,
        peer,
        seed: robot_seed(shared.config.seed, robot),
        answered: 0,
        previous: None,
    };
    match connection.serve(robot).await {
        Ok(Some(Ending { code, reason })) => {
            tracing::info!("{address}: robot {robot} is closed: {reason}");
            close(&mut socket, code, reason).await;
        }
        Ok(None) => tracing::info!("{address}: robot {robot} has left"),
        Err(Gone) => tracing::info!("{address}: robot {robot} is gone"),
    }
}

/// Sends a close frame and waits a little for the answer.
async fn close(socket: &mut WebSocket, code: u16, reason: &'static str) {
    let frame = CloseFrame { code, reason: reason.into() };
    let handshake = async {
        if socket.send(Message::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    // Whoever does not answer is dropped.
    let _ = timeout(CLOSING, handshake).await;
}

struct Connection<'a> {
    socket: &'a mut WebSocket,
    shared: &'a Shared,
    peer: &'a Peer,
    seed: u64,
    /// Requests answered with actions so far.
    answered: u64,
    /// Milliseconds that the last reply took, sending included.
    previous: Option<f64>,
}

impl Connection<'_> {
    /// Until the client leaves (none), or there is a reason to close.
    async fn serve(&mut self, robot: u64) -> Result<Option<Ending>, Gone> {
        let shared = self.shared;
        let mut metadata = shared.metadata.clone();
        metadata.push(("robot".into(), robot.into()));
        metadata.push(("seed".into(), self.seed.into()));
        self.send(Message::Binary(wire::encode(&Value::Map(metadata)).into())).await?;

        let idle = shared.config.limits.idle;
        let mut shutdown = shared.shutdown.clone();
        let mut ping = tokio::time::interval(idle / 3);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.reset();
        let mut heard = Instant::now();
        loop {
            let received = tokio::select! {
                biased;
                _ = stopped(&mut shutdown) => {
                    return Ok(Some(Ending { code: close_code::AWAY, reason: "the server shuts down" }));
                }
                received = self.socket.recv() => received,
                _ = ping.tick() => {
                    if heard.elapsed() >= idle {
                        let reason = "found no frame for too long, needed requests or answers to pings";
                        return Ok(Some(Ending { code: close_code::POLICY, reason }));
                    }
                    if self.stuck(idle) {
                        return Ok(Some(STUCK));
                    }
                    self.send(Message::Ping(Bytes::new())).await?;
                    continue;
                }
            };
            heard = Instant::now();
            match received {
                Some(Ok(Message::Binary(frame))) => self.answer(&frame).await?,
                Some(Ok(Message::Text(_))) => {
                    shared.metrics.request();
                    self.refuse(&RequestError::Text).await?;
                }
                // A client may send them without end, and the tick would never come.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) if self.stuck(idle) => {
                    return Ok(Some(STUCK));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) => {
                    // The answer goes out with the next read.
                    let _ = timeout(CLOSING, self.socket.recv()).await;
                    return Ok(None);
                }
                Some(Err(error)) if oversize(&error) => {
                    shared.metrics.request();
                    self.refuse(&RequestError::Oversize { limit: shared.config.limits.message }).await?;
                    return Ok(Some(Ending {
                        code: close_code::SIZE,
                        reason: "found a message that is too long, needed a shorter one",
                    }));
                }
                Some(Err(error)) => {
                    tracing::debug!("robot {robot}: {error}");
                    return Err(Gone);
                }
                None => return Ok(None),
            }
        }
    }

    /// Whether a message has been under way for too long. Pings between its parts are no sign of life.
    fn stuck(&self, idle: Duration) -> bool {
        self.peer.unfinished_for().is_some_and(|since| since >= idle)
    }

    async fn send(&mut self, message: Message) -> Result<(), Gone> {
        match timeout(self.shared.config.limits.write, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    /// An error frame.
    async fn refuse(&mut self, error: &RequestError) -> Result<(), Gone> {
        self.shared.metrics.error(error);
        tracing::debug!("refused: {error}");
        self.send(Message::Text(error.to_string().into())).await
    }

    /// A request's reply or error frame.
    async fn answer(&mut self, frame: &[u8]) -> Result<(), Gone> {
        let (shared, arrived) = (self.shared, Instant::now());
        shared.metrics.request();
        let (chunk, noise) = match self.infer(frame, arrived).await {
            Ok(inferred) => inferred,
            Err(error) => return self.refuse(&error).await,
        };
        self.answered += 1;
        let missed = shared.config.deadline.is_some_and(|deadline| arrived.elapsed() > deadline);
        if missed {
            shared.metrics.miss();
        }
        let reply = self.reply(&chunk, noise, arrived.elapsed(), missed);
        self.send(Message::Binary(reply.into())).await?;
        let took = arrived.elapsed();
        shared.metrics.answered(took);
        self.previous = Some(milliseconds(took));
        Ok(())
    }

    async fn infer(&mut self, frame: &[u8], arrived: Instant) -> Result<(Chunk, NoiseKey), RequestError> {
        let request = self.shared.reader.read(frame)?;
        if !request.ignored.is_empty() && !self.shared.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "{}: found keys that the policy has no use for ({}): they are passed over, here and from now on (--strict refuses them)",
                self.peer.address,
                request.told()
            );
        }
        let noise = NoiseKey {
            seed: request.seed.unwrap_or(self.seed),
            request: request.request.unwrap_or(self.answered),
        };
        let (reply, chunk) = oneshot::channel();
        self.shared.batcher.send(Job { obs: request.obs, noise, arrived, reply });
        let chunk = chunk.await.unwrap_or(Err(RequestError::Stopped))?;
        Ok((chunk, noise))
    }

    /// The reply's bytes. ActionChunkBroker indexes every array by the step of the horizon, so `actions` is the only one.
    fn reply(&self, chunk: &Chunk, noise: NoiseKey, took: Duration, missed: bool) -> Vec<u8> {
        let shared = self.shared;
        let mut timing = vec![
            ("infer_ms", Value::F64(milliseconds(chunk.infer))),
            ("queue_ms", Value::F64(milliseconds(chunk.queued))),
            ("total_ms", Value::F64(milliseconds(took))),
            ("batch", Value::from(chunk.batch as u64)),
            ("deadline_missed", missed.into()),
        ];
        if let Some(previous) = self.previous {
            timing.push(("prev_total_ms", Value::F64(previous)));
        }
        let map = |entries: Vec<(&str, Value)>| {
            Value::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
        };
        let actions = array::ndarray(&[shared.horizon, shared.action_dim], &chunk.actions);
        let noise = map(vec![("seed", noise.seed.into()), ("request", noise.request.into())]);
        wire::encode(&map(vec![("actions", actions), ("noise", noise), ("server_timing", map(timing))]))
    }
}

fn milliseconds(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}

/// Whether a frame was longer than the limit.
fn oversize(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(tungstenite::Error::Capacity(_)) = error.downcast_ref() {
            return true;
        }
        cause = error.source();
    }
    false
}
