//! Sockets: who waits for a place, how long one may take until it is a robot's, and whether its messages come to an end.
//!
//! A socket that has just come is a guest in the lobby until its handshake shows that it is a robot's (with the key, if there is one).
//! The lobby is small, and has room for newcomers always: the guest that has been silent the longest makes place. So a flood of
//! silent sockets takes no robot's place and keeps no health check out, which says what it wants within milliseconds.

use super::frames::Frames;
use super::metrics::{Metrics, Refusal};
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// Guests at once.
const GUESTS: usize = 384;
/// Guests at once from one address, of which the oldest goes for the next.
const GUESTS_OF_ONE: usize = 192;
/// Nobody has to go earlier than this: many robots may well start in the same instant.
const PATIENCE: Duration = Duration::from_millis(100);
/// Bytes of an unfinished message that count for no total.
const SMALL: u64 = 1 << 20;

/// Accepts sockets, each of which must become a WebSocket within a time.
pub(super) struct BoundedListener {
    inner: TcpListener,
    lobby: Arc<Lobby>,
    handshake: Duration,
    held: Arc<Held>,
}

impl BoundedListener {
    /// `most` bytes of unfinished messages are held for all robots together.
    pub fn new(inner: TcpListener, handshake: Duration, most: u64, metrics: Arc<Metrics>) -> BoundedListener {
        let lobby = Arc::new(Lobby { guests: Mutex::default(), metrics });
        BoundedListener { inner, lobby, handshake, held: Arc::new(Held { bytes: AtomicU64::new(0), most }) }
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
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!("{address}: no TCP_NODELAY: {error}");
            }
            let (id, told) = loop {
                match self.lobby.enter(address.ip(), Instant::now()) {
                    Ok(place) => break place,
                    // Those that come meanwhile wait in the system's queue.
                    Err(wait) => tokio::time::sleep(wait).await,
                }
            };
            let link = Link {
                id,
                lobby: self.lobby.clone(),
                held: self.held.clone(),
                admitted: AtomicBool::new(false),
                established: AtomicBool::new(false),
                frames: Mutex::default(),
            };
            let stream = BoundedStream {
                inner: stream,
                deadline: Some(Box::pin(tokio::time::sleep(self.handshake))),
                told: Some(told),
                link: Arc::new(link),
            };
            return (stream, address);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// The sockets that are no robot's yet.
struct Lobby {
    guests: Mutex<Guests>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Guests {
    /// The number of the next one.
    next: u64,
    /// In the order in which they came.
    waiting: Vec<Guest>,
}

struct Guest {
    id: u64,
    address: IpAddr,
    since: Instant,
    /// The word to go.
    leave: oneshot::Sender<()>,
}

/// Its state is whole after every step, so that a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lobby {
    /// A place, for which another guest goes if there is none; else how long to wait for one. The receiver hears the word to go.
    fn enter(&self, address: IpAddr, now: Instant) -> Result<(u64, oneshot::Receiver<()>), Duration> {
        let mut guests = lock(&self.guests);
        if let Some(at) = guests.who_goes(address, now)? {
            self.metrics.refuse(Refusal::Silent);
            // An error means that it has just gone.
            let _ = guests.waiting.remove(at).leave.send(());
        }
        let (leave, told) = oneshot::channel();
        let id = guests.next;
        guests.next += 1;
        guests.waiting.push(Guest { id, address, since: now, leave });
        Ok((id, told))
    }

