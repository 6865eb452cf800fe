//! `mlp_grad`: an MLP forward and backward for a few rows of a batch in one workgroup, activations on chip; what the
//! gradients of the weights are products of is left on a tape for `mlp_grad_weights`.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::math::Activation;
use super::mlp_layers::{Layers, Record, WORDS, table};
use super::variant::{Variant, mlp_grad};
use super::{Arg, BufferId, Command, Kernel, Target, TwinCx, View};
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
    has_dx: u32,
    alpha: f32,
    beta: f32,
    x: [u32; 2],
    target: [u32; 2],
    y: [u32; 2],
    dx: [u32; 2],
    /// Groups of four of the packed weights.
    packed: u32,
    /// Multiply-adds of a row.
    work: u32,
    dim: u32,
    out: u32,
    pad: [u32; 2],
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "mlp_grad",
    access: &[
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Read,
        Access::Write,
        Access::Write,
        Access::Write,
    ],
    params_bytes: size_of::<Params>(),
    variants: VARIANTS,
    twin,
    cost,
};

/// Variants: the widest layer, the narrowest first; then rows of a workgroup, the most first.
static VARIANTS: &[&Variant] = &[
    &mlp_grad::ROWS16_COLS128,
    &mlp_grad::ROWS8_COLS128,
    &mlp_grad::ROWS4_COLS128,
    &mlp_grad::ROWS16_COLS256,
    &mlp_grad::ROWS8_COLS256,
    &mlp_grad::ROWS4_COLS256,
    &mlp_grad::ROWS16_COLS512,
    &mlp_grad::ROWS8_COLS512,
    &mlp_grad::ROWS4_COLS512,
];

const _: () = {
    let mut i = 0;
    while i < VARIANTS.len() {
        let v = VARIANTS[i];
        assert!(v.params_bytes as usize == size_of::<Params>());
        assert!(v.workgroup[0] == v.constant("LANES"));
        assert!(v.shared_bytes == 16 * v.constant("R") * v.constant("LANES"));
        // The parts of the depth divide a workgroup evenly.
        assert!(v.constant("LANES").is_multiple_of(v.constant("WIDE")));
        i += 1;
    }
};

/// Workgroups from which more rows in each pay: as many as a large GPU has processors. Below it, rows that share the reading of the
/// weights would leave processors idle.
const BUSY: usize = 128;

/// Every variant that can run `layers` on a target, best guess for this many rows first. None: a layer is too wide.
pub fn choices(layers: &Layers, rows: usize, target: &Target) -> Vec<&'static Variant> {
    let fits = |v: &&Variant| {
        layers.widest() <= 4 * v.constant("WIDE") as usize
            && (!target.gpu
                || (v.workgroup[0] <= target.invocations && v.shared_bytes <= target.workgroup_bytes))
    };
    let narrowest = VARIANTS.iter().filter(|v| fits(v)).map(|v| v.constant("WIDE")).min();
    let mut out: Vec<&'static Variant> =
        VARIANTS.iter().copied().filter(|v| fits(v) && Some(v.constant("WIDE")) == narrowest).collect();
    out.sort_by_key(|v| rows.div_ceil(v.constant("R") as usize) < BUSY);
    // None fills the device: the fewest rows a workgroup.
    if out.first().is_some_and(|v| rows.div_ceil(v.constant("R") as usize) < BUSY) {
        out.reverse();
    }
    out
}

/// What a pass reads and writes. Matrices have plain rows.
#[derive(Clone, Copy, Debug)]
pub struct Buffers {
    /// [`Layers::words`].
    pub table: BufferId,
    /// As `mlp_pack` leaves them.
    pub weights: BufferId,
    /// The first operand.
    pub x: (BufferId, View),
    /// What the result is compared with.
    pub target: (BufferId, View),
    /// [`Layers::tape`] elements a row, dense.
    pub tape: BufferId,
    /// The result.
    pub y: (BufferId, View),
    /// The first operand's cotangent; any buffer of its own where it is not wanted.
    pub dx: (BufferId, View),
}

/// Forward, then backward from the cotangent `alpha` y + `beta` target of the result, by a variant of [`choices`].
pub fn command(
    variant: &'static Variant,
    layers: &Layers,
    rows: usize,
    [alpha, beta]: [f32; 2],
    buffers: &Buffers,
) -> Command {
    let b = buffers;
    debug_assert!([b.x, b.target, b.y, b.dx].iter().all(|(_, view)| view.plain_rows()));
    let place = |view: &View| [view.offset, view.row_stride];
    let params = Params {
        rows: rows as u32,
        layers: layers.list().len() as u32,
        stride: (layers.tape() / 4) as u32,
        has_dx: u32::from(layers.wants_dx),
        alpha,
        beta,
        x: place(&b.x.1),
        target: place(&b.target.1),
        y: place(&b.y.1),
        dx: place(&b.dx.1),
        packed: (layers.packed() / 4) as u32,
        work: layers.row_work() as u32,
        dim: layers.dim() as u32,
        out: layers.out() as u32,
        pad: [0; 2],
    };
    let args = [b.table, b.weights, b.x.0, b.target.0, b.tape, b.y.0, b.dx.0];
    Command::new(&KERNEL, variant, &params, &args, fold(rows, variant.constant("R")))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let [rows, dim, out] = [p.rows, p.dim, p.out].map(|n| n as usize);
    let cost = Cost::new(2 * rows * p.work as usize).reads(0, Span::dense(0, WORDS * p.layers as usize));
    let cost = cost.reads(1, Span::dense(0, 4 * p.packed as usize));
    let cost = cost.reads(2, Span::rows(p.x, [rows, dim])).reads(3, Span::rows(p.target, [rows, out]));
    let cost = cost.writes(4, Span::dense(0, 4 * rows * p.stride as usize));
    let cost = cost.writes(5, Span::rows(p.y, [rows, out]));
    if p.has_dx != 0 { cost.writes(6, Span::rows(p.dx, [rows, dim])) } else { cost }
}

