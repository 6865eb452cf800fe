//! Starting and ending a server; what it answers over plain HTTP.

use super::batcher::{BatchOptions, Batcher, Health};
use super::connection;
use super::listener::{BoundedListener, Peer};
use super::metrics::{Metrics, Refusal};
use super::observation::ObservationReader;
use super::{Limits, PROTOCOL_VERSION, ServeConfig, ServeError};
use crate::device::Device;
use crate::policy::{Policy, PolicySpec, Weights};
use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rmpv::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};

/// Bytes of unfinished messages that are held for all robots together, beside the one that is longest.
const HELD: u64 = 256 << 20;
/// Read and write buffers of a connection, bytes.
const BUFFER: usize = 16 << 10;
/// Most connections and most requests in a batch.
const MOST: usize = 1 << 16;

/// What every connection reads.
pub(super) struct Shared {
    pub config: ServeConfig,
    pub reader: ObservationReader,
    pub horizon: usize,
    pub action_dim: usize,
    /// What the metadata holds for everybody.
    pub metadata: Vec<(Value, Value)>,
    pub metrics: Arc<Metrics>,
    pub batcher: Batcher,
    /// One for each robot that may still connect.
    pub slots: Arc<Semaphore>,
    pub robots: AtomicU64,
    /// Whether it was said that keys are passed over.
    pub told: AtomicBool,
    pub shutdown: watch::Receiver<bool>,
}

/// A running server. Dropping it shuts it down.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    shutdown: watch::Sender<bool>,
    threads: Vec<(&'static str, JoinHandle<()>)>,
}

impl Server {
    /// Compiles the policy for every batch size, runs each once, and starts listening. When it returns, clients can
    /// connect.
    ///
    /// # Errors
    /// [`ServeError`] if a setting makes no sense, the policy does not compile, or the address is taken.
    pub fn start(policy: Policy, device: &Device, config: ServeConfig) -> Result<Server, ServeError> {
        let reader = ObservationReader::new(&policy.spec).strict(config.strict);
        check(&config, &reader)?;
        let runtime = runtime()?;
        let address = format!("{}:{}", bracketed(&config.host), config.port);
        let bind = |source| ServeError::Bind { address: address.clone(), source };
        // Before the long compilation: an address in use should be told at once.
        let listener =
            runtime.block_on(TcpListener::bind((config.host.as_str(), config.port))).map_err(bind)?;
        let local = listener.local_addr().map_err(bind)?;

        let metrics = Arc::new(Metrics::default());
        let metadata = metadata(&policy.spec, device, &config, &reader);
        let (horizon, action_dim) = (policy.spec.horizon, policy.spec.action_dim);
        let options = BatchOptions {
            sampler: config.sampler.clone(),
            max_batch: config.max_batch,
            wait: config.batch_wait,
            pass: config.limits.pass,
        };
        let (batcher, batching) = Batcher::start(policy, device.clone(), options, metrics.clone())?;
        let (shutdown, is_shutdown) = watch::channel(false);
        let shared = Arc::new(Shared {
            reader,
            horizon,
            action_dim,
            metadata,
            metrics,
            batcher,
            slots: Arc::new(Semaphore::new(config.limits.connections)),
            robots: AtomicU64::new(0),
            told: AtomicBool::new(false),
            shutdown: is_shutdown,
            config,
        });
        let served = shared.clone();
        let thread = std::thread::Builder::new().name("advect-server".into()).spawn(move || {
            runtime.block_on(serve(listener, &served));
            runtime.shutdown_timeout(Duration::from_secs(1));
        });
        let threads = match thread {
            Ok(serving) => vec![("server", serving), ("batcher", batching)],
            Err(error) => {
                shared.batcher.stop();
                return Err(error.into());
            }
        };
        tracing::info!("listening on {local}");
        Ok(Server { address: local, shared, shutdown, threads })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as clients take it.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// What it has done so far.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// False once the device is lost: no later request can succeed.
    pub fn healthy(&self) -> bool {
        self.shared.batcher.healthy()
    }

    /// Stops listening, answers the requests under way, closes every connection with a close frame, and ends the threads.
    ///
    /// # Errors
    /// [`ServeError::Panicked`] if a thread of the server had ended before.
    pub fn shutdown(mut self) -> Result<(), ServeError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), ServeError> {
        // Nobody listens if the serving thread has ended already.
        let _ = self.shutdown.send(true);
        self.shared.batcher.hurry();
        let mut result = Ok(());
        for (name, thread) in self.threads.drain(..) {
            if name == "batcher" {
                self.shared.batcher.stop();
            }
            if thread.join().is_err() {
                result = Err(ServeError::Panicked(name));
            }
        }
        result
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!("{error}");
        }
    }
}

