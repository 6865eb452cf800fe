//! An opened GPU: its device, queue and abilities, and waiting for it without ever panicking.

use super::buffers::StagingPool;
use super::choice;
use super::headroom;
use super::health::Health;
use super::pipelines::PipelineStore;
use super::vulkan::{self, Opened};
use super::{AdapterReport, Caps, CounterSnapshot, Counters, DeviceError, DeviceLimits, GpuOptions, Tuning};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use wgpu::{Features, PollError, PollStatus, PollType};

/// Features taken wherever the adapter has them. None is experimental.
const WANTED: Features = Features::SUBGROUP
    .union(Features::SUBGROUP_BARRIER)
    .union(Features::SHADER_F16)
    .union(Features::TIMESTAMP_QUERY)
    .union(Features::TIMESTAMP_QUERY_INSIDE_ENCODERS)
    .union(Features::TIMESTAMP_QUERY_INSIDE_PASSES)
    .union(Features::PIPELINE_CACHE)
    .union(Features::IMMEDIATES);

/// Most of the memory that a driver would give us that buffers take.
const MEMORY_PERCENT: u8 = 95;

/// How long a wait lasts at least, and how many times as long as all submitted work is predicted to take: a software adapter may be a
/// hundred times slower than predicted.
const PATIENCE: (Duration, f64) = (Duration::from_secs(120), 100.0);
/// Dispatches after which a GPU begins with a longer pass.
const HEAD_START: usize = 64;

/// An opened GPU. Cheap to clone; all clones are one device.
#[derive(Clone)]
pub struct Gpu {
    pub(super) inner: Arc<Inner>,
    tuning: Option<Arc<Tuning>>,
}

pub(super) struct Inner {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub health: Arc<Health>,
    pub counters: Counters,
    pub pipelines: PipelineStore,
    pub staging: StagingPool,
    report: AdapterReport,
    caps: Caps,
    matrix_error: OnceLock<f64>,
    spin: Duration,
    head_start: usize,
    timeout: Option<Duration>,
}

/// Names a submission, to wait for it.
#[derive(Debug, Clone)]
pub struct Submission(pub(super) wgpu::SubmissionIndex);

/// Every adapter of this machine, in a stable order, with the verdict of `auto`. Empty where there is no driver.
pub fn enumerate() -> Vec<AdapterReport> {
    let mut reports: Vec<_> =
        adapters().iter().enumerate().map(|(index, adapter)| AdapterReport::of(index, adapter)).collect();
    choice::judge(&mut reports);
    reports
}

pub(super) fn adapters() -> Vec<wgpu::Adapter> {
    static INSTANCE: OnceLock<wgpu::Instance> = OnceLock::new();
    let instance = INSTANCE.get_or_init(|| {
        // No debug labels, no validation layers and above all no VALIDATION_INDIRECT_CALL, which adds a hidden pass to
        // every indirect dispatch. Each can be turned on again from the environment (WGPU_VALIDATION=1, ...).
        wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::PRIMARY.with_env(),
            flags: wgpu::InstanceFlags::empty().with_env(),
            // What a GPU shares with the rest of the machine is not all ours: past this part of what its driver would give us (Vulkan and
            // DX12 say), an allocation fails in place of slowing everything down, and a sampler takes its batch in blocks.
            memory_budget_thresholds: wgpu::MemoryBudgetThresholds {
                for_resource_creation: Some(MEMORY_PERCENT),
                for_device_loss: None,
            },
            ..wgpu::InstanceDescriptor::new_without_display_handle_from_env()
        })
    });
    pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()))
}

/// A device of the adapter, or the driver's reason. wgpu 30 panics where a driver lists cooperative matrices and then refuses them.
fn request(adapter: &wgpu::Adapter, features: Features, limits: &wgpu::Limits, checked: bool) -> Opened {
    let experimental_features = match features.contains(Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
        // SAFETY: the token acknowledges that experimental features may hold bugs. The caller asked for them by name, and our own
        // kernels are the only shaders that use them.
        true => unsafe { wgpu::ExperimentalFeatures::enabled() },
        false => wgpu::ExperimentalFeatures::disabled(),
    };
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("advect"),
        required_features: features,
        required_limits: limits.clone(),
        experimental_features,
        memory_hints: wgpu::MemoryHints::Performance,
        trace: wgpu::Trace::Off,
    };
    let request = || {
        match if checked { None } else { vulkan::unchecked(adapter, &descriptor) } {
            Some(Ok(opened)) => return Ok(opened),
            Some(Err(message)) => {
                tracing::warn!("the driver will check every load and store: without, it says {message}");
            }
            None => {}
        }
        pollster::block_on(adapter.request_device(&descriptor)).map_err(|e| e.to_string())
    };
    match catch_unwind(AssertUnwindSafe(request)) {
        Ok(opened) => opened,
        Err(panic) => Err(panic.downcast::<String>().map_or_else(|_| "wgpu panicked".into(), |text| *text)),
    }
}

