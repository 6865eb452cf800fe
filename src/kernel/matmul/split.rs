//! `matmul_split`: the parts of a product by slices of k, for outputs of so few tiles that most of a GPU would idle (the gradient of
//! a weight over thousands of rows, few rows of great depth). `matmul_join` adds them and applies the epilogue.
//!
//! A product that is to be split is one command of `matmul` until the plan is finished, so that whatever looks for products finds
//! it; then [`halves`] puts two in its place.

use super::choose::{BUSY, Choice, agrees};
use super::cpu::{self, Panel};
use super::dot::Operand;
use super::{Call, Form, KERNEL, join};
use crate::device::Access;
use crate::kernel::call::{fold, params};
use crate::kernel::cost::{Cost, Span};
use crate::kernel::variant::matmul_split;
use crate::kernel::{Arg, BufferId, Command, Kernel, TwinCx, Variant, View};
use bytemuck::{Pod, Zeroable};

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    m: u32,
    n: u32,
    k: u32,
    form: u32,
    a_offset: u32,
    a_ld: u32,
    b_offset: u32,
    b_ld: u32,
    groups_n: u32,
    tiles: u32,
    slice: u32,
    slices: u32,
}

/// Form, then tile, then load width.
static VARIANTS: &[&Variant] = &[
    &matmul_split::NN_LARGE_VEC4,
    &matmul_split::NN_LARGE_SCALAR,
    &matmul_split::NN_SMALL_VEC4,
    &matmul_split::NN_SMALL_SCALAR,
    &matmul_split::NN_FLAT_VEC4,
    &matmul_split::NN_FLAT_SCALAR,
    &matmul_split::NT_LARGE_VEC4,
    &matmul_split::NT_LARGE_SCALAR,
    &matmul_split::NT_SMALL_VEC4,
    &matmul_split::NT_SMALL_SCALAR,
    &matmul_split::NT_FLAT_VEC4,
    &matmul_split::NT_FLAT_SCALAR,
    &matmul_split::TN_LARGE_VEC4,
    &matmul_split::TN_LARGE_SCALAR,
    &matmul_split::TN_SMALL_VEC4,
    &matmul_split::TN_SMALL_SCALAR,
    &matmul_split::TN_FLAT_VEC4,
    &matmul_split::TN_FLAT_SCALAR,
];

