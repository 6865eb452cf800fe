//! `group_norm_grad`: the product of group norm's Jacobian with a matrix.

use super::call::params;
use super::cost::Cost;
use super::group_norm::{Groups, each_sample, groups, statistics};
use super::rowwise::{Row, tile, tile_agrees};
use super::{Arg, BufferId, Command, Kernel, TwinCx, Variant, View, call, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};
use multiversion::multiversion;

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    samples: u32,
    steps: u32,
    channels: u32,
    groups: u32,
    eps: f32,
    pad: [u32; 3],
    x: View,
    d: View,
    y: View,
}

const VARIANTS: [&Variant; 3] =
    [&variant::group_norm_grad::THIN, &variant::group_norm_grad::NARROW, &variant::group_norm_grad::WIDE];

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "group_norm_grad",
    access: &[Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &VARIANTS,
    twin,
    cost,
};
const _: () = assert!(tile_agrees(&VARIANTS, size_of::<Params>()));

/// y = J(x) d per sample and group, where J is the (symmetric) Jacobian of xhat (see [`super::group_norm`]) for x: it
/// takes cotangents of xhat to those of x, and tangents of x to those of xhat. All are [samples * steps, channels].
pub fn command(
    eps: f32,
    shape: Groups,
    (x, x_view): (BufferId, View),
    (d, d_view): (BufferId, View),
    (y, y_view): (BufferId, View),
) -> Command {
    let params = Params {
        samples: shape.samples as u32,
        steps: shape.steps as u32,
        channels: shape.channels as u32,
        groups: shape.groups as u32,
        eps,
        pad: [0; 3],
        x: x_view,
        d: d_view,
        y: y_view,
    };
    let variant = tile(shape.steps * shape.width(), VARIANTS);
    let grid = call::fold(shape.samples * shape.groups, variant.constant("R"));
    Command::new(&KERNEL, variant, &params, &[x, d, y], grid)
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    Cost::elementwise(12, [(p.samples * p.steps) as usize, p.channels as usize], &[&p.x, &p.d], &p.y)
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, d, y] = args else { unreachable!("group_norm_grad has three bindings") };
    let (x, d, y) = (x.read(), d.read(), &mut y.write()[p.y.offset as usize..]);
    let shape = groups([p.samples, p.steps, p.channels, p.groups]);
    let (ld, width) = (p.y.row_stride as usize, shape.width());
    let share = 1.0 / (shape.steps * width) as f64;
    each_sample(cx, y, ld, &shape, 6, |s, y| {
        for g in 0..shape.groups {
            let (mean, rstd) = statistics(x, &p.x, &shape, [s, g], p.eps);
            let at = |t: usize| {
                let row = |data, view| Row::of(data, view, s * shape.steps + t, g * width, width);
                (row(x, &p.x), row(d, &p.d))
            };
            let (mut d_mean, mut slope) = (0.0f64, 0.0f64);
            for t in 0..shape.steps {
                let (x, d) = at(t);
                let [sum, inner] = sums(x, d, mean, width);
                d_mean += f64::from(sum) * share;
                slope += f64::from(inner) * f64::from(rstd) * share;
            }
            for t in 0..shape.steps {
                let (x, d) = at(t);
                line(x, d, [mean, rstd, d_mean as f32, slope as f32], &mut y[t * ld + g * width..][..width]);
            }
        }
    });
}

/// Partial sums of a row, side by side.
const LANES: usize = 16;

/// The sums over a row of d and of d (x - mean), in a fixed order.
#[multiversion(targets("x86_64+avx2+fma"))]
fn sums(x: Row<'_>, d: Row<'_>, mean: f32, width: usize) -> [f32; 2] {
    super::rowwise::forms!(
        x,
        width,
        super::rowwise::forms!(d, width, {
            let mut lanes = [[0.0f32; 2]; LANES];
            for j in (0..width).step_by(LANES) {
                for (l, [sum, inner]) in lanes.iter_mut().enumerate().take(width - j) {
                    let g = d(j + l);
                    *sum += g;
                    *inner += g * (x(j + l) - mean);
                }
            }
            lanes.into_iter().fold([0.0; 2], |[a, b], [sum, inner]| [a + sum, b + inner])
        })
    )
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn line(x: Row<'_>, d: Row<'_>, [mean, rstd, d_mean, slope]: [f32; 4], y: &mut [f32]) {
    let n = y.len();
    super::rowwise::forms!(
        x,
        n,
        super::rowwise::forms!(d, n, {
            (0..n).for_each(|j| y[j] = rstd * (d(j) - d_mean - (x(j) - mean) * rstd * slope));
        })
    )
}