impl Gpu {
    /// Opens the adapter at `index` of [`enumerate`] with all the limits it has.
    pub fn open(index: usize, options: &GpuOptions) -> Result<Self, DeviceError> {
        let adapters = adapters();
        let Some(adapter) = adapters.get(index) else {
            let names = adapters.iter().enumerate().map(|(i, a)| format!("{i} ({})", a.get_info().name));
            return Err(DeviceError::UnknownDevice { asked: index.to_string(), available: names.collect() });
        };
        let report = AdapterReport::of(index, adapter);
        if !report.compute {
            return Err(DeviceError::Missing { feature: "compute shaders", device: report.name });
        }
        if report.is_software() {
            headroom::for_software(&report.name)?;
        }
        let features = adapter.features() & WANTED;
        let units = Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        let any = !report.cooperative_matrix.is_empty();
        if options.cooperative_matrix && !any {
            return Err(DeviceError::Missing { feature: "cooperative matrices", device: report.name });
        }
        let with = any && (options.cooperative_matrix || options.cooperative_matrix_if_any);
        let mut limits = adapter.limits();
        if let Some(bytes) = options.binding_bytes {
            limits.max_storage_buffer_binding_size =
                limits.max_storage_buffer_binding_size.min((bytes / 256 * 256).max(1 << 16));
        }
        let (opened, features) = match request(
            adapter,
            if with { features | units } else { features },
            &limits,
            options.checked,
        ) {
            Err(message) if with && !options.cooperative_matrix => {
                tracing::warn!("'{}' opens without its cooperative matrices alone: {message}", report.name);
                (request(adapter, features, &limits, options.checked), features)
            }
            opened => (opened, if with { features | units } else { features }),
        };
        let (device, queue) =
            opened.map_err(|message| DeviceError::Open { device: report.name.clone(), message })?;
        let health = Arc::new(Health::default());
        let on_lost = health.clone();
        device.set_device_lost_callback(move |reason, message| {
            on_lost.lose(format!("{reason:?}: {message}"));
        });
        let on_error = health.clone();
        device.on_uncaptured_error(Arc::new(move |error| {
            on_error.record(DeviceError::from_wgpu(error, "a call outside any scope", 0));
        }));
        let mut caps = Caps::of(&report, features);
        caps.limits = DeviceLimits::from(&limits);
        let (spin, head_start) = match report.is_software() {
            true => (Duration::ZERO, 0),
            false => (options.spin, HEAD_START),
        };
        let head_start = options.head_start.unwrap_or(head_start);
        tracing::debug!("opened {}", report.describe());
        let inner = Inner {
            device,
            queue,
            health,
            counters: Counters::default(),
            pipelines: PipelineStore::default(),
            staging: StagingPool::default(),
            report,
            caps,
            matrix_error: OnceLock::new(),
            spin,
            head_start,
            timeout: options.timeout,
        };
        let mut gpu = Self { inner: Arc::new(inner), tuning: None };
        if let Some(folder) = &options.cache {
            gpu.open_pipeline_cache(folder);
            if !options.untuned {
                let tuning = Tuning::load(folder, gpu.report()).unwrap_or_else(|error| {
                    tracing::warn!("tuned choices are not used: {error}");
                    None
                });
                gpu.tuning = tuning.map(Arc::new);
            }
        }
        Ok(gpu)
    }

    /// The choices that were tuned for this device, if any count.
    pub fn tuning(&self) -> Option<&Arc<Tuning>> {
        self.tuning.as_ref()
    }

    /// The same device with other tuned choices, or none: what is planned for it from here on follows them.
    pub fn with_tuning(&self, tuning: Option<Arc<Tuning>>) -> Gpu {
        Gpu { inner: self.inner.clone(), tuning }
    }

