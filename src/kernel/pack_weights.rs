//! `pack_weights`: a weight matrix laid out for kernels that read four columns at a time.

use super::call::{fold, params};
use super::matmul::Form;
use super::{Arg, BufferId, Command, Kernel, TwinCx, View, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    n: u32,
    k: u32,
    n4: u32,
    k4: u32,
    b_offset: u32,
    b_ld: u32,
    y_offset: u32,
    turned: u32,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "pack_weights",
    access: &[Access::Read, Access::ReadWrite],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::pack_weights::ONLY],
    twin,
};
const _: () = assert!(variant::pack_weights::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::pack_weights::ONLY.workgroup[0] == 64);

/// Elements of a packed matrix of n columns and k rows.
pub fn packed_len(n: usize, k: usize) -> usize {
    n.next_multiple_of(4) * k.next_multiple_of(4)
}

/// y = B as \[k4, n4\], k4 and n4 being k and n rounded up to multiples of four, with zeros where B ends. B is \[n, k\]
/// (`Form::NT`) or \[k, n\] (else), plain rows; y is dense from an element offset; what lies around it stays.
pub fn command(
    form: Form,
    [n, k]: [usize; 2],
    (b, view): (BufferId, View),
    (y, offset): (BufferId, usize),
) -> Command {
    debug_assert!(view.plain_rows());
    let params = Params {
        n: n as u32,
        k: k as u32,
        n4: n.next_multiple_of(4) as u32,
        k4: k.next_multiple_of(4) as u32,
        b_offset: view.offset,
        b_ld: view.row_stride,
        y_offset: offset as u32,
        turned: u32::from(form == Form::NT),
    };
    Command::new(&KERNEL, &variant::pack_weights::ONLY, &params, &[b, y], fold(packed_len(n, k), 64))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [b, y] = args else { unreachable!("pack_weights has two bindings") };
    let b = b.read();
    let [n, k, n4, k4] = [p.n, p.k, p.n4, p.k4].map(|d| d as usize);
    if n4 * k4 == 0 {
        return;
    }
    let (offset, ld) = (p.b_offset as usize, p.b_ld as usize);
    cx.rows(&mut y.write()[p.y_offset as usize..], n4, k4, n4 * k4, |first, y| {
        for (r, y) in y.chunks_mut(n4).enumerate() {
            let d = first + r;
            for (j, y) in y.iter_mut().enumerate() {
                let inside = d < k && j < n;
                let at = if p.turned != 0 { j * ld + d } else { d * ld + j };
                *y = if inside { b[offset + at] } else { 0.0 };
            }
        }
    });
}
