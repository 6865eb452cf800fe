//! The ways of computing a call of one of attention's kernels, for the tuner.

use super::attention::Params;
use super::call::params;
use super::{Command, Target, attention, attention_grad_kv, attention_grad_q, attention_jvp};

/// The question that a call of one of attention's kernels asks, and a command for each answer, the guess (or what was tuned) first;
/// none for other kernels.
pub fn ways(command: &Command, target: &Target) -> Option<(String, Vec<Command>)> {
    let families =
        [&attention::FAMILY, &attention_grad_q::FAMILY, &attention_grad_kv::FAMILY, &attention_jvp::FAMILY];
    let family = families.into_iter().find(|f| std::ptr::eq(f.kernel, command.kernel))?;
    let p: &Params = params(&command.params);
    Some((family.question(p), family.commands(p, &command.args, target).collect()))
}