    /// A guest has gone, or is a robot now.
    fn left(&self, id: u64) {
        lock(&self.guests).waiting.retain(|guest| guest.id != id);
    }
}

impl Guests {
    /// Who must go for one more of this address: the oldest of the address if that has its share, or of the address with the most
    /// guests if the lobby is full. If that one has just come, there is a time to wait.
    fn who_goes(&self, address: IpAddr, now: Instant) -> Result<Option<usize>, Duration> {
        let mut of: HashMap<IpAddr, usize> = HashMap::new();
        self.waiting.iter().for_each(|guest| *of.entry(guest.address).or_default() += 1);
        let full = self.waiting.len() >= GUESTS;
        let crowd = match of.get(&address) {
            Some(n) if *n >= GUESTS_OF_ONE => Some(address),
            _ if !full => None,
            _ => of.into_iter().max_by_key(|(_, n)| *n).map(|(address, _)| address),
        };
        let Some(at) = crowd.and_then(|crowd| self.waiting.iter().position(|guest| guest.address == crowd))
        else {
            return Ok(None);
        };
        let wait = PATIENCE.saturating_sub(now.saturating_duration_since(self.waiting[at].since));
        match wait.is_zero() {
            true => Ok(Some(at)),
            false if full => Err(wait),
            false => Ok(None),
        }
    }
}

/// Bytes of unfinished messages, of all robots together.
struct Held {
    bytes: AtomicU64,
    most: u64,
}

/// What a socket and the robot at its end share.
struct Link {
    id: u64,
    lobby: Arc<Lobby>,
    held: Arc<Held>,
    /// From here on what is read are frames.
    admitted: AtomicBool,
    /// From here on the socket has no deadline.
    established: AtomicBool,
    frames: Mutex<Frames>,
}

impl Link {
    /// Looks at what a robot sent; false if it is too much.
    fn read(&self, bytes: &[u8]) -> bool {
        let mut frames = lock(&self.frames);
        let before = frames.held();
        frames.feed(bytes);
        let after = frames.held();
        let all = match after >= before {
            true => self.held.bytes.fetch_add(after - before, Ordering::Relaxed) + (after - before),
            false => self.held.bytes.fetch_sub(before - after, Ordering::Relaxed) - (before - after),
        };
        after <= SMALL || all <= self.held.most
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.held.bytes.fetch_sub(lock(&self.frames).held(), Ordering::Relaxed);
    }
}

/// A socket that breaks if it does not become a WebSocket in time, or if a newer one needs its place before that.
pub(super) struct BoundedStream {
    inner: TcpStream,
    deadline: Option<Pin<Box<Sleep>>>,
    told: Option<oneshot::Receiver<()>>,
    link: Arc<Link>,
}

impl BoundedStream {
    /// Why the socket ends before it was a WebSocket, if it does.
    fn late(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.deadline.is_some() && self.link.established.load(Ordering::Relaxed) {
            (self.deadline, self.told) = (None, None);
        }
        if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no WebSocket handshake in time"));
        }
        match self.told.as_mut().map(|told| Pin::new(told).poll(cx)) {
            Some(Poll::Ready(Ok(()))) => {
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "a newer connection needed the place"))
            }
            // Out of the lobby in good order.
            Some(Poll::Ready(Err(_))) => {
                self.told = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Drop for BoundedStream {
    fn drop(&mut self) {
        self.link.lobby.left(self.link.id);
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.late(cx)?;
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if self.link.admitted.load(Ordering::Relaxed) && !self.link.read(&buf.filled()[before..]) {
            let reason = "too much of unfinished messages is held already";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::OutOfMemory, reason)));
        }
        read
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.late(cx)?;
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
        self.late(cx)?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// Who is at the other end.
#[derive(Clone)]
pub(super) struct Peer {
    pub address: SocketAddr,
    link: Arc<Link>,
}

impl Peer {
    /// It is a robot: its place in the lobby is free, and what it sends from here on are frames. To be called before the handshake is
    /// answered, since no frame comes earlier.
    pub fn admit(&self) {
        self.link.admitted.store(true, Ordering::Relaxed);
        self.link.lobby.left(self.link.id);
    }

    /// From here on the socket has no deadline.
    pub fn establish(&self) {
        self.link.established.store(true, Ordering::Relaxed);
    }

    /// How long a message has been under way that has not ended.
    pub fn unfinished_for(&self) -> Option<Duration> {
        let since = lock(&self.link.frames).unfinished_since()?;
        Some(Instant::now().saturating_duration_since(since))
    }
}

impl Connected<IncomingStream<'_, BoundedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Peer {
        Peer { address: *stream.remote_addr(), link: stream.io().link.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    #[test]
    fn the_longest_silent_of_the_largest_crowd_goes() {
        let lobby = Lobby { guests: Mutex::default(), metrics: Arc::default() };
        let began = Instant::now();
        let later = began + PATIENCE;
        let enter = |n: u8, now: Instant| lobby.enter(address(n), now).expect("a place");
        let mut crowd: Vec<_> = (0..GUESTS_OF_ONE).map(|_| enter(1, began)).collect();
        // Many may come in the same instant; after that one more of the same address costs its oldest.
        let mut newest = vec![enter(1, began)];
        assert!(crowd.iter_mut().all(|(_, told)| told.try_recv().is_err()));
        newest.push(enter(1, later));
        assert_eq!(crowd[0].1.try_recv(), Ok(()));
        assert!(crowd[1].1.try_recv().is_err());
        // Others fill the lobby; the next one costs the crowd its oldest, and no other address anything.
        let mut others: Vec<_> =
            (0..GUESTS - GUESTS_OF_ONE - 1).map(|n| enter(2 + (n % 100) as u8, later)).collect();
        assert!(crowd[1].1.try_recv().is_err());
        let last = enter(200, later);
        assert_eq!(crowd[1].1.try_recv(), Ok(()));
        assert!(others.iter_mut().all(|(_, told)| told.try_recv().is_err()));
        assert_eq!(lobby.metrics.refusals(Refusal::Silent), 2);
        // Who leaves makes place.
        for (id, _) in crowd.iter().chain(&others).chain(&newest).chain([&last]) {
            lobby.left(*id);
        }
        assert!(lock(&lobby.guests).waiting.is_empty());
        // A lobby full of newcomers lets the next one wait.
        let all: Vec<_> = (0..GUESTS).map(|n| enter((n % 250) as u8, later)).collect();
        assert_eq!(lobby.enter(address(251), later).map(drop), Err(PATIENCE));
        assert!(lobby.enter(address(251), later + PATIENCE).is_ok() && all.len() == GUESTS);
    }
}
