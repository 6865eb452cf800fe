//! The command as a person or a script meets it.

mod bad_input;
mod commands;
mod compare;
mod demo;
mod ending;
mod going_on;
mod memory;
mod overwriting;
mod sampling;
#[cfg(unix)]
#[path = "../common/signal.rs"]
mod signal;
