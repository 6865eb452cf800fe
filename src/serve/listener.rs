//! Sockets: how many at once, and how long one may take until it is a robot's.

use super::metrics::{Metrics, Refusal};
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Accepts sockets up to a number, each of which must become a WebSocket within a time.
pub(super) struct BoundedListener {
    inner: TcpListener,
    slots: Arc<Semaphore>,
    handshake: Duration,
    metrics: Arc<Metrics>,
}

impl BoundedListener {
    pub fn new(
        inner: TcpListener,
        sockets: usize,
        handshake: Duration,
        metrics: Arc<Metrics>,
    ) -> BoundedListener {
        BoundedListener { inner, slots: Arc::new(Semaphore::new(sockets)), handshake, metrics }
    }
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoundedStream, SocketAddr) {
        loop {
            let (stream, address) = match self.inner.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file handles, most likely: others must end before it gets better.
                    if !matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                    ) {
                        tracing::warn!("cannot accept a connection: {error}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    continue;
                }
            };
            // Dropped at once where there are too many: waiting would keep health checks out as well.
            let Ok(slot) = self.slots.clone().try_acquire_owned() else {
                tracing::debug!("{address}: dropped, too many sockets are open");
                self.metrics.refuse(Refusal::Full);
                continue;
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!("{address}: no TCP_NODELAY: {error}");
            }
            let stream = BoundedStream {
                inner: stream,
                deadline: Some(Box::pin(tokio::time::sleep(self.handshake))),
                established: Arc::default(),
                _slot: slot,
            };
            return (stream, address);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A socket that breaks if it does not become a WebSocket in time.
pub(super) struct BoundedStream {
    inner: TcpStream,
    deadline: Option<Pin<Box<Sleep>>>,
    established: Arc<AtomicBool>,
    _slot: OwnedSemaphorePermit,
}

impl BoundedStream {
    /// Whether the time for the handshake is over without one.
    fn late(&mut self, cx: &mut Context<'_>) -> bool {
        if self.deadline.is_some() && self.established.load(Ordering::Relaxed) {
            self.deadline = None;
        }
        self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
    }
}

fn timed_out<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no WebSocket handshake in time")))
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.late(cx) {
            return timed_out();
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.late(cx) {
            return timed_out();
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.late(cx) {
            return timed_out();
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// Who is at the other end, and the word that the handshake is done.
#[derive(Clone)]
pub(super) struct Peer {
    pub address: SocketAddr,
    established: Arc<AtomicBool>,
}

impl Peer {
    /// From here on the socket has no deadline.
    pub fn establish(&self) {
        self.established.store(true, Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, BoundedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Peer {
        Peer { address: *stream.remote_addr(), established: stream.io().established.clone() }
    }
}