/// An IPv6 address in brackets, as before a port.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.into() }
}

fn runtime() -> Result<Runtime, ServeError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 4);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(threads).thread_name("advect-io").enable_all().build()?)
}

fn check(config: &ServeConfig, reader: &ObservationReader) -> Result<(), ServeError> {
    let Limits { message, connections, idle, handshake, write, .. } = config.limits;
    for (what, n) in [("max_batch", config.max_batch), ("limits.connections", connections)] {
        if n == 0 || n > MOST {
            return Err(ServeError::Config { what, found: n.to_string(), needed: format!("1 to {MOST}") });
        }
    }
    if message < reader.bytes() {
        let needed = format!("at least {}: so much an observation of this policy may take", reader.bytes());
        return Err(ServeError::Config { what: "limits.message, bytes", found: message.to_string(), needed });
    }
    for (what, time) in [("limits.idle", idle), ("limits.handshake", handshake), ("limits.write", write)] {
        if time < Duration::from_millis(10) {
            let needed = "at least 10 ms".into();
            return Err(ServeError::Config { what, found: format!("{time:?}"), needed });
        }
    }
    Ok(())
}

/// The map that every client gets first, less what differs between connections.
fn metadata(
    spec: &PolicySpec,
    device: &Device,
    config: &ServeConfig,
    reader: &ObservationReader,
) -> Vec<(Value, Value)> {
    let number = |n: usize| Value::from(n as u64);
    let names = |names: &Option<Vec<String>>| match names {
        Some(names) => Value::Array(names.iter().map(|n| Value::from(n.as_str())).collect()),
        None => Value::Nil,
    };
    let shapes = reader.shapes().map(|(key, shape)| (key.into(), Value::Array(shape.map(number).to_vec())));
    let weights = match config.sampler.weights {
        Weights::Ema => "ema",
        Weights::Raw => "raw",
    };
    let deadline = config.deadline.map_or(Value::Nil, |d| Value::F64(1e3 * d.as_secs_f64()));
    let entries = [
        ("server", Value::from(concat!("advect ", env!("CARGO_PKG_VERSION")))),
        ("protocol", "openpi".into()),
        ("protocol_version", PROTOCOL_VERSION.into()),
        ("policy", config.name.as_str().into()),
        ("policy_steps", spec.provenance.steps.into()),
        ("weights", weights.into()),
        ("objective", spec.objective.name().into()),
        ("solver", spec.solver(config.sampler.solver).unwrap_or(config.sampler.solver).to_string().into()),
        ("device", device.describe().into()),
        ("observation_keys", Value::Array(reader.keys().map(Value::from).collect())),
        ("observation_shapes", Value::Map(shapes.collect())),
        ("obs_dim", number(spec.obs_dim)),
        ("obs_names", names(&spec.obs_names)),
        ("history", number(spec.history)),
        ("action_names", names(&spec.action_names)),
        ("action_dim", number(spec.action_dim)),
        ("horizon", number(spec.horizon)),
        ("action_offset", Value::from(i64::from(spec.action_offset))),
        ("control_rate_hz", spec.rate_hz.map_or(Value::Nil, Value::F64)),
        ("unknown_keys", if config.strict { "refused" } else { "ignored" }.into()),
        ("max_batch", number(config.max_batch)),
        ("deadline_ms", deadline),
    ];
    entries.into_iter().map(|(key, value)| (Value::from(key), value)).collect()
}

