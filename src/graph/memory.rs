//! Memory by liveness: temporaries that are never alive together share a slot.

use super::plan::{BufferInfo, BufferKind, Phase};
use crate::kernel::Command;

/// Which slot each buffer got, and how large the slots are.
pub struct Assignment {
    /// Slot of each buffer.
    pub slot_of: Vec<u32>,
    /// Elements of each slot.
    pub slot_elements: Vec<usize>,
}

/// Assigns slots. A temporary's life runs from its first to its last command, both included (so an operand and a
/// result of one command never share memory); one that is used in several phases lives through all of them, since a phase
/// may be replayed alone.
pub fn assign(buffers: &[BufferInfo], commands: &[Command], phases: &[Phase]) -> Assignment {
    let mut life: Vec<Option<(usize, usize)>> = vec![None; buffers.len()];
    for (at, command) in commands.iter().enumerate() {
        for b in &command.args {
            let l = life[b.0 as usize].get_or_insert((at, at));
            l.1 = at;
        }
    }
    let phase_of = |at: usize| phases.iter().position(|p| p.range.contains(&at));
    let mut order: Vec<usize> = Vec::new();
    let mut slot_of = vec![u32::MAX; buffers.len()];
    let mut slot_elements: Vec<usize> = Vec::new();
    for (b, info) in buffers.iter().enumerate() {
        match (&info.kind, life[b]) {
            (BufferKind::Temporary, Some((from, to))) if phase_of(from) == phase_of(to) => order.push(b),
            (BufferKind::Temporary | BufferKind::Constant(_), None) => {}
            _ => {
                slot_of[b] = slot_elements.len() as u32;
                slot_elements.push(info.elements.max(1));
            }
        }
    }
    let first_shared = slot_elements.len();
    // In order of first use; each takes the free slot that wastes least, or grows the largest free one.
    order.sort_by_key(|b| life[*b]);
    let mut busy_until: Vec<usize> = Vec::new();
    for b in order {
        let Some((from, to)) = life[b] else { continue };
        let need = buffers[b].elements.max(1);
        let free = |s: &usize| busy_until[*s] < from;
        let fits = (0..busy_until.len()).filter(free).filter(|s| slot_elements[first_shared + s] >= need);
        let best = fits.min_by_key(|s| slot_elements[first_shared + s]);
        let grown = || (0..busy_until.len()).filter(free).max_by_key(|s| slot_elements[first_shared + s]);
        let slot = match best.or_else(grown) {
            Some(s) => s,
            None => {
                busy_until.push(0);
                slot_elements.push(0);
                busy_until.len() - 1
            }
        };
        slot_elements[first_shared + slot] = slot_elements[first_shared + slot].max(need);
        busy_until[slot] = to;
        slot_of[b] = (first_shared + slot) as u32;
    }
    Assignment { slot_of, slot_elements }
}
