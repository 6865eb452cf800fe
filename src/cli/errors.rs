//! How things end: exit codes, the one line on stderr, logging.

use super::output;
use advect::device::DeviceError;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// Success.
const OK: u8 = 0;
/// Something failed.
const FAILURE: u8 = 1;
/// The command line asks for what does not exist.
const USAGE: u8 = 2;
/// Ctrl-C (128 + SIGINT), as shells have it.
pub(super) const INTERRUPTED: u8 = 130;

/// Ctrl-C was pressed and the work was left in good order.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Whoever reads our output has stopped reading (`| head`): nothing is wrong, and nobody listens.
#[derive(Debug, thiserror::Error)]
#[error("the output was closed")]
pub struct OutputClosed;

/// The verdict was printed already; only the exit code is left to say.
#[derive(Debug, thiserror::Error)]
#[error("failed")]
pub struct Failed;

/// The arguments cannot be used together, or with this machine.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The exit code of a result, after saying on stderr what went wrong.
pub fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else { return OK.into() };
    let is = |test: fn(&(dyn std::error::Error + 'static)) -> bool| error.chain().any(test);
    if is(|e| e.is::<OutputClosed>()) {
        return OK.into();
    }
    if is(|e| e.is::<Failed>()) {
        return FAILURE.into();
    }
    say("error", &one_line(&causes(&error)));
    let code = if is(|e| e.is::<Interrupted>()) {
        INTERRUPTED
    } else if is(is_usage) {
        USAGE
    } else {
        FAILURE
    };
    code.into()
}

/// The error and its causes, those left out that the text already tells.
pub fn causes(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| {
        let cause = cause.to_string();
        match (text.is_empty(), text.contains(&cause)) {
            (true, _) => cause,
            (false, true) => text,
            (false, false) => format!("{text}: {cause}"),
        }
    })
}

/// Whether what was asked for, and not the work, is at fault.
fn is_usage(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<Usage>()
        || matches!(
            error.downcast_ref::<DeviceError>(),
            Some(DeviceError::UnknownDevice { .. } | DeviceError::Environment { .. })
        )
}

/// Help and version go to stdout; everything else becomes one line on stderr.
pub fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A closed pipe is no failure here either.
        let _ = error.print();
        return OK.into();
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return USAGE.into();
    }
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or(&text);
    let mut line = one_line(first.strip_prefix("error: ").unwrap_or(first));
    for kind in [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue] {
        let near = match error.get(kind) {
            Some(ContextValue::String(near)) => Some(near),
            Some(ContextValue::Strings(near)) => near.first(),
            _ => None,
        };
        if let Some(near) = near {
            line.push_str(&format!("; did you mean '{near}'?"));
        }
    }
    say("error", &line);
    USAGE.into()
}

/// `label: text` on stderr, the label in red on a terminal. Never panics: stderr may be closed.
fn say(label: &str, text: &str) {
    let colour = output::Colour::of(&std::io::stderr());
    let _ = writeln!(std::io::stderr(), "{}: {text}", colour.red(label));
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Sends the engine's notes to stderr as RUST_LOG says; its warnings if it says nothing.
pub fn log() {
    use tracing_subscriber::EnvFilter;
    // The graphics libraries warn of things that concern nobody here (a driver that is not certified).
    let quiet = "warn,wgpu_core=error,wgpu_hal=error,naga=error";
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(quiet));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time();
    // A second subscriber cannot exist: this is the only call.
    let _ = subscriber.try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_one_line() {
        assert_eq!(one_line("a:\n  b\n"), "a: b");
    }

    #[test]
    fn causes_are_told_once() {
        let cause = std::io::Error::other("disk on fire");
        let error = advect::data::WriteError::File { path: "a.npy".into(), source: cause };
        assert_eq!(causes(&error.into()), "cannot write a.npy: disk on fire");
        assert_eq!(causes(&anyhow::anyhow!("x").context("y")), "y: x");
    }

    #[test]
    fn causes_decide_the_code() {
        let code = |e: anyhow::Error| format!("{:?}", exit_code(Err(e)));
        let is = |n: u8| format!("{:?}", ExitCode::from(n));
        assert_eq!(code(anyhow::anyhow!("x")), is(1));
        assert_eq!(code(Failed.into()), is(1));
        assert_eq!(code(anyhow::Error::from(Interrupted).context("training")), is(130));
        assert_eq!(code(Usage("x".into()).into()), is(2));
        assert_eq!(code(OutputClosed.into()), is(0));
        let unknown = DeviceError::UnknownDevice { asked: "x".into(), available: vec![] };
        assert_eq!(code(unknown.into()), is(2));
    }
}
