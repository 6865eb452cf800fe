//! Which WGSL variant runs a product, and on what grid.

use super::{Form, KERNEL, SOFT as SOFT_KERNEL};
use crate::kernel::call::fold;
use crate::kernel::target::bucket;
use crate::kernel::variant::{matmul, matmul_half, matmul_packed, matmul_soft, matvec};
use crate::kernel::{Kernel, Target, Variant, View};

/// A variant with the kernel that it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// The kernel.
    pub kernel: &'static Kernel,
    /// Its variant.
    pub variant: &'static Variant,
    tile: [u32; 2],
}

impl Choice {
    const fn new(kernel: &'static Kernel, variant: &'static Variant) -> Choice {
        Choice { kernel, variant, tile: [variant.constant("TM"), variant.constant("TN")] }
    }

    /// The variant for half weights and m rows.
    pub(super) fn half(m: usize) -> Choice {
        Choice::new(&super::HALF, HALF[usize::from(m > 1)])
    }

    /// The one variant for packed weights: 8 rows and 256 columns a workgroup.
    pub(super) const fn packed() -> Choice {
        Choice { kernel: &super::PACKED, variant: &matmul_packed::ONLY, tile: [8, 256] }
    }

    /// Tiles along n, and the grid: one workgroup per tile of C, tiles along n first.
    pub(super) fn grid(&self, m: usize, n: usize) -> (u32, [u32; 3]) {
        let groups_n = n.div_ceil(self.tile[1] as usize).max(1);
        let groups_m = m.div_ceil(self.tile[0] as usize).max(1);
        (groups_n as u32, fold(groups_n * groups_m, 1))
    }
}

/// Variants of `matmul`: form, then tile, then load width.
pub(super) static TILED: &[&Variant] = &[
    &matmul::NN_LARGE_VEC4,
    &matmul::NN_LARGE_SCALAR,
    &matmul::NN_SMALL_VEC4,
    &matmul::NN_SMALL_SCALAR,
    &matmul::NT_LARGE_VEC4,
    &matmul::NT_LARGE_SCALAR,
    &matmul::NT_SMALL_VEC4,
    &matmul::NT_SMALL_SCALAR,
    &matmul::TN_LARGE_VEC4,
    &matmul::TN_LARGE_SCALAR,
    &matmul::TN_SMALL_VEC4,
    &matmul::TN_SMALL_SCALAR,
];
/// Variants of `matvec`: rows, then load width.
pub(super) static MATVEC: &[&Variant] =
    &[&matvec::ONE_VEC4, &matvec::ONE_SCALAR, &matvec::FOUR_VEC4, &matvec::FOUR_SCALAR];
/// Variants of `matmul_half`: rows.
pub(super) static HALF: &[&Variant] = &[&matmul_half::ONE, &matmul_half::FOUR];
/// Variants of `matmul_soft`: form, then rows per invocation.
pub(super) static SOFT: &[&Variant] = &[
    &matmul_soft::NN_ROWS1,
    &matmul_soft::NN_ROWS8,
    &matmul_soft::NT_ROWS1,
    &matmul_soft::NT_ROWS8,
    &matmul_soft::TN_ROWS1,
    &matmul_soft::TN_ROWS8,
];

// The shaders' shapes, as the grid and the staging loops assume them.
const _: () = {
    let mut i = 0;
    while i < TILED.len() {
        let v = TILED[i];
        let [tm, tn, tk] = [v.constant("TM"), v.constant("TN"), v.constant("TK")];
        assert!(v.workgroup[0] == (tm / v.constant("RM")) * (tn / 4));
        assert!((tm + tn) * tk == 16 * v.workgroup[0], "each invocation stages one 4x4 block per slab");
        assert!(v.shared_bytes == 4 * (tm + tn) * tk);
        i += 1;
    }
    let mut i = 0;
    while i < MATVEC.len() {
        let v = MATVEC[i];
        assert!(v.workgroup[0] == v.constant("TN") * v.constant("LANES"));
        i += 1;
    }
    let mut i = 0;
    while i < HALF.len() {
        let v = HALF[i];
        assert!(v.workgroup[0] == v.constant("TN") * v.constant("LANES"));
        i += 1;
    }
    let mut i = 0;
    while i < SOFT.len() {
        let v = SOFT[i];
        assert!(v.workgroup[0] * v.constant("RN") == v.constant("TN"));
        i += 1;
    }
};

