//! `conv1d`: a convolution along time as a product whose left side are windows that are read where they lie (implicit GEMM), so
//! that they need no memory and no pass of their own.
//!
//! `unfold1d` and the product of its windows are two commands until the plan is finished, so that whatever looks for products finds
//! it; then [`merged`] puts one in their place.

use super::choose::{TILED, Tile, agrees};
use super::{ACCESS, Form, KERNEL, Params as Product, cpu};
use crate::kernel::call::params;
use crate::kernel::cost::{Cost, Span};
use crate::kernel::unfold1d::{self, Windows};
use crate::kernel::variant::conv1d;
use crate::kernel::{Arg, Command, Kernel, TwinCx, Variant, View};
use bytemuck::{Pod, Zeroable};

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    product: Product,
    steps: u32,
    windows: u32,
    kernel: u32,
    stride: u32,
    padding: u32,
    pad: [u32; 3],
}

/// Tile, then load width.
static VARIANTS: &[&Variant] = &[
    &conv1d::NT_HUGE_VEC4,
    &conv1d::NT_HUGE_SCALAR,
    &conv1d::NT_LARGE_VEC4,
    &conv1d::NT_LARGE_SCALAR,
    &conv1d::NT_SMALL_VEC4,
    &conv1d::NT_SMALL_SCALAR,
    &conv1d::NT_FLAT_VEC4,
    &conv1d::NT_FLAT_SCALAR,
];

/// The kernel.
pub static CONV1D: Kernel = Kernel {
    name: "conv1d",
    access: ACCESS,
    params_bytes: size_of::<Params>(),
    variants: VARIANTS,
    twin,
    cost,
};
const _: () = {
    let mut i = 0;
    while i < VARIANTS.len() {
        assert!(agrees(VARIANTS[i]) && VARIANTS[i].params_bytes as usize == size_of::<Params>());
        i += 1;
    }
};

/// The one command that does the work of `unfold` (of [`unfold1d`]) and `product` (of [`KERNEL`]), if the product's left side are just
/// these windows. Whether others read the windows is for the caller to know.
pub fn merged(unfold: &Command, product: &Command) -> Option<Command> {
    let first = Form::NT as usize * Tile::COUNT * 2;
    let tiled = std::ptr::eq(unfold.kernel, &unfold1d::KERNEL) && std::ptr::eq(product.kernel, &KERNEL);
    let whole = || TILED.iter().position(|v| std::ptr::eq(*v, product.variant))?.checked_sub(first);
    let variant = VARIANTS.get(if tiled { whole()? } else { return None })?;
    let (u, p): (&unfold1d::Params, &Product) = (params(&unfold.params), params(&product.params));
    let same = p.form == Form::NT as u32
        && unfold.args[1] == product.args[0]
        && (u.y_offset, u.y_ld) == (p.a_offset, p.a_ld)
        && (u.samples * u.windows, u.channels * u.kernel) == (p.m, p.k);
    let params = Params {
        product: Product { a_offset: u.x_offset, a_ld: u.x_ld, ..*p },
        steps: u.steps,
        windows: u.windows,
        kernel: u.kernel,
        stride: u.stride,
        padding: u.padding,
        pad: [0; 3],
    };
    let mut args = product.args.clone();
    args[0] = unfold.args[0];
    same.then(|| Command::new(&CONV1D, variant, &params, &args, product.grid))
}

impl Params {
    fn shape(&self) -> ([usize; 2], Windows) {
        let [steps, kernel, stride, padding] =
            [self.steps, self.kernel, self.stride, self.padding].map(|n| n as usize);
        let samples = self.product.m / self.windows.max(1);
        let channels = self.product.k / self.kernel.max(1);
        ([samples as usize, channels as usize], Windows { steps, kernel, stride, padding })
    }

    /// The parameters of the kernel that writes the windows, densely.
    fn unfold(&self) -> unfold1d::Params {
        let (size, windows) = self.shape();
        let x = View::strided(self.product.a_offset as usize, self.product.a_ld as usize);
        unfold1d::Params::new(size, &windows, &x, &View::dense(0, self.product.k as usize))
    }
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let ([samples, channels], _) = p.shape();
    let [_, distinct] = p.unfold().covered();
    let mut cost = super::cost(bytemuck::cast_slice(std::slice::from_ref(&p.product)));
    for (_, span) in cost.read.iter_mut().filter(|(binding, _)| *binding == 0) {
        *span = Span::scattered(samples * channels * distinct);
    }
    cost
}

/// The windows into memory, then their product: plans for the CPU keep the two apart, so this is for comparison.
fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [x, b, bias, residual, c] = args else { unreachable!("a convolution has five bindings") };
    let mut windows = vec![0.0; (p.product.m * p.product.k) as usize];
    let (unfold, product) = (p.unfold(), Product { a_offset: 0, a_ld: p.product.k, ..p.product });
    let mut args = [Arg::Read(x.read()), Arg::Write(&mut windows)];
    (unfold1d::KERNEL.twin)(bytemuck::cast_slice(std::slice::from_ref(&unfold)), &mut args, cx);
    let [b, bias, residual] = [b, bias, residual].map(|arg| Arg::Read(arg.read()));
    let mut args = [Arg::Read(&windows), b, bias, residual, Arg::Write(c.write())];
    cpu::twin(bytemuck::cast_slice(std::slice::from_ref(&product)), &mut args, cx);
}
