//! Which WGSL variant runs a product, and on what grid.

use super::{Form, KERNEL, SOFT as SOFT_KERNEL, split};
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
    pub(super) const fn new(kernel: &'static Kernel, variant: &'static Variant) -> Choice {
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
    &matmul::NN_HUGE_VEC4,
    &matmul::NN_HUGE_SCALAR,
    &matmul::NN_LARGE_VEC4,
    &matmul::NN_LARGE_SCALAR,
    &matmul::NN_SMALL_VEC4,
    &matmul::NN_SMALL_SCALAR,
    &matmul::NN_FLAT_VEC4,
    &matmul::NN_FLAT_SCALAR,
    &matmul::NT_HUGE_VEC4,
    &matmul::NT_HUGE_SCALAR,
    &matmul::NT_LARGE_VEC4,
    &matmul::NT_LARGE_SCALAR,
    &matmul::NT_SMALL_VEC4,
    &matmul::NT_SMALL_SCALAR,
    &matmul::NT_FLAT_VEC4,
    &matmul::NT_FLAT_SCALAR,
    &matmul::TN_HUGE_VEC4,
    &matmul::TN_HUGE_SCALAR,
    &matmul::TN_LARGE_VEC4,
    &matmul::TN_LARGE_SCALAR,
    &matmul::TN_SMALL_VEC4,
    &matmul::TN_SMALL_SCALAR,
    &matmul::TN_FLAT_VEC4,
    &matmul::TN_FLAT_SCALAR,
];
/// Variants of `matvec`: rows, then load width, then who adds.
pub(super) static MATVEC: &[&Variant] = &[
    &matvec::ONE_VEC4_TREE,
    &matvec::ONE_VEC4_SUBGROUP,
    &matvec::ONE_SCALAR_TREE,
    &matvec::ONE_SCALAR_SUBGROUP,
    &matvec::FOUR_VEC4_TREE,
    &matvec::FOUR_VEC4_SUBGROUP,
    &matvec::FOUR_SCALAR_TREE,
    &matvec::FOUR_SCALAR_SUBGROUP,
];
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

/// Whether a tiled variant's workgroup owns its tile and stages a slab of it, and what it stages fits.
pub(super) const fn agrees(v: &Variant) -> bool {
    let [tm, tn, tk] = [v.constant("TM"), v.constant("TN"), v.constant("TK")];
    // Blocks of 4x4 of A and B: one for each invocation, or (flat tiles) one of B for each and A's for the first.
    let [a, b, threads] = [tm * tk / 16, tn * tk / 16, v.workgroup[0]];
    let staged = a + b == threads || (b == threads && a <= threads);
    threads == (tm / v.constant("RM")) * (tn / v.constant("RN"))
        && staged
        && v.shared_bytes == 4 * (tm + tn) * tk
}

