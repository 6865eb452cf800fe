//! Buffers larger than one storage binding: a command that uses one is bound to a window of it, and its offset counts from there.
//!
//! Adapters bind as little as 128 MiB (the least that Vulkan and WebGPU promise), and the weights of a policy can be more. One tensor must
//! still fit a window. Which part of a buffer a call touches, its kernel's cost says; which of its parameters is the offset is found by
//! trying those of that value: the one that, made smaller, moves that part and changes nothing else.

use super::plan::Slot;
use super::{GraphError, Result};
use crate::device::DeviceError;
use crate::kernel::{Command, Cost};

/// Windows begin at multiples of this many elements: the largest offset alignment that an adapter may ask for is 256 bytes.
const ALIGN: usize = 64;

/// A command's parameters and the first element of each argument's window.
#[derive(Debug, PartialEq)]
pub(super) struct Windowed {
    pub(super) params: Vec<u32>,
    pub(super) from: Vec<usize>,
}

/// Where the arguments of a command are to be bound, of which a binding takes `most` elements.
pub(super) fn place(command: &Command, slots: &[Slot], most: usize) -> Result<Windowed> {
    let mut out = Windowed { params: command.params.clone(), from: vec![0; command.args.len()] };
    let slot = |n: usize| &slots[command.args[n].0 as usize];
    let too_large = |n: usize, elements: usize| -> GraphError {
        let name = slot(n).name.as_deref().unwrap_or("plan memory");
        let what = format!("what kernel '{}' uses of '{name}' at once, in bytes", command.kernel.name);
        DeviceError::Limit { what, need: 4 * elements as u64, have: 4 * most as u64 }.into()
    };
    if (0..command.args.len()).all(|n| slot(n).elements <= most) {
        return Ok(out);
    }
    let cost = (command.kernel.cost)(&command.params);
    let (mut firsts, mut ends) = (vec![0; command.args.len()], vec![0; command.args.len()]);
    for n in (0..command.args.len()).filter(|n| slot(*n).elements > most) {
        let touched = || cost.read.iter().chain(&cost.written).filter(|(binding, _)| *binding == n);
        let spans = || touched().map(|(_, span)| span).filter(|span| span.elements() > 0);
        let (first, end) = match spans().any(|span| span.scattered) {
            true => (0, slot(n).elements),
            false => {
                (spans().map(|s| s.first).min().unwrap_or(0), spans().map(|s| s.end()).max().unwrap_or(0))
            }
        };
        let from = if end <= most { 0 } else { first / ALIGN * ALIGN };
        if end - from > most {
            return Err(too_large(n, end - from));
        }
        (out.from[n], firsts[n], ends[n]) = (from, first, end);
    }
    let mut done: Vec<bool> = out.from.iter().map(|from| *from == 0).collect();
    while let Some(n) = done.iter().position(|done| !done) {
        let Some((params, moved)) = shift(command, &cost, &out, &done, (n, firsts[n])) else {
            // No offset that a window could count from, as where only the last stage of a solver's step counts: bound from its start.
            return Err(too_large(n, ends[n]));
        };
        out.params = params;
        moved.into_iter().for_each(|n| done[n] = true);
    }
    Ok(out)
}

/// The parameters with the offset of argument `n`, which is used from element `first` on, counted from its window, and the arguments
/// that this moved.
fn shift(
    command: &Command,
    cost: &Cost,
    out: &Windowed,
    done: &[bool],
    (n, first): (usize, usize),
) -> Option<(Vec<u32>, Vec<usize>)> {
    let by = out.from[n];
    let waits = |n: &usize| !done[*n] && out.from[*n] == by;
    // Halves are counted in halves.
    let tries = (0..out.params.len()).flat_map(|word| [(word, 1), (word, 2)]);
    tries.into_iter().find_map(|(word, unit)| {
        if command.params[word] as usize != unit * first {
            return None;
        }
        // Tried on the command's own parameters, so that the cost is compared with its own.
        let mut alone = command.params.clone();
        alone[word] -= (unit * by) as u32;
        let moved = moved(cost, &(command.kernel.cost)(&alone), by)?;
        if !moved.contains(&n) || !moved.iter().all(waits) {
            return None;
        }
        let mut params = out.params.clone();
        params[word] = alone[word];
        Some((params, moved))
    })
}

