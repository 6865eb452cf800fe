//! `gather`: rows of a table by number.

use super::call::{fold, params};
use super::{Arg, BufferId, Command, Kernel, TwinCx, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    rows: u32,
    cols: u32,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "gather",
    access: &[Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::gather::ONLY],
    twin,
};
const _: () = assert!(variant::gather::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::gather::ONLY.workgroup[0] == 64);

/// y\[r, c\] = table\[index\[r\], c\] over \[rows, cols\]; `index` holds u32 words, each below the table's rows.
pub fn command([rows, cols]: [usize; 2], index: BufferId, table: BufferId, y: BufferId) -> Command {
    let params = Params { rows: rows as u32, cols: cols as u32 };
    Command::new(&KERNEL, &variant::gather::ONLY, &params, &[index, table, y], fold(rows * cols, 64))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], _: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [index, table, y] = args else { unreachable!("gather has three bindings") };
    let (index, table) = (index.read_u32(), table.read());
    let (rows, cols) = (p.rows as usize, p.cols as usize);
    for (y, i) in y.write()[..rows * cols].chunks_exact_mut(cols.max(1)).zip(index) {
        y.copy_from_slice(&table[*i as usize * cols..][..cols]);
    }
}