// The shaders' shapes, as the grid and the staging loops assume them.
const _: () = {
    let mut i = 0;
    while i < TILED.len() {
        let v = TILED[i];
        assert!(agrees(v));
        i += 1;
    }
    let mut i = 0;
    while i < MATVEC.len() {
        let v = MATVEC[i];
        let columns = if v.needs.is_empty() { v.constant("TN") } else { 1 };
        assert!(v.workgroup[0] == columns * v.constant("LANES"));
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

/// A tile of C, in the order of `TILED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tile {
    /// 128 x 128: reads least, but needs the most outputs.
    Huge,
    /// 64 x 64.
    Large,
    /// 32 x 32.
    Small,
    /// 16 x 128: few rows.
    Flat,
}

impl Tile {
    /// How many there are.
    pub(super) const COUNT: usize = 4;
}

/// Workgroups of a tile that fill a GPU: tens to a hundred processors, one or two each.
pub(super) const BUSY: usize = 128;

/// The tiles that suit an output of m rows and n columns, best guess first.
fn tiles([m, n]: [usize; 2]) -> Vec<Tile> {
    let groups = |side: usize| m.div_ceil(side) * n.div_ceil(side);
    let mut out = match () {
        () if m <= 16 => vec![Tile::Flat, Tile::Small, Tile::Large],
        // A larger tile reads less, but only pays once its workgroups fill the GPU. The largest takes a processor's registers
        // twice over, so two of them must find work on each.
        () if groups(128) >= 2 * BUSY => vec![Tile::Huge, Tile::Large, Tile::Small],
        () if groups(64) >= BUSY => vec![Tile::Large, Tile::Small],
        () => vec![Tile::Small, Tile::Large],
    };
    // Others to measure, unless more than half of the tile would be empty.
    if m.min(n) > 64 && !out.contains(&Tile::Huge) {
        out.push(Tile::Huge);
    }
    if (17..=32).contains(&m) {
        out.push(Tile::Flat);
    }
    out
}

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
    let [m, n, k] = shape;
    let [vec4, vec4_out] = vec4(form, shape, views);
    let mut out = Vec::new();
    if target.software || !target.gpu {
        let wide = SOFT[form as usize * 2 + 1];
        let narrow = SOFT[form as usize * 2];
        let order = if m < 4 { [narrow, wide] } else { [wide, narrow] };
        out.extend(order.map(|v| Choice::new(&SOFT_KERNEL, v)));
    }
    if form == Form::NT && m <= 4 {
        let base = if m == 1 { 0 } else { 4 };
        for (at, loads) in [(base, k / 4), (base + 2, k)].into_iter().skip(usize::from(!vec4)) {
            // All invocations of the workgroup share a column where each has something to load: more loads in flight.
            let shared = target.subgroup_ops && loads >= MATVEC[at + 1].constant("LANES") as usize;
            let order = if shared { [at + 1, at] } else { [at, at + 1] };
            let there = order.into_iter().filter(|v| target.subgroup_ops || MATVEC[*v].needs.is_empty());
            out.extend(there.map(|v| Choice::new(&super::MATVEC, MATVEC[v])));
        }
    }
    let whole = |tile: Tile, out: &mut Vec<Choice>| {
        let first = (form as usize * Tile::COUNT + tile as usize) * 2;
        if vec4_out {
            out.push(Choice::new(&KERNEL, TILED[first]));
        }
        out.push(Choice::new(&KERNEL, TILED[first + 1]));
    };
    let tiles = tiles([m, n]);
    let parts = split::choices(form, shape, vec4_out).filter(|_| target.gpu);
    // Slices pay for their second kernel when there are several and the tiles leave most of a GPU idle.
    let (first, second) = if split::pays(shape) { (Some(parts), None) } else { (None, Some(parts)) };
    out.extend(first.into_iter().flatten());
    tiles.iter().for_each(|tile| whole(*tile, &mut out));
    out.extend(second.into_iter().flatten());
    // llvmpipe is fastest by the largest tile wherever most of it is used; SwiftShader, with its narrow vectors, never is.
    if target.software && target.subgroup_min >= 8 && m.min(n).min(k) > 64 {
        out.sort_by_key(|c| c.tile != [128, 128]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::matmul::slices;

    fn guess(form: Form, shape: [usize; 3], target: &Target) -> &'static str {
        let (a, b) = form.operands(shape);
        let views = [a[1], b[1], shape[1]].map(|cols| View::dense(0, cols));
        choices(form, shape, [&views[0], &views[1], &views[2]], target)[0].variant.name
    }

    #[test]
    fn guesses_by_shape() {
        let gpu = |form, shape| guess(form, shape, &Target::MINIMAL_GPU);
        assert_eq!(gpu(Form::NT, [4096; 3]), "matmul_nt_huge_vec4");
        assert_eq!(gpu(Form::NT, [65_536, 256, 256]), "matmul_nt_huge_vec4");
        assert_eq!(gpu(Form::NT, [4096, 256, 256]), "matmul_nt_large_vec4");
        assert_eq!(gpu(Form::NT, [256, 256, 256]), "matmul_nt_small_vec4");
        assert_eq!(gpu(Form::NT, [16, 256, 256]), "matmul_nt_flat_vec4");
        assert_eq!(gpu(Form::NT, [4, 1024, 5120]), "matvec_four_vec4_tree");
        let subgroups = Target { subgroup_ops: true, ..Target::MINIMAL_GPU };
        assert_eq!(guess(Form::NT, [4, 1024, 5120], &subgroups), "matvec_four_vec4_subgroup");
        assert_eq!(guess(Form::NT, [1, 256, 64], &subgroups), "matvec_one_vec4_tree");
        // A weight's gradient, a U-Net's products at batch 1.
        assert_eq!(gpu(Form::TN, [256, 256, 16_384]), "matmul_split_tn_large_vec4");
        assert_eq!(gpu(Form::TN, [256, 13, 16_384]), "matmul_split_tn_small_scalar");
        assert_eq!(gpu(Form::NT, [16, 1024, 5120]), "matmul_split_nt_flat_vec4");
        // Enough tiles, or too shallow.
        assert_eq!(gpu(Form::TN, [1024, 1024, 16_384]), "matmul_tn_large_vec4");
        assert_eq!(gpu(Form::TN, [256, 256, 1024]), "matmul_tn_small_vec4");
    }

    #[test]
    fn slices_are_of_the_shape_alone_and_cover_the_depth() {
        assert_eq!(slices([256, 256, 16_384]), [1024, 16]);
        assert_eq!(slices([16, 1024, 5120]), [240, 22]);
        for shape in [[1, 31, 500], [7, 65, 997], [33, 65, 1031], [2000, 3, 70_001]] {
            let [depth, count] = slices(shape);
            assert!(
                depth % 16 == 0 && (count - 1) * depth < shape[2] && count * depth >= shape[2],
                "{shape:?}"
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_not_offered() {
        let small = Target { workgroup_bytes: 8192, invocations: 128, ..Target::MINIMAL_GPU };
        assert_eq!(guess(Form::NT, [4096; 3], &small), "matmul_nt_large_vec4");
        assert_eq!(guess(Form::NT, [16, 256, 256], &small), "matmul_nt_small_vec4");
        for target in [Target { software: true, ..Target::MINIMAL_GPU }, Target::CPU] {
            assert_eq!(guess(Form::TN, [256, 256, 16_384], &target), "matmul_soft_tn_rows8");
        }
        let wide = Target { software: true, subgroup_min: 8, ..Target::MINIMAL_GPU };
        assert_eq!(guess(Form::TN, [256, 256, 16_384], &wide), "matmul_tn_huge_vec4");
        assert_eq!(guess(Form::NT, [64, 256, 256], &wide), "matmul_soft_nt_rows8");
    }
}
