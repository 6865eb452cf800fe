//! How a GPU is opened: what is asked of it, and what the environment says.

use super::{DeviceError, cache};
use std::path::PathBuf;
use std::time::Duration;

/// The environment variable of [`GpuOptions::timeout`].
const TIMEOUT_S: &str = "ADVECT_TIMEOUT_S";

/// How to open a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GpuOptions {
    /// Enable wgpu's experimental cooperative matrices; opening fails where there are none. wgpu declares that they
    /// may hold bugs that lead to undefined behaviour, so they are off unless somebody asks.
    pub cooperative_matrix: bool,
    /// As `cooperative_matrix`, but where there are none the device opens without: what `--precision f16` asks for.
    pub cooperative_matrix_if_any: bool,
    /// The folder of compiled kernels and tuned choices. None: no file is read or written, and plans depend on the device alone.
    pub cache: Option<PathBuf>,
    /// Take no tuned choices from `cache`.
    pub untuned: bool,
    /// Let a kernel see at most so many bytes through one binding, if the adapter would let it see more: plans are then those of a
    /// smaller device. For tests; a multiple of 256, and at least 64 KiB.
    pub binding_bytes: Option<u64>,
    /// Have Vulkan's driver check every load and store of a kernel, so that one past the end of a buffer does nothing in place of losing
    /// the device. The kernels need no such checks, and where the compiler must add them they are up to a third of a kernel's instructions.
    pub checked: bool,
    /// How long a wait for results polls before it sleeps. A thread that the driver wakes comes tens of microseconds late, which is
    /// as long as a chunk at batch 1 takes; the longer a pass, the less that matters. Zero: never poll. A software adapter never
    /// does: it needs the processor for the work itself.
    pub spin: Duration,
    /// A pass whose results are waited for and that has more than twice so many dispatches goes to the device in parts, the first of so
    /// many dispatches, each next of twice as many: recording a dispatch takes the host a microsecond or more, and the device works
    /// meanwhile. 0: always whole. None: 64, but on software adapters, which have no processor to spare, 0.
    pub head_start: Option<usize>,
    /// How long a wait for the device lasts before it fails with [`DeviceError::Timeout`]. None: two minutes, or a hundred times as long as
    /// the work is predicted to take if that is longer, as a software adapter may be a hundred times slower than predicted.
    pub timeout: Option<Duration>,
}

impl Default for GpuOptions {
    fn default() -> Self {
        GpuOptions {
            cooperative_matrix: false,
            cooperative_matrix_if_any: false,
            cache: None,
            untuned: false,
            binding_bytes: None,
            checked: false,
            spin: Duration::from_millis(1),
            head_start: None,
            timeout: None,
        }
    }
}

impl GpuOptions {
    /// With the user's cache folder ([`cache::folder`]); tuned choices count unless `ADVECT_TUNING` is `off`, and the driver checks loads
    /// and stores if `ADVECT_CHECKED` is 1. `ADVECT_TIMEOUT_S` is [`timeout`](Self::timeout) in seconds.
    ///
    /// # Errors
    /// [`DeviceError::Environment`] if `ADVECT_TIMEOUT_S` is no number of seconds above 0 and up to 86400.
    pub fn from_env() -> Result<GpuOptions, DeviceError> {
        let is = |name: &str, value: &str| std::env::var_os(name).is_some_and(|v| v == value);
        let timeout = match std::env::var_os(TIMEOUT_S) {
            Some(text) if !text.is_empty() => Some(seconds(&text.to_string_lossy())?),
            _ => None,
        };
        Ok(GpuOptions {
            cache: cache::folder(),
            untuned: is("ADVECT_TUNING", "off"),
            checked: is("ADVECT_CHECKED", "1"),
            timeout,
            ..GpuOptions::default()
        })
    }
}

/// The longest wait for the device as `ADVECT_TIMEOUT_S` has it.
fn seconds(found: &str) -> Result<Duration, DeviceError> {
    match found.trim().parse::<f64>() {
        Ok(s) if s > 0.0 && s <= 86_400.0 => Ok(Duration::from_secs_f64(s)),
        _ => Err(DeviceError::Environment {
            name: TIMEOUT_S,
            found: found.to_owned(),
            needed: "a number of seconds above 0 and up to 86400",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_is_a_number_of_seconds() {
        assert_eq!(seconds(" 2.5 "), Ok(Duration::from_millis(2500)));
        for bad in ["0", "-1", "nan", "inf", "1e9", "two", " "] {
            let error = seconds(bad).unwrap_err().to_string();
            assert!(error.contains("ADVECT_TIMEOUT_S") && error.contains(bad), "{error}");
        }
    }
}
