//! `pack_weights`: a weight matrix laid out for kernels that read several columns at a time.

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
    panel: u32,
    panels: u32,
    depth: u32,
    b_offset: u32,
    b_ld: u32,
    y_offset: u32,
    turned: u32,
    pad: [u32; 3],
}

/// How a matrix of n columns and k rows is packed: in panels of adjacent columns, one after another, each row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One panel of all columns; columns and rows are rounded up to multiples of four.
    Whole,
    /// Panels of [`PANEL`] columns.
    Panels,
}

/// Columns of a panel: two registers of AVX-512, eight of NEON.
pub const PANEL: usize = 32;

impl Layout {
    /// Columns of a panel, number of panels, rows.
    pub fn shape(self, [n, k]: [usize; 2]) -> [usize; 3] {
        match self {
            Layout::Whole => [n.next_multiple_of(4), 1, k.next_multiple_of(4)],
            Layout::Panels => [PANEL, n.div_ceil(PANEL), k],
        }
    }

    /// Elements of a packed matrix.
    pub fn len(self, size: [usize; 2]) -> usize {
        self.shape(size).iter().product()
    }
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

/// y = B of n columns and k rows in a layout, with zeros where B ends. B is \[n, k\] (`Form::NT`) or \[k, n\] (else), plain
/// rows; y is dense from an element offset; what lies around it stays.
pub fn command(
    layout: Layout,
    form: Form,
    [n, k]: [usize; 2],
    (b, view): (BufferId, View),
    (y, offset): (BufferId, usize),
) -> Command {
    debug_assert!(view.plain_rows());
    let [panel, panels, depth] = layout.shape([n, k]);
    let params = Params {
        n: n as u32,
        k: k as u32,
        panel: panel as u32,
        panels: panels as u32,
        depth: depth as u32,
        b_offset: view.offset,
        b_ld: view.row_stride,
        y_offset: offset as u32,
        turned: u32::from(form == Form::NT),
        pad: [0; 3],
    };
    let grid = fold(panel * panels * depth, 64);
    Command::new(&KERNEL, &variant::pack_weights::ONLY, &params, &[b, y], grid)
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [b, y] = args else { unreachable!("pack_weights has two bindings") };
    let b = b.read();
    let [n, k, panel, panels, depth] = [p.n, p.k, p.panel, p.panels, p.depth].map(|d| d as usize);
    if panel * depth == 0 {
        return;
    }
    let (offset, ld) = (p.b_offset as usize, p.b_ld as usize);
    let y = &mut y.write()[p.y_offset as usize..];
    cx.rows(y, panel * depth, panels, panels * panel * depth, |first, y| {
        for (q, y) in y.chunks_mut(panel * depth).enumerate() {
            let j0 = (first + q) * panel;
            for (d, row) in y.chunks_mut(panel).enumerate() {
                for (j, y) in (j0..).zip(row) {
                    let inside = d < k && j < n;
                    let at = if p.turned != 0 { j * ld + d } else { d * ld + j };
                    *y = if inside { b[offset + at] } else { 0.0 };
                }
            }
        }
    });
}
