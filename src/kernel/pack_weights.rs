//! `pack_weights`: a weight matrix laid out for kernels that read several columns at a time.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::matmul::Form;
use super::{Arg, BufferId, Command, Kernel, TwinCx, View, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};
use half::f16;

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
    half: u32,
    pad: [u32; 2],
}

/// How a matrix of n columns and k rows is packed: in panels of adjacent columns, one after another, each row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One panel of all columns; columns and rows are rounded up to multiples of four.
    Whole,
    /// Panels of [`PANEL`] columns.
    Panels,
    /// The transpose: one panel for all rows, in which each column lies adjacent, padded to a multiple of eight.
    Columns,
}

/// What a packed element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// A word.
    Full,
    /// Half precision, two to a word, the first in the low half.
    Half,
}

/// Columns of a panel: two registers of AVX-512, eight of NEON.
pub const PANEL: usize = 32;

impl Layout {
    /// Columns of a panel, number of panels, rows.
    pub fn shape(self, [n, k]: [usize; 2]) -> [usize; 3] {
        match self {
            Layout::Whole => [n.next_multiple_of(4), 1, k.next_multiple_of(4)],
            Layout::Panels => [PANEL, n.div_ceil(PANEL), k],
            Layout::Columns => [k.next_multiple_of(8), 1, n],
        }
    }

    /// Elements of a packed matrix.
    pub fn elements(self, size: [usize; 2]) -> usize {
        self.shape(size).iter().product()
    }

    /// Words of a packed matrix.
    pub fn words(self, store: Store, size: [usize; 2]) -> usize {
        match store {
            Store::Full => self.elements(size),
            Store::Half => self.elements(size) / 2,
        }
    }
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "pack_weights",
    access: &[Access::Read, Access::ReadWrite],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::pack_weights::FULL, &variant::pack_weights::HALF],
    twin,
    cost,
};
const _: () = {
    assert!(variant::pack_weights::FULL.params_bytes as usize == size_of::<Params>());
    assert!(variant::pack_weights::HALF.params_bytes as usize == size_of::<Params>());
    assert!(variant::pack_weights::FULL.workgroup[0] == 64 && variant::pack_weights::HALF.workgroup[0] == 64);
    // Pairs never straddle two rows of a panel.
    assert!(PANEL.is_multiple_of(2));
};

/// y = B of n columns and k rows in a layout and a store, with zeros where B ends. B is \[n, k\] (`Form::NT`) or \[k, n\] (else), plain
/// rows; y is dense from a word offset; what lies around it stays.
pub fn command(
    (layout, store): (Layout, Store),
    form: Form,
    [n, k]: [usize; 2],
    (b, view): (BufferId, View),
    (y, offset): (BufferId, usize),
) -> Command {
    debug_assert!(view.plain_rows());
    let [panel, panels, depth] = layout.shape([n, k]);
    // The transpose of a matrix is packed as that matrix would be.
    let transposed = layout == Layout::Columns;
    let [n, k] = if transposed { [k, n] } else { [n, k] };
    let params = Params {
        n: n as u32,
        k: k as u32,
        panel: panel as u32,
        panels: panels as u32,
        depth: depth as u32,
        b_offset: view.offset,
        b_ld: view.row_stride,
        y_offset: offset as u32,
        turned: u32::from((form == Form::NT) != transposed),
        half: u32::from(store == Store::Half),
        pad: [0; 2],
    };
    let (threads, variant) = match store {
        Store::Full => (panel * panels * depth, &variant::pack_weights::FULL),
        Store::Half => (panel * panels * depth / 2, &variant::pack_weights::HALF),
    };
    let grid = fold(threads, 64);
    Command::new(&KERNEL, variant, &params, &[b, y], grid)
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let [n, k, packed] = [p.n, p.k, p.panel * p.panels * p.depth].map(|d| d as usize);
    let b = if p.turned != 0 { [n, k] } else { [k, n] };
    let cost = Cost::new(0).reads(0, Span::rows([p.b_offset, p.b_ld], b));
    cost.writes(1, Span::dense(p.y_offset, if p.half != 0 { packed / 2 } else { packed }))
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
    let element = |d: usize, j: usize| {
        let at = if p.turned != 0 { j * ld + d } else { d * ld + j };
        if d < k && j < n { b[offset + at] } else { 0.0 }
    };
    let y = &mut y.write()[p.y_offset as usize..];
    // Rows of all panels one after another.
    let work = panels * panel * depth;
    if p.half == 0 {
        cx.rows(y, panel, panels * depth, work, |first, y| {
            for (r, row) in (first..).zip(y.chunks_mut(panel)) {
                let j0 = r / depth * panel;
                row.iter_mut().zip(j0..).for_each(|(y, j)| *y = element(r % depth, j));
            }
        });
    } else {
        cx.rows(y, panel / 2, panels * depth, work, |first, y| {
            let pairs: &mut [[f16; 2]] = bytemuck::cast_slice_mut(y);
            for (r, row) in (first..).zip(pairs.chunks_mut(panel / 2)) {
                let j0 = r / depth * panel;
                let pair = |j: usize| [0, 1].map(|e| f16::from_f32(element(r % depth, j + e)));
                row.iter_mut().enumerate().for_each(|(e, y)| *y = pair(j0 + 2 * e));
            }
        });
    }
}
