//! Where the values of a chain lie on chip: columns by liveness.

use super::{Chain, Packed};
use crate::kernel::pack_weights::Store;
use crate::kernel::row_program::RowProgram;

/// The row program of a chain. `in_place`: a product's result may take the place of its operand, if that is not read any more.
/// No result ever lies where a value does that is read while it is written.
pub(super) fn place(chain: &Chain, pack: &Packed, dim: usize, in_place: bool) -> RowProgram {
    let mut last_use = vec![0usize; chain.cols.len()];
    for (at, link) in chain.links.iter().enumerate() {
        for value in link.read_late().into_iter().chain(link.operand()) {
            last_use[value] = at;
        }
    }
    // The result outlives the chain.
    if let Some(last) = last_use.last_mut() {
        *last = chain.links.len();
    }
    let mut columns = vec![0usize; chain.cols.len()];
    let mut live: Vec<usize> = vec![0];
    for (at, link) in chain.links.iter().enumerate() {
        let late = link.read_late();
        let operand = link.operand();
        // What is free once the operand has been read.
        live.retain(|v| {
            let reads_now = late.contains(v) || (operand == Some(*v) && !in_place);
            last_use[*v] > at || (last_use[*v] == at && (reads_now || Some(*v) != operand))
        });
        let mut taken: Vec<(usize, usize)> = live.iter().map(|v| (columns[*v], width(chain, *v))).collect();
        taken.sort_unstable();
        let need = width(chain, link.dst());
        let mut first = 0;
        for (from, cols) in taken {
            if first + need <= from {
                break;
            }
            first = first.max(from + cols);
        }
        columns[link.dst()] = first;
        live.push(link.dst());
        live.retain(|v| last_use[*v] > at || *v == link.dst());
    }
    RowProgram {
        dim,
        start_column: columns[0],
        end_column: columns[chain.cols.len() - 1],
        packed: pack.groups(),
        half: pack.store == Store::Half,
        instructions: chain.links.iter().map(|l| l.instruction(chain, pack, &columns)).collect(),
    }
}

/// Columns of a value with their padding.
fn width(chain: &Chain, value: usize) -> usize {
    chain.cols[value].next_multiple_of(4)
}
