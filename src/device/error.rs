//! What can go wrong on the lowest floor, with enough in each case to act on it.

use std::time::Duration;

/// An error of a device, an adapter, a buffer or a pipeline. Each case names the thing, what was found and what was
/// needed. Byte counts are bytes; offsets are byte offsets.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// A GPU was asked for and none answers.
    #[error("no GPU adapter was found: {hint}")]
    NoAdapter {
        /// What to install or set.
        hint: String,
    },
    /// The choice names no device of this machine.
    #[error("no device matches '{asked}'; this machine has: {}", .available.join(", "))]
    UnknownDevice {
        /// The choice as written.
        asked: String,
        /// Every choice that would have worked, with the adapters' names.
        available: Vec<String>,
    },
    /// `all` where one device is needed.
    #[error(
        "'all' may be several devices, and this runs on one: name it by auto, cpu, gpu, an index or a name"
    )]
    Several,
    /// The adapter exists, but the driver would not open a device on it.
    #[error("cannot open '{device}': {message}")]
    Open {
        /// The adapter's name.
        device: String,
        /// The driver's reason.
        message: String,
    },
    /// An environment variable has a value that means nothing.
    #[error("{name} is '{found}', but needs {needed}")]
    Environment {
        /// The variable.
        name: &'static str,
        /// Its value.
        found: String,
        /// What it accepts.
        needed: &'static str,
    },
    /// The CPU executor's threads could not be started.
    #[error("cannot start {threads} CPU threads: {message}")]
    Threads {
        /// How many were wanted.
        threads: usize,
        /// The system's reason.
        message: String,
    },
    /// The matrix units were tried and are wrong.
    #[error(
        "the matrix units of '{device}' compute wrong products: relative error {found:.1e}, needed at most {needed:.0e}; use \
         --precision f32, or open the device without cooperative matrices"
    )]
    MatrixUnits {
        /// The adapter's name.
        device: String,
        /// The relative error of a small product.
        found: f64,
        /// What it may be.
        needed: f64,
    },
    /// More was asked than the device can give.
    #[error("{what} needs {need}, but the device's limit is {have}")]
    Limit {
        /// The thing and the limit it meets.
        what: String,
        /// What it needs.
        need: u64,
        /// What the device has.
        have: u64,
    },
    /// The device has no memory left for this.
    #[error("out of device memory for '{label}' ({bytes} bytes)")]
    OutOfMemory {
        /// The buffer or operation.
        label: String,
        /// Its size in bytes; 0 where the operation has no single size.
        bytes: u64,
    },
    /// The device is gone (driver reset, watchdog, unplugged, destroyed). Open another one.
    #[error("the device was lost: {reason}")]
    DeviceLost {
        /// The driver's words.
        reason: String,
    },
    /// wgpu refused a call.
    #[error("the device refused the call: {message}")]
    Validation {
        /// wgpu's explanation.
        message: String,
    },
    /// The driver failed in a way that is neither memory nor validation.
    #[error("internal error of the driver: {message}")]
    Internal {
        /// The driver's explanation.
        message: String,
    },
    /// A shader did not become a pipeline.
    #[error("kernel '{variant}' does not compile: {message}")]
    Shader {
        /// The kernel variant's name.
        variant: &'static str,
        /// The compiler's explanation, with the source line.
        message: String,
    },
    /// The same variant name was asked for with another source or other bindings.
    #[error("kernel '{variant}' was already built from another {what}")]
    VariantClash {
        /// The kernel variant's name.
        variant: &'static str,
        /// `source` or `bindings`.
        what: &'static str,
    },
    /// The buffers offered do not fit the kernel's bindings.
    #[error("kernel '{variant}', {what}: found {found}, needed {needed}")]
    Bindings {
        /// The kernel variant's name.
        variant: &'static str,
        /// Which binding or property.
        what: String,
        /// What was offered.
        found: String,
        /// What the kernel declares.
        needed: String,
    },
    /// The device lacks a feature.
    #[error("'{device}' has no {feature}")]
    Missing {
        /// The feature's name.
        feature: &'static str,
        /// The device's name.
        device: String,
    },
    /// A read, write or copy reaches past the end of a buffer.
    #[error("'{label}' has {have} bytes, but bytes {offset}..{} were addressed", .offset.saturating_add(*.bytes))]
    Range {
        /// The buffer.
        label: String,
        /// First byte addressed.
        offset: u64,
        /// Bytes addressed.
        bytes: u64,
        /// The buffer's size in bytes.
        have: u64,
    },
    /// An offset or a size is not a multiple of what the device needs.
    #[error("{what} is {found}, but must be a multiple of {need}")]
    Alignment {
        /// The offset or size.
        what: String,
        /// Its value in bytes.
        found: u64,
        /// The device's alignment in bytes.
        need: u64,
    },
    /// The device did not finish in time. The work may still finish: waiting again is allowed.
    #[error("{what} did not finish within {waited:?}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long: the limit of the wait, or of the whole call.
        waited: Duration,
    },
    /// A readback or timer is still in use by an earlier submission, or was finished without having been started.
    #[error("{what}: found it {found}, needed it {needed}")]
    State {
        /// The object.
        what: &'static str,
        /// Its state.
        found: &'static str,
        /// The state the call needs.
        needed: &'static str,
    },
}

impl DeviceError {
    /// Whether the device is gone, so that nothing but opening another helps.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::DeviceLost { .. })
    }

    /// Whether the device was not done in time. It may be later.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// A timeout as that of a call that was allowed so long in all; any other error as it is.
    pub(crate) fn within(self, allowed: Duration) -> Self {
        match self {
            Self::Timeout { what, .. } => Self::Timeout { what, waited: allowed },
            other => other,
        }
    }

    /// The typed form of an error that wgpu reported for `label` of `bytes` bytes.
    pub(super) fn from_wgpu(error: wgpu::Error, label: &str, bytes: u64) -> Self {
        match error {
            wgpu::Error::OutOfMemory { .. } => Self::OutOfMemory { label: label.to_owned(), bytes },
            wgpu::Error::Validation { description, .. } => {
                Self::Validation { message: format!("{label}: {description}") }
            }
            wgpu::Error::Internal { description, .. } => {
                Self::Internal { message: format!("{label}: {description}") }
            }
        }
    }
}