/// The bindings of which every part lies `by` elements earlier in `after`; none if anything else differs.
fn moved(before: &Cost, after: &Cost, by: usize) -> Option<Vec<usize>> {
    if before.flops != after.flops {
        return None;
    }
    let (mut moved, mut still) = (Vec::new(), Vec::new());
    for (before, after) in [(&before.read, &after.read), (&before.written, &after.written)] {
        if before.len() != after.len() {
            return None;
        }
        for ((n, old), (m, new)) in before.iter().zip(after) {
            let mut earlier = *old;
            earlier.first = earlier.first.checked_sub(by).unwrap_or(usize::MAX);
            match n == m {
                true if old == new => still.push(*n),
                true if earlier == *new => moved.push(*n),
                _ => return None,
            }
        }
    }
    moved.sort_unstable();
    moved.dedup();
    moved.iter().all(|n| !still.contains(n)).then_some(moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::matmul::{self, Epilogue, Form};
    use crate::kernel::{BufferId, Target, View, adamw};

    fn slots(elements: &[usize]) -> Vec<Slot> {
        elements.iter().map(|e| Slot { name: Some("weights".into()), elements: *e, data: None }).collect()
    }

    /// A product of 8 rows with weights \[64, 64\] and a bias from elements `at` and `bias` of a buffer.
    fn product(at: usize, bias: usize) -> Command {
        let id = [0, 1, 2, 3].map(BufferId);
        let epilogue = Epilogue { bias: Some((id[1], bias)), ..Epilogue::default() };
        let (a, b) = ((id[0], View::dense(0, 64)), (id[1], View::dense(at, 64)));
        let c = (id[2], View::dense(0, 64));
        matmul::command(Form::NT, [8, 64, 64], a, b, c, &epilogue, id[3], &Target::MINIMAL_GPU)
    }

    #[test]
    fn what_fits_a_binding_stays() {
        let command = product(100, 4196);
        let found = place(&command, &slots(&[512, 20_000, 512, 4]), 20_000).unwrap();
        assert_eq!(found, Windowed { params: command.params.clone(), from: vec![0; 5] });
        // The buffer does not fit, but what is used of it does.
        let found = place(&command, &slots(&[512, 20_000, 512, 4]), 8192).unwrap();
        assert_eq!(found, Windowed { params: command.params, from: vec![0; 5] });
    }

    #[test]
    fn operands_beyond_a_binding_have_windows_of_their_own() {
        let found = place(&product(10_100, 14_196), &slots(&[512, 20_000, 512, 4]), 8192).unwrap();
        // Each begins at the multiple of 64 before it.
        assert_eq!(found.from, [0, 10_048, 14_144, 0, 0]);
        assert_eq!(found.params, product(52, 52).params);
    }

    #[test]
    fn operands_that_share_an_offset_move_together() {
        let id = [0, 1, 2, 3, 4, 5].map(BufferId);
        let constants = adamw::AdamWParams { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0 };
        let call =
            |from| adamw::command(&constants, (from, 1000), [id[0], id[1], id[2], id[3], id[4]], id[5]);
        let sizes = slots(&[20_000, 20_000, 20_000, 20_000, 20_000, 32]);
        let found = place(&call(12_810), &sizes, 8192).unwrap();
        assert_eq!(found.from, [12_800, 12_800, 12_800, 12_800, 12_800, 0]);
        assert_eq!(found.params, call(10).params);
    }

    #[test]
    fn a_tensor_larger_than_a_binding_is_refused_by_name() {
        let error = place(&product(10_100, 14_196), &slots(&[512, 20_000, 512, 4]), 4096).unwrap_err();
        // 52 elements before the tensor belong to its window.
        let text = "what kernel 'matmul' uses of 'weights' at once, in bytes needs 16592, but the device's limit is 16384";
        assert_eq!(error.to_string(), text);
    }
}