/// Serves until the word to shut down, and then until all robots are gone or the time for it is over.
async fn serve(listener: TcpListener, shared: &Arc<Shared>) {
    let limits = shared.config.limits;
    let held = HELD.saturating_add(limits.message as u64);
    let listener = BoundedListener::new(listener, limits.handshake, held, shared.metrics.clone());
    let app = Router::new()
        .route("/", get(websocket))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .with_state(shared.clone())
        .into_make_service_with_connect_info::<Peer>();
    let (mut shutdown, mut stop) = (shared.shutdown.clone(), shared.shutdown.clone());
    let word = async move { stopped(&mut shutdown).await };
    let serving = axum::serve(listener, app).with_graceful_shutdown(word).into_future();
    let most = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    // It ends at the word, but robots do not: each has yet to be told, and to close.
    let gone = async {
        let _ = serving.await;
        let _ = shared.slots.acquire_many(most).await;
    };
    let late = async {
        stopped(&mut stop).await;
        tokio::time::sleep(limits.shutdown).await;
    };
    tokio::select! {
        biased;
        () = gone => {}
        () = late => {
            let left = limits.connections - shared.slots.available_permits();
            tracing::warn!("{left} connections did not close in time");
        }
    }
}

/// Ends with the word to shut down.
pub(super) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the server's owner is gone: the same.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    verdict(shared.batcher.health()).into_response()
}

/// What a health check is told.
fn verdict(health: Health) -> (StatusCode, &'static str) {
    match health {
        Health::Good => (StatusCode::OK, "OK\n"),
        Health::Late => {
            (StatusCode::SERVICE_UNAVAILABLE, "the device is late: a pass took longer than it may\n")
        }
        Health::Lost => (StatusCode::SERVICE_UNAVAILABLE, "the device is lost\n"),
    }
}

async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if !admitted(&shared, &headers) {
        return unauthorised();
    }
    let text = shared.metrics.text() + &device_gauges(shared.batcher.health());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// The device's state for Prometheus.
fn device_gauges(health: Health) -> String {
    let gauge = |name: &str, help: &str, is: bool| {
        format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {}\n", u8::from(is))
    };
    gauge(
        "advect_device_late",
        "1 while a pass is under way that took longer than it may.",
        health == Health::Late,
    ) + &gauge("advect_device_lost", "1 once the device is lost.", health == Health::Lost)
}

fn admitted(shared: &Shared, headers: &HeaderMap) -> bool {
    let shown = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    shared.config.key.as_ref().is_none_or(|key| key.admits(shown))
}

fn unauthorised() -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, challenge, "found no valid key, needed the header \"Authorization: Api-Key KEY\" or \"Authorization: Bearer KEY\"\n")
        .into_response()
}

/// Where robots connect.
async fn websocket(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let refuse = |why: Refusal, response: Response| {
        tracing::warn!("{}: refused ({why:?})", peer.address);
        shared.metrics.refuse(why);
        response
    };
    if !admitted(&shared, &headers) {
        return refuse(Refusal::Key, unauthorised());
    }
    if shared.config.key.is_none() && headers.contains_key(header::ORIGIN) {
        let text =
            "found a browser's page, needed a program: pages may connect only to a server with a key\n";
        return refuse(Refusal::Origin, (StatusCode::FORBIDDEN, text).into_response());
    }
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let Ok(slot) = shared.slots.clone().try_acquire_owned() else {
        let text = "found no free place, needed one: as many robots are connected as are allowed; connect again later\n";
        return refuse(Refusal::Full, (StatusCode::SERVICE_UNAVAILABLE, text).into_response());
    };
    peer.admit();
    let limit = shared.config.limits.message;
    upgrade
        .max_message_size(limit)
        .max_frame_size(limit)
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .on_failed_upgrade(|error| tracing::debug!("a handshake failed: {error}"))
        .on_upgrade(move |socket| async move {
            peer.establish();
            connection::run(socket, &shared, &peer).await;
            drop(slot);
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_does_not_answer_is_said() {
        for (health, status, says, late, lost) in [
            (Health::Good, 200, "OK", 0, 0),
            (Health::Late, 503, "is late", 1, 0),
            (Health::Lost, 503, "is lost", 0, 1),
        ] {
            let (found, text) = verdict(health);
            assert_eq!(found.as_u16(), status, "{health:?}");
            assert!(text.contains(says) && text.lines().count() == 1, "{text}");
            let gauges = device_gauges(health);
            for line in [format!("advect_device_late {late}"), format!("advect_device_lost {lost}")] {
                assert!(gauges.lines().any(|l| l == line), "no {line} in {gauges}");
            }
        }
    }
}