/// Whether a view can be read four elements at a time along its rows.
fn by_four(view: &View, columns: usize) -> bool {
    view.offset.is_multiple_of(4) && view.row_stride.is_multiple_of(4) && columns.is_multiple_of(4)
}

/// Whether the operands can be read four elements at a time, and whether the result can be written so too.
fn vec4(form: Form, [m, n, k]: [usize; 3], [a, b, c]: [&View; 3]) -> [bool; 2] {
    let read = match form {
        Form::NN => by_four(a, k) && by_four(b, n),
        Form::NT => by_four(a, k) && by_four(b, k),
        Form::TN => by_four(a, m) && by_four(b, n),
    };
    [read, read && by_four(c, n)]
}

/// What a measurement of products is filed under: form, the bucket of the shape, alignment.
pub fn question(form: Form, shape: [usize; 3], views: [&View; 3]) -> String {
    let [m, n, k] = shape.map(bucket);
    let aligned = match vec4(form, shape, views) {
        [true, true] => "vec4",
        [true, false] => "vec4 in",
        [false, _] => "scalar",
    };
    format!("matmul {form:?} {m}x{n}x{k} {aligned}")
}

/// Every choice that is valid for a product on a target, best guess first. `views` are those of A, B and C.
pub fn choices(form: Form, shape: [usize; 3], views: [&View; 3], target: &Target) -> Vec<Choice> {
    let [m, n, _] = shape;
    let [vec4, vec4_out] = vec4(form, shape, views);
    let mut out = Vec::new();
    if target.software || !target.gpu {
        let wide = SOFT[form as usize * 2 + 1];
        let narrow = SOFT[form as usize * 2];
        let order = if m < 4 { [narrow, wide] } else { [wide, narrow] };
        out.extend(order.map(|v| Choice::new(&SOFT_KERNEL, v)));
    }
    if form == Form::NT && m <= 4 {
        let base = if m == 1 { 0 } else { 2 };
        if vec4 {
            out.push(Choice::new(&super::MATVEC, MATVEC[base]));
        }
        out.push(Choice::new(&super::MATVEC, MATVEC[base + 1]));
    }
    // A large tile reads less, but only pays once its workgroups can fill a GPU (tens of processors, two each).
    let large_groups = m.div_ceil(64) * n.div_ceil(64);
    let tiles = if large_groups >= 128 { [0, 2] } else { [2, 0] };
    for tile in tiles {
        if vec4_out {
            out.push(Choice::new(&KERNEL, TILED[form as usize * 4 + tile]));
        }
        out.push(Choice::new(&KERNEL, TILED[form as usize * 4 + tile + 1]));
    }
    out.retain(|c| {
        let v = c.variant;
        !target.gpu || (v.workgroup[0] <= target.invocations && v.shared_bytes <= target.workgroup_bytes)
    });
    if out.is_empty() {
        // Smaller than WebGPU promises: the kernel without workgroup memory needs the least.
        out.push(Choice::new(&SOFT_KERNEL, SOFT[form as usize * 2 + 1]));
    }
    out
}

/// The choice for a product on a target: what was measured to be fastest, else the best guess.
pub(super) fn choose(form: Form, shape: [usize; 3], views: [&View; 3], target: &Target) -> Choice {
    let choices = choices(form, shape, views, target);
    target.tuned(|| question(form, shape, views), &choices, |c| c.variant.name).unwrap_or(choices[0])
}
