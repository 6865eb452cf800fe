//! A strided, broadcasting two-dimensional view of a buffer: how kernels address their operands.

use bytemuck::{Pod, Zeroable};

/// Element (i, j) lies at `offset + ((i / row_div) % row_mod) * row_stride + j * col_stride`.
///
/// `row_stride = 0` broadcasts a row, `col_stride = 0` a column; `row_div = N` repeats every row N times
/// (N samples per observation); `row_mod = M` repeats the whole block of M rows (once per solver time).
/// Mirrors `View` in `shaders/shared/view.wgsl`. Units: elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct View {
    /// First element.
    pub offset: u32,
    /// Distance between rows.
    pub row_stride: u32,
    /// Distance between columns, 0 or 1.
    pub col_stride: u32,
    /// Every row stands for this many consecutive rows (at least 1).
    pub row_div: u32,
    /// The rows repeat after this many (u32::MAX: never).
    pub row_mod: u32,
    /// Padding to 32 bytes, as WGSL's uniform layout needs.
    pub pad: [u32; 3],
}

impl View {
    /// A dense row-major view of `cols` columns from `offset`.
    pub const fn dense(offset: usize, cols: usize) -> View {
        View {
            offset: offset as u32,
            row_stride: cols as u32,
            col_stride: 1,
            row_div: 1,
            row_mod: u32::MAX,
            pad: [0; 3],
        }
    }

    /// Rows `row_stride` elements apart, columns adjacent.
    pub const fn strided(offset: usize, row_stride: usize) -> View {
        View::dense(offset, row_stride)
    }

    /// First element of row `i`.
    #[inline(always)]
    pub fn row(&self, i: usize) -> usize {
        let r = (i as u32 / self.row_div) % self.row_mod;
        self.offset as usize + r as usize * self.row_stride as usize
    }

    /// Element (i, j).
    #[inline(always)]
    pub fn at(&self, i: usize, j: usize) -> usize {
        self.row(i) + j * self.col_stride as usize
    }

    /// Whether rows are neither repeated nor broadcast.
    pub fn plain_rows(&self) -> bool {
        self.row_div == 1 && self.row_mod == u32::MAX && self.col_stride == 1
    }
}