/// Row by row on one thread: the CPU runs training steps layer by layer, where blocked products are faster.
fn twin(words: &[u32], args: &mut [Arg<'_>], _: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [layers, weights, x, goal, tape, y, dx] = args else { unreachable!("mlp_grad has seven bindings") };
    let layers = table(layers.read(), p.layers);
    let (weights, x, goal) = (weights.read(), x.read(), goal.read());
    let (tape, y, dx) = (tape.write(), y.write(), dx.write());
    let (dim, out) = (p.dim as usize, p.out as usize);
    let place = |[offset, ld]: [u32; 2], i: usize| offset as usize + i * ld as usize;
    let Some((last, inner)) = layers.split_last() else { return };
    let widest = layers.iter().map(|l| 4 * l.n4().max(l.k4())).max().unwrap_or(0);
    let (mut chip, mut sums) = (vec![0.0f32; widest], vec![0.0f32; widest]);
    for i in 0..p.rows as usize {
        let tape = &mut tape[4 * p.stride as usize * i..][..4 * p.stride as usize];
        let first = &mut tape[4 * layers[0].x as usize..][..4 * layers[0].k4()];
        first.fill(0.0);
        first[..dim].copy_from_slice(&x[place(p.x, i)..][..dim]);
        for (l, layer) in inner.iter().enumerate() {
            let z = forward(layer, weights, tape, &mut sums);
            tape[4 * layer.z as usize..][..z.len()].copy_from_slice(z);
            let h = &mut tape[4 * layers[l + 1].x as usize..][..z.len()];
            let n = layer.n as usize;
            super::math::apply(act(layer), 0, &z[..n], &mut h[..n]);
            h[n..].fill(0.0);
        }
        let z = forward(last, weights, tape, &mut sums);
        y[place(p.y, i)..][..out].copy_from_slice(&z[..out]);
        let d = &mut tape[4 * last.z as usize..][..4 * last.n4()];
        d.fill(0.0);
        for ((d, z), goal) in d.iter_mut().zip(&z[..out]).zip(&goal[place(p.target, i)..]) {
            *d = p.alpha * z + p.beta * goal;
        }
        for (l, layer) in layers.iter().enumerate().rev() {
            if l == 0 && p.has_dx == 0 {
                break;
            }
            let (n4, k, k4) = (layer.n4(), layer.k as usize, layer.k4());
            let d = &mut chip[..4 * n4];
            d.copy_from_slice(&tape[4 * layer.z as usize..][..4 * n4]);
            let back = &mut sums[..4 * k4];
            multiply(d, &weights[4 * layer.backward as usize..], back);
            match l.checked_sub(1).map(|before| &layers[before]) {
                Some(before) => {
                    let z = &mut tape[4 * before.z as usize..][..4 * k4];
                    let slope = &mut chip[..k];
                    super::math::apply(act(before), 1, &z[..k], slope);
                    z.fill(0.0);
                    z.iter_mut().zip(slope.iter().zip(&*back)).for_each(|(z, (s, b))| *z = s * b);
                }
                None => dx[place(p.dx, i)..][..k].copy_from_slice(&back[..k]),
            }
        }
    }
}

fn act(layer: &Record) -> Activation {
    Activation::from_code(layer.act).unwrap_or_default()
}

/// z of a layer for the row whose tape this is.
fn forward<'a>(layer: &Record, weights: &[f32], tape: &[f32], sums: &'a mut [f32]) -> &'a [f32] {
    let (n4, k4) = (layer.n4(), layer.k4());
    let matrix = &weights[4 * layer.forward as usize..];
    let z = &mut sums[..4 * n4];
    multiply(&tape[4 * layer.x as usize..][..4 * k4], matrix, z);
    z.iter_mut().zip(&matrix[16 * k4 * n4..]).for_each(|(z, b)| *z += b);
    z
}

/// y = x M, M [x.len(), y.len()] from the start of `matrix`.
#[multiversion::multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2+fma"))]
fn multiply(x: &[f32], matrix: &[f32], y: &mut [f32]) {
    y.fill(0.0);
    for (x, row) in x.iter().zip(matrix.chunks_exact(y.len())) {
        y.iter_mut().zip(row).for_each(|(y, m)| *y += x * m);
    }
}
