//! How long each command takes: for measurements, not for running.

/// Which clock was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// The GPU's timestamps.
    Device,
    /// The host's, around a submit of the command and the wait for it: with what a submit costs.
    Submit,
    /// The host's, around the command's twin.
    Host,
}

impl Clock {
    /// In a few words.
    pub fn name(self) -> &'static str {
        match self {
            Clock::Device => "the GPU's timestamps",
            Clock::Submit => "the host's clock around a submit of each command",
            Clock::Host => "the host's clock around each command",
        }
    }
}

/// The times of one command, seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CommandTime {
    /// Its index in the plan.
    pub command: usize,
    /// Median.
    pub median: f64,
    /// The least.
    pub least: f64,
}

impl CommandTime {
    pub(super) fn new(command: usize, mut seconds: Vec<f64>) -> CommandTime {
        seconds.sort_by(f64::total_cmp);
        let at = |i: usize| seconds.get(i).copied().unwrap_or(0.0);
        CommandTime { command, median: at(seconds.len() / 2), least: at(0) }
    }
}

/// The times of single commands.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Whose time it is.
    pub clock: Clock,
    /// Every command of the phases, in order.
    pub commands: Vec<CommandTime>,
}
