//! When a call must be over.

use super::DeviceError;
use std::time::{Duration, Instant};

/// The end of the time that a call is allowed, counted from when this was made.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    begun: Instant,
    allowed: Duration,
}

impl Deadline {
    /// So long from now.
    pub fn after(allowed: Duration) -> Deadline {
        Deadline { begun: Instant::now(), allowed }
    }

    /// The whole time.
    pub fn allowed(&self) -> Duration {
        self.allowed
    }

    /// What is left of it; zero once it is over.
    pub fn left(&self) -> Duration {
        self.allowed.saturating_sub(self.begun.elapsed())
    }

    /// Fails once it is over; `what` names the work.
    pub fn check(&self, what: &'static str) -> Result<(), DeviceError> {
        match self.left() {
            Duration::ZERO => Err(DeviceError::Timeout { what, waited: self.allowed }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_after_its_time_and_says_how_long_that_was() {
        let over = Deadline::after(Duration::ZERO).check("a pass");
        assert_eq!(over, Err(DeviceError::Timeout { what: "a pass", waited: Duration::ZERO }));
        let text = Deadline::after(Duration::ZERO)
            .check("a pass")
            .map_err(|e| e.within(Duration::from_micros(1500)));
        assert_eq!(text.unwrap_err().to_string(), "a pass did not finish within 1.5ms");
        assert_eq!(Deadline::after(Duration::MAX).check("a pass"), Ok(()));
    }
}