/// The kernel.
pub static SPLIT: Kernel = Kernel {
    name: "matmul_split",
    access: &[Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: VARIANTS,
    twin,
    cost,
};
const _: () = {
    let mut i = 0;
    while i < VARIANTS.len() {
        assert!(agrees(VARIANTS[i]) && VARIANTS[i].params_bytes as usize == size_of::<Params>());
        assert!(TK.is_multiple_of(VARIANTS[i].constant("TK") as usize));
        i += 1;
    }
};

/// What a slice's depth is a multiple of.
const TK: usize = 16;
/// Slices from which the guess is to split.
const FEW: usize = 4;

/// The tile of a split product, by the shape of its output, as an index.
fn tile([m, n]: [usize; 2]) -> usize {
    match () {
        () if m <= 16 => 2,
        () if m.min(n) <= 32 => 1,
        () => 0,
    }
}

/// Tiles of an output, and slices of k: so many that two workgroups of each of [`BUSY`] processors have work, but each so deep that it
/// reads eight times what its part costs to write and to read again. By the shape alone, so that the order of summation is too.
fn parts([m, n, k]: [usize; 3]) -> [usize; 2] {
    let [tm, tn] = ["TM", "TN"].map(|side| VARIANTS[2 * tile([m, n])].constant(side) as usize);
    let tiles = m.div_ceil(tm) * n.div_ceil(tn);
    let least = 8 * 2 * tm * tn / (tm + tn);
    [tiles, (2 * BUSY / tiles.max(1)).min(k / least)]
}

/// Whether the guess is to split a product.
pub(super) fn pays([m, n, k]: [usize; 3]) -> bool {
    let [tiles, slices] = parts([m, n, k]);
    tiles < BUSY && slices >= FEW
}

/// The split variants that suit a product, best guess first; none where there would be one slice.
pub(super) fn choices(form: Form, [m, n, k]: [usize; 3], vec4: bool) -> impl Iterator<Item = Choice> {
    let first = form as usize * 6 + 2 * tile([m, n]);
    let wanted = [(first, vec4), (first + 1, true)];
    let there = m * n > 0 && parts([m, n, k])[1] > 1;
    wanted.into_iter().filter(move |(_, may)| *may && there).map(|(at, _)| Choice::new(&KERNEL, VARIANTS[at]))
}

/// Depth of a slice of a product that is to be split, and how many there are.
pub fn slices(shape: [usize; 3]) -> [usize; 2] {
    let k = shape[2];
    let depth = k.div_ceil(parts(shape)[1].max(1)).next_multiple_of(TK).max(TK);
    [depth, k.div_ceil(depth)]
}

/// The elements that the parts of a command take, if it is a product that is to be split.
pub fn scratch(command: &Command) -> Option<usize> {
    let planned = std::ptr::eq(command.kernel, &KERNEL) && command.variant.kernel == SPLIT.name;
    let [m, n, k] = Call::of(command).filter(|_| planned)?.size;
    Some(slices([m, n, k])[1] * m * n)
}

/// The two commands of a product that is to be split, with its parts at the start of `scratch`.
pub fn halves(command: &Command, scratch: BufferId) -> Option<[Command; 2]> {
    let call = Call::of(command)?;
    let ([m, n, k], variant) = (call.size, command.variant);
    let [slice, slices] = slices(call.size);
    let [groups_m, groups_n] =
        [(m, "TM"), (n, "TN")].map(|(size, side)| size.div_ceil(variant.constant(side) as usize));
    let params = Params {
        m: m as u32,
        n: n as u32,
        k: k as u32,
        form: call.form as u32,
        a_offset: call.a.1.offset,
        a_ld: call.a.1.row_stride,
        b_offset: call.b.1.offset,
        b_ld: call.b.1.row_stride,
        groups_n: groups_n as u32,
        tiles: (groups_m * groups_n) as u32,
        slice: slice as u32,
        slices: slices as u32,
    };
    let grid = fold(groups_m * groups_n * slices, 1);
    let split = Command::new(&SPLIT, variant, &params, &[call.a.0, call.b.0, scratch], grid);
    // What is bound where bias or residual is absent stays bound.
    let [_, _, bias, residual, _] = command.args[..] else { return None };
    Some([split, join::command(command, slices, scratch, [bias, residual])])
}

/// The product whose parts `split` computes and `join` adds.
pub(super) fn call(split: &Command, join: &Command) -> Option<Call> {
    if !std::ptr::eq(split.kernel, &SPLIT) {
        return None;
    }
    let p: &Params = params(&split.params);
    let view = |offset: u32, ld: u32| View::strided(offset as usize, ld as usize);
    let [a, b, _] = split.args[..] else { return None };
    let (c, epilogue) = join::result(join)?;
    Some(Call {
        form: cpu::form(p.form),
        size: [p.m, p.n, p.k].map(|d| d as usize),
        a: (a, view(p.a_offset, p.a_ld)),
        b: (b, view(p.b_offset, p.b_ld)),
        c,
        epilogue,
    })
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let [m, n, k, slices] = [p.m, p.n, p.k, p.slices].map(|d| d as usize);
    let (a, b) = cpu::form(p.form).operands([m, n, k]);
    let cost = Cost::new(2 * m * n * k).reads(0, Span::rows([p.a_offset, p.a_ld], a));
    let cost = cost.reads(1, Span::rows([p.b_offset, p.b_ld], b));
    cost.writes(2, Span::dense(0, slices * m * n))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [a, b, c] = args else { unreachable!("a split product has three bindings") };
    let [m, n, k, slice] = [p.m, p.n, p.k, p.slice].map(|d| d as usize);
    if m * n == 0 {
        return;
    }
    let form = cpu::form(p.form);
    let a = Operand { data: &a.read()[p.a_offset as usize..], ld: p.a_ld as usize };
    let b = Operand { data: &b.read()[p.b_offset as usize..], ld: p.b_ld as usize };
    for (s, part) in c.write()[..p.slices as usize * m * n].chunks_exact_mut(m * n).enumerate() {
        let first = s * slice;
        let (a_at, b_at) = match form {
            Form::NN => (first, first * b.ld),
            Form::NT => (first, first),
            Form::TN => (first * a.ld, first * b.ld),
        };
        let (a, b) = (Operand { data: &a.data[a_at..], ..a }, Operand { data: &b.data[b_at..], ..b });
        cpu::product(form, [m, n, slice.min(k - first)], a, b, Panel::new(part, n), cx);
    }
}
