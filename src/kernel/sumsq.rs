//! `sumsq`: partial sums of squares, in a fixed order; `tick` adds them up.

use super::call::params;
use super::cost::{Cost, Span};
use super::{Arg, BufferId, Command, Kernel, TwinCx, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    n: u32,
    offset: u32,
    chunk: u32,
    at: u32,
    groups: u32,
    pad: [u32; 3],
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "sumsq",
    access: &[Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::sumsq::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::sumsq::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::sumsq::ONLY.workgroup[0] == 256);

/// Partial sums that `tick` can add up.
pub const MOST: usize = 256;

/// How many partial sums `n` elements give: one per 4,096 elements, at most [`MOST`].
pub fn partials(n: usize) -> usize {
    n.div_ceil(4096).clamp(1, MOST)
}

/// partial\[at + g\] = the sum of squares of the g-th of `groups` (at least 1) equal runs of x\[offset..offset + n\].
pub fn command(
    (n, groups): (usize, usize),
    (x, offset): (BufferId, usize),
    (partial, at): (BufferId, usize),
) -> Command {
    let chunk = n.div_ceil(groups).next_multiple_of(256);
    let [n, offset, chunk, at] = [n, offset, chunk, at].map(|v| v as u32);
    let params = Params { n, offset, chunk, at, groups: groups as u32, pad: [0; 3] };
    Command::new(&KERNEL, &variant::sumsq::ONLY, &params, &[x, partial], [groups as u32, 1, 1])
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let n = p.n as usize;
    Cost::new(2 * n).reads(0, Span::dense(p.offset, n)).writes(1, Span::dense(p.at, p.groups as usize))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, partial] = args else { unreachable!("sumsq has two bindings") };
    let (n, chunk) = (p.n as usize, p.chunk as usize);
    let x = &x.read()[p.offset as usize..p.offset as usize + n];
    cx.rows(&mut partial.write()[p.at as usize..], 1, p.groups as usize, n, |first, out| {
        for (g, out) in out.iter_mut().enumerate() {
            let from = ((first + g) * chunk).min(n);
            let run = &x[from..(from + chunk).min(n)];
            *out = run.chunks(1024).map(|block| f64::from(squares(block))).sum::<f64>() as f32;
        }
    });
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2+fma"))]
fn squares(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 64];
    let (blocks, rest) = x.as_chunks::<64>();
    for block in blocks {
        for (lane, x) in lanes.iter_mut().zip(block) {
            *lane += x * x;
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += x * x;
    }
    let mut width = 32;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}
