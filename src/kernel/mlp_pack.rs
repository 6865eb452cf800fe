//! `mlp_pack`: the weights and biases of an MLP laid out for `mlp_grad`, all layers at once.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::mlp_layers::{Layers, NONE, WORDS, table};
use super::{Arg, BufferId, Command, Kernel, TwinCx, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    layers: u32,
    groups: u32,
    weights: u32,
    pad: u32,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "mlp_pack",
    access: &[Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::mlp_pack::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::mlp_pack::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::mlp_pack::ONLY.workgroup[0] == 64);

/// y = the packed weights of `layers`, whose [`Layers::words`] are in `table`, from the flat buffer `params`; y has
/// [`Layers::packed`] elements.
pub fn command(layers: &Layers, table: BufferId, params: BufferId, y: BufferId) -> Command {
    let groups = layers.packed() / 4;
    let params_ = Params {
        layers: layers.list().len() as u32,
        groups: groups as u32,
        weights: layers.elements() as u32,
        pad: 0,
    };
    Command::new(&KERNEL, &variant::mlp_pack::ONLY, &params_, &[table, params, y], fold(groups, 64))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let cost = Cost::new(0).reads(0, Span::dense(0, WORDS * p.layers as usize));
    let cost = cost.reads(1, Span::scattered(p.weights as usize));
    cost.writes(2, Span::dense(0, 4 * p.groups as usize))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], _: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [layers, weights, y] = args else { unreachable!("mlp_pack has three bindings") };
    let (weights, y) = (weights.read(), y.write());
    for layer in table(layers.read(), p.layers) {
        let (n, k, n4, k4) = (layer.n as usize, layer.k as usize, layer.n4(), layer.k4());
        let w = &weights[layer.weight as usize..][..n * k];
        let y = &mut y[4 * layer.forward as usize..];
        let (turned, y) = y.split_at_mut(16 * k4 * n4);
        turned.fill(0.0);
        for (j, row) in w.chunks_exact(k).enumerate() {
            row.iter().enumerate().for_each(|(d, v)| turned[4 * d * n4 + j] = *v);
        }
        let (bias, y) = y.split_at_mut(4 * n4);
        bias.fill(0.0);
        bias[..n].copy_from_slice(&weights[layer.bias as usize..][..n]);
        if layer.backward != NONE {
            let straight = &mut y[..16 * n4 * k4];
            straight.fill(0.0);
            for (to, row) in straight.chunks_exact_mut(4 * k4).zip(w.chunks_exact(k)) {
                to[..k].copy_from_slice(row);
            }
        }
    }
}
