//! What the device has told us behind our back: that it is lost, late, or that a call outside any error scope failed.
//!
//! wgpu reports both through callbacks on whatever thread happens to run. They are recorded here and read with one
//! atomic load on the hot path; wgpu's default, a panic, never happens.

use super::DeviceError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The recorded state of a device.
#[derive(Debug, Default)]
pub(super) struct Health {
    lost: AtomicBool,
    reason: OnceLock<String>,
    late: AtomicBool,
    failed: AtomicBool,
    first: Mutex<Option<DeviceError>>,
}

impl Health {
    /// Records that the device is gone. The first reason stays.
    pub fn lose(&self, reason: String) {
        let _ = self.reason.set(reason);
        self.lost.store(true, Ordering::Release);
    }

    /// Records an error that no scope caught. The first one stays until it is taken.
    pub fn record(&self, error: DeviceError) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() {
            *first = Some(error);
            self.failed.store(true, Ordering::Release);
        }
    }

    /// Whether the device is gone.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Records whether work is under way that was waited for in vain.
    pub fn set_late(&self, late: bool) {
        self.late.store(late, Ordering::Release);
    }

    /// Whether a wait ended before the work did, and the work is not known to have ended since.
    pub fn is_late(&self) -> bool {
        self.late.load(Ordering::Acquire)
    }

    /// Fails if the device is gone.
    pub fn check_lost(&self) -> Result<(), DeviceError> {
        if self.is_lost() { Err(self.lost_error()) } else { Ok(()) }
    }

    /// Fails if the device is gone, or hands out (once) the error recorded since the last call.
    pub fn check(&self) -> Result<(), DeviceError> {
        self.check_lost()?;
        if self.failed.load(Ordering::Acquire) {
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            self.failed.store(false, Ordering::Release);
            if let Some(error) = first.take() {
                return Err(error);
            }
        }
        Ok(())
    }

    /// The error that says why the device is gone.
    pub fn lost_error(&self) -> DeviceError {
        let reason = self.reason.get().map_or("no reason given", String::as_str).to_owned();
        DeviceError::DeviceLost { reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_error_wins_and_is_taken_once() {
        let health = Health::default();
        health.record(DeviceError::Internal { message: "one".into() });
        health.record(DeviceError::Internal { message: "two".into() });
        assert_eq!(health.check(), Err(DeviceError::Internal { message: "one".into() }));
        assert_eq!(health.check(), Ok(()));
    }

    #[test]
    fn loss_is_for_good_and_keeps_its_first_reason() {
        let health = Health::default();
        health.lose("watchdog".into());
        health.lose("later".into());
        for _ in 0..2 {
            assert_eq!(health.check(), Err(DeviceError::DeviceLost { reason: "watchdog".into() }));
        }
    }
}
