//! The policy server as robots meet it: what the wire says, and what no client can do to it or to the others.

mod abuse;
mod command;
mod limits;
mod protocol;
mod toy;