    /// What kernels may rely on.
    pub fn caps(&self) -> &Caps {
        &self.inner.caps
    }

    /// The adapter's report.
    pub fn report(&self) -> &AdapterReport {
        &self.inner.report
    }

    /// How far a product of the matrix units was from the one expected; none before they were tried.
    pub fn matrix_error(&self) -> Option<f64> {
        self.inner.matrix_error.get().copied()
    }

    /// Remembers the first such error, and says which that is.
    pub(crate) fn note_matrix_error(&self, error: f64) -> f64 {
        *self.inner.matrix_error.get_or_init(|| error)
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        self.inner.report.describe()
    }

    /// What was asked of this device so far.
    pub fn counters(&self) -> CounterSnapshot {
        self.inner.counters.snapshot()
    }

    /// The wgpu device, for what this floor does not offer.
    ///
    /// # Safety
    /// On Vulkan the device is opened without the driver's checks of loads and stores (unless [`GpuOptions::checked`]), on which wgpu
    /// relies for shaders that it checks itself. A shader that is compiled with this device must stay within its bindings by its own
    /// means, and nothing of the engine's may be destroyed but by [`Gpu::destroy`].
    pub unsafe fn raw_device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// The wgpu queue. Submissions made through it are not counted.
    pub(crate) fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// Fails if the device is lost, or with the first error recorded outside any scope since the last check. Where
    /// several threads share a device, such an error goes to whichever checks first. Two atomic loads when all is well.
    pub fn check(&self) -> Result<(), DeviceError> {
        self.inner.health.check()
    }

    /// Gives the device up now, in all clones: every later call fails with [`DeviceError::DeviceLost`].
    pub fn destroy(&self) {
        self.inner.health.lose("destroyed by the program".to_owned());
        self.inner.device.destroy();
    }

    /// Runs `work` inside error scopes for memory, validation and internal errors, so that what it does wrong comes
    /// back from here, typed, and not through the callback. `label` names the work in the error.
    pub(crate) fn scoped<T>(
        &self,
        label: &str,
        work: impl FnOnce(&wgpu::Device) -> T,
    ) -> Result<T, DeviceError> {
        self.scoped_bytes(label, 0, work)
    }

    /// As [`scoped`](Self::scoped), for an allocation of `bytes` bytes.
    pub(super) fn scoped_bytes<T>(
        &self,
        label: &str,
        bytes: u64,
        work: impl FnOnce(&wgpu::Device) -> T,
    ) -> Result<T, DeviceError> {
        let Inner { device, health, .. } = &*self.inner;
        health.check_lost()?;
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
        let made = work(device);
        // The scopes must go in reverse order. Natively the futures are ready at once. Out of memory is reported
        // first: the validation errors that follow it are only its consequences.
        let internal = pollster::block_on(internal.pop());
        let validation = pollster::block_on(validation.pop());
        let memory = pollster::block_on(memory.pop());
        health.check_lost()?;
        match memory.or(validation).or(internal) {
            Some(error) => Err(DeviceError::from_wgpu(error, label, bytes)),
            None => Ok(made),
        }
    }

    /// Waits until `submission` has finished, at most `timeout`. After a [`DeviceError::Timeout`] one may wait again.
    pub fn wait(&self, submission: &Submission, timeout: Duration) -> Result<(), DeviceError> {
        let index = Some(submission.0.clone());
        self.guarded_poll(PollType::Wait { submission_index: index, timeout: Some(timeout) }, timeout)
            .map(drop)
    }

    /// Waits until everything submitted so far has finished, at most `timeout`.
    pub fn wait_all(&self, timeout: Duration) -> Result<(), DeviceError> {
        self.guarded_poll(PollType::Wait { submission_index: None, timeout: Some(timeout) }, timeout)
            .map(drop)
    }

    /// How long to wait for work that is predicted to take so many milliseconds ([`GpuOptions::timeout`]).
    pub(crate) fn patience(&self, predicted_ms: f64) -> Duration {
        let (least, times) = PATIENCE;
        let predicted = || Duration::from_secs_f64(1e-3 * times * predicted_ms.clamp(0.0, 1e9));
        self.inner.timeout.unwrap_or_else(|| least.max(predicted()))
    }

