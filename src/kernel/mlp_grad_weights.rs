//! `mlp_grad_weights`: the gradients of all weights and biases of an MLP from the tape of `mlp_grad`, all layers at once.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::mlp_layers::{Layers, WORDS, table};
use super::variant::{Variant, mlp_grad_weights};
use super::{Arg, BufferId, Command, Kernel, Target, TwinCx};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    rows: u32,
    layers: u32,
    /// Groups of four in a row of the tape.
    stride: u32,
    /// Gradients that it writes.
    elements: u32,
    /// Multiply-adds of a row.
    work: u32,
    pad: [u32; 3],
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "mlp_grad_weights",
    // What lies between the gradients stays.
    access: &[Access::Read, Access::Read, Access::ReadWrite],
    params_bytes: size_of::<Params>(),
    variants: VARIANTS,
    twin,
    cost,
};

/// Variants: tiles of 32, then of 16.
static VARIANTS: &[&Variant] = &[&mlp_grad_weights::TILE32, &mlp_grad_weights::TILE16];

const _: () = {
    let mut i = 0;
    while i < VARIANTS.len() {
        let v = VARIANTS[i];
        assert!(v.params_bytes as usize == size_of::<Params>());
        // T by T invocations hold four vectors each, for every part of the batch.
        assert!(v.workgroup[0] == 256 && v.shared_bytes == 4 * 16 * 256);
        assert!(256 % (v.constant("T") * v.constant("T")) == 0);
        i += 1;
    }
};

/// Tiles that fill a large GPU.
const BUSY: usize = 128;

/// Tiles of all layers.
fn tiles(layers: &Layers, variant: &Variant) -> usize {
    let side = 4 * variant.constant("T") as usize;
    layers.list().iter().map(|l| l.size[0].div_ceil(side) * l.size[1].div_ceil(side)).sum()
}

/// Every variant that a target can run, best guess first: large tiles, where they are enough.
pub fn choices(layers: &Layers, target: &Target) -> Vec<&'static Variant> {
    let fits = |v: &&Variant| {
        !target.gpu || (v.workgroup[0] <= target.invocations && v.shared_bytes <= target.workgroup_bytes)
    };
    let mut out: Vec<&'static Variant> = VARIANTS.iter().copied().filter(fits).collect();
    if out.first().is_some_and(|v| tiles(layers, v) < BUSY) {
        out.reverse();
    }
    out
}

/// The gradients of `layers` over `rows` rows of `tape`, to their places in `grads`, by a variant of [`choices`]; `table` holds
/// [`Layers::words`].
pub fn command(
    variant: &'static Variant,
    layers: &Layers,
    rows: usize,
    [table, tape, grads]: [BufferId; 3],
) -> Command {
    let params = Params {
        rows: rows as u32,
        layers: layers.list().len() as u32,
        stride: (layers.tape() / 4) as u32,
        elements: layers.elements() as u32,
        work: layers.weight_work() as u32,
        pad: [0; 3],
    };
    let grid = fold(tiles(layers, variant), 1);
    Command::new(&KERNEL, variant, &params, &[table, tape, grads], grid)
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let rows = p.rows as usize;
    let cost = Cost::new(2 * rows * p.work as usize).reads(0, Span::dense(0, WORDS * p.layers as usize));
    let cost = cost.reads(1, Span::dense(0, 4 * rows * p.stride as usize));
    cost.writes(2, Span::scattered(p.elements as usize))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [layers, tape, grads] = args else { unreachable!("mlp_grad_weights has three bindings") };
    let (tape, grads) = (tape.read(), grads.write());
    let stride = 4 * p.stride as usize;
    let rows = || tape.chunks_exact(stride.max(1)).take(p.rows as usize);
    for layer in table(layers.read(), p.layers) {
        let (n, k) = (layer.n as usize, layer.k as usize);
        let (d, x) = (4 * layer.z as usize, 4 * layer.x as usize);
        let dw = &mut grads[layer.weight as usize..][..n * k];
        cx.rows(dw, k, n, rows().len() * n * k, |first, dw| {
            dw.fill(0.0);
            for row in rows() {
                let x = &row[x..x + k];
                for (d, dw) in row[d + first..].iter().zip(dw.chunks_exact_mut(k)) {
                    axpy(*d, x, dw);
                }
            }
        });
        let db = &mut grads[layer.bias as usize..][..n];
        db.fill(0.0);
        rows().for_each(|row| axpy(1.0, &row[d..d + n], db));
    }
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2+fma"))]
fn axpy(factor: f32, x: &[f32], y: &mut [f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += factor * x);
}
