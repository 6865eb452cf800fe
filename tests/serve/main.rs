//! The policy server as robots meet it: what the wire says, and what no client can do to it or to the others.

mod abuse;
// The abuse of the load test.
#[path = "../../examples/serve_load/abuse.rs"]
mod abuse_load;
mod command;
#[path = "../common/mod.rs"]
mod common;
mod limits;
mod protocol;
#[path = "../common/signal.rs"]
mod signal;
mod soak;
mod toy;
