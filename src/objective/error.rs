//! What can be wrong with an objective's settings or with what is asked of it.

/// An objective that does not fit.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectiveError {
    /// A solver that does not sample it.
    #[error("{objective} is not sampled by {solver}: needed {needed}")]
    Solver {
        /// The objective.
        objective: &'static str,
        /// What was asked for.
        solver: String,
        /// What it takes.
        needed: &'static str,
    },
    /// A setting out of range.
    #[error("{what}: found {found}, needed {needed}")]
    Setting {
        /// Which one.
        what: &'static str,
        /// Its value.
        found: String,
        /// Its range.
        needed: &'static str,
    },
}

impl ObjectiveError {
    pub(super) fn setting(what: &'static str, found: impl ToString, needed: &'static str) -> ObjectiveError {
        ObjectiveError::Setting { what, found: found.to_string(), needed }
    }
}

/// `what` must be a finite number above 0.
pub(super) fn positive(what: &'static str, v: f64) -> Result<(), ObjectiveError> {
    match v.is_finite() && v > 0.0 {
        true => Ok(()),
        false => Err(ObjectiveError::setting(what, v, "a positive number")),
    }
}

/// `what` must lie in `least` to `most`.
pub(super) fn count(
    what: &'static str,
    v: usize,
    [least, most]: [usize; 2],
    needed: &'static str,
) -> Result<(), ObjectiveError> {
    match (least..=most).contains(&v) {
        true => Ok(()),
        false => Err(ObjectiveError::setting(what, v, needed)),
    }
}