    /// Whether a wait for this device ended before its work did, and the work is still under way: the device is slow, or hangs. Looks, but
    /// does not wait.
    pub fn is_late(&self) -> bool {
        let health = &self.inner.health;
        // The poll that finds the queue empty ends it. A lost device is not late.
        health.is_late() && (self.poll().is_err() || health.is_late()) && !health.is_lost()
    }

    /// Where an earlier wait ended before its work did, waits at most `timeout` for that work. Without this, whoever goes on asking a device
    /// that hangs would queue more and more.
    pub(crate) fn settle(&self, timeout: Duration) -> Result<(), DeviceError> {
        if !self.inner.health.is_late() {
            return Ok(());
        }
        self.wait_all(timeout).map_err(|error| match error {
            DeviceError::Timeout { waited, .. } => DeviceError::Timeout { what: "earlier GPU work", waited },
            other => other,
        })?;
        self.inner.health.set_late(false);
        Ok(())
    }

    /// Dispatches of the first part of a pass that goes to the device in parts; 0: none does ([`GpuOptions::head_start`]).
    pub(crate) fn head_start(&self) -> usize {
        self.inner.head_start
    }

    /// Polls until `done`, for as long as [`GpuOptions::spin`] allows and at most `timeout`. True if it is done.
    pub(super) fn spin(&self, timeout: Duration, done: impl Fn() -> bool) -> Result<bool, DeviceError> {
        self.spin_for(self.inner.spin.min(timeout), done)
    }

    /// Polls until `done`, at most for `bound`; with a bound of zero not once. True if it is done.
    pub(super) fn spin_for(&self, bound: Duration, done: impl Fn() -> bool) -> Result<bool, DeviceError> {
        let begun = Instant::now();
        while !done() {
            if begun.elapsed() >= bound {
                return Ok(false);
            }
            self.poll()?;
            std::hint::spin_loop();
        }
        Ok(true)
    }

    /// Runs the callbacks of finished work without waiting. True if nothing is in flight.
    pub fn poll(&self) -> Result<bool, DeviceError> {
        Ok(self.guarded_poll(PollType::Poll, Duration::ZERO)? == PollStatus::QueueEmpty)
    }

    /// wgpu's `Device::poll` panics when it is the first to notice that the driver lost the device: its only error
    /// values are a timeout and a wrong index, the rest goes to `handle_error_fatal`. A robot's process must live
    /// through that, so the flag is checked first and the call is wrapped. Unwinding is sound to catch here because
    /// after such a panic the device is marked lost and never touched again. (The panic hook still prints, and a
    /// build with `panic = "abort"` cannot be protected.)
    fn guarded_poll(&self, poll: PollType, timeout: Duration) -> Result<PollStatus, DeviceError> {
        let Inner { device, health, .. } = &*self.inner;
        health.check_lost()?;
        let result = catch_unwind(AssertUnwindSafe(|| device.poll(poll)));
        match result {
            Ok(Ok(status)) => {
                if status == PollStatus::QueueEmpty {
                    health.set_late(false);
                }
                health.check().map(|()| status).map_err(|error| self.explain(error))
            }
            Ok(Err(PollError::Timeout)) => {
                health.check()?;
                health.set_late(true);
                Err(DeviceError::Timeout { what: "GPU work", waited: timeout })
            }
            Ok(Err(PollError::WrongSubmissionIndex(asked, last))) => {
                // A submission to a device that died meanwhile never happened.
                let message = format!("submission {asked} was never made (the last one is {last})");
                Err(self.explain(DeviceError::Validation { message }))
            }
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown panic");
                health.lose(format!("wgpu panicked while waiting: {text}"));
                Err(health.lost_error())
            }
        }
    }

    /// The loss of the device in place of an error that is only its consequence. wgpu delivers a loss in the poll that
    /// finds the queue empty, which may come after the calls that fail for it.
    pub(super) fn explain(&self, error: DeviceError) -> DeviceError {
        let Inner { device, health, .. } = &*self.inner;
        let settle = PollType::Wait { submission_index: None, timeout: Some(Duration::from_secs(1)) };
        if !health.is_lost() {
            let _ = catch_unwind(AssertUnwindSafe(|| device.poll(settle)));
        }
        health.check_lost().err().unwrap_or(error)
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu")
            .field("name", &self.inner.report.name)
            .field("lost", &self.inner.health.is_lost())
            .finish_non_exhaustive()
    }
}
