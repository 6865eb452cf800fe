//! The policy server as robots meet it: what the wire says, and what no client can do to it or to the others.

mod abuse;
mod command;
#[path = "../common/mod.rs"]
mod common;
mod limits;
mod protocol;
#[path = "../common/signal.rs"]
mod signal;
mod soak;
mod toy;
