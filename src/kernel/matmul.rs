//! `matmul`: matrix products with a fused epilogue (bias, residual, activation or its derivative).
//!
//! Five WGSL kernels share one parameter struct, and the first three one twin: `matmul` (tiles in workgroup memory), `matvec` (up to
//! four rows against a weight matrix [out, in]) and `matmul_soft` (registers only, for software rasterisers), `matmul_packed` (weights packed
//! in panels beforehand), `matmul_half` (few rows against weights in half precision). Two more do a product together whose output has few
//! tiles: `matmul_split` (the parts by slices of k) and `matmul_join` (their sum and the epilogue). `conv1d` reads the left side of a
//! product through a convolution's windows. `matmul_coop` is for matrix units, with weights in half precision.

mod choose;
mod conv1d;
mod coop;
mod cpu;
mod dot;
mod epilogue;
mod half;
mod join;
mod panels;
mod split;

pub use choose::{Choice, choices, question};
pub use conv1d::{CONV1D, merged};
pub use coop::{COOP, MatrixUnit, coop_command, coop_fits};
pub use join::JOIN;
pub use split::{SPLIT, halves, scratch, slices};

use super::call::params;
use super::cost::{Cost, Span};
use super::math::Activation;
use super::{BufferId, Command, Kernel, Target, View, pack_weights, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// Which operand is transposed in memory. All matrices are row-major.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Form {
    /// A is [m, k], B is [k, n].
    NN = 0,
    /// A is [m, k], B is [n, k]: a linear layer with weights [out, in].
    NT = 1,
    /// A is [k, m], B is [k, n]: a weight gradient.
    TN = 2,
}

impl Form {
    /// Rows and columns in memory of A and of B.
    pub fn operands(self, [m, n, k]: [usize; 3]) -> ([usize; 2], [usize; 2]) {
        match self {
            Form::NN => ([m, k], [k, n]),
            Form::NT => ([m, k], [n, k]),
            Form::TN => ([k, m], [k, n]),
        }
    }
}

/// What the epilogue does with the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// C = act(alpha (AB + bias) + beta R).
    Plain,
    /// C = act'(R) alpha AB, with R the pre-activation: a backward pass. Bias and beta are not used.
    MulDerivative,
}

/// What happens to the product before it is written.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue {
    /// The activation.
    pub act: Activation,
    /// How residual and activation enter.
    pub mode: Mode,
    /// Scale of product and bias.
    pub alpha: f32,
    /// Scale of the residual.
    pub beta: f32,
    /// A vector of n elements from an element offset, added to every row of the product.
    pub bias: Option<(BufferId, usize)>,
    /// An [m, n] operand through any broadcasting view.
    pub residual: Option<(BufferId, View)>,
}

impl Default for Epilogue {
    fn default() -> Self {
        Epilogue {
            act: Activation::Identity,
            mode: Mode::Plain,
            alpha: 1.0,
            beta: 1.0,
            bias: None,
            residual: None,
        }
    }
}

const HAS_BIAS: u32 = 1;
const HAS_RESIDUAL: u32 = 2;
const MUL_DERIVATIVE: u32 = 4;

/// Parameters; mirrors the struct in `shaders/shared/matmul.wgsl`.
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
    c_offset: u32,
    c_ld: u32,
    bias_offset: u32,
    flags: u32,
    act: u32,
    groups_n: u32,
    alpha: f32,
    beta: f32,
    residual: View,
}

impl Params {
    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// What happens to the product, with what is bound as bias and residual.
    fn epilogue(&self, bias: BufferId, residual: BufferId) -> Option<Epilogue> {
        Some(Epilogue {
            act: Activation::from_code(self.act)?,
            mode: if self.has(MUL_DERIVATIVE) { Mode::MulDerivative } else { Mode::Plain },
            alpha: self.alpha,
            beta: self.beta,
            bias: self.has(HAS_BIAS).then_some((bias, self.bias_offset as usize)),
            residual: self.has(HAS_RESIDUAL).then_some((residual, self.residual)),
        })
    }
}

const ACCESS: &[Access] = &[Access::Read, Access::Read, Access::Read, Access::Read, Access::Write];

/// The tiled kernel.
pub static KERNEL: Kernel = Kernel {
    name: "matmul",
    access: ACCESS,
    params_bytes: size_of::<Params>(),
    variants: choose::TILED,
    twin: cpu::twin,
    cost,
};
/// Up to four rows against a weight matrix.
pub static MATVEC: Kernel = Kernel {
    name: "matvec",
    access: ACCESS,
    params_bytes: size_of::<Params>(),
    variants: choose::MATVEC,
    twin: cpu::twin,
    cost,
};
/// The kernel without workgroup memory, for software rasterisers.
pub static SOFT: Kernel = Kernel {
    name: "matmul_soft",
    access: ACCESS,
    params_bytes: size_of::<Params>(),
    variants: choose::SOFT,
    twin: cpu::twin,
    cost,
};
/// The kernel for few rows and weights that `pack_weights` rounded to half precision.
pub static HALF: Kernel = Kernel {
    name: "matmul_half",
    access: ACCESS,
    params_bytes: size_of::<Params>(),
    variants: choose::HALF,
    twin: half::twin,
    cost: half_cost,
};
const _: () = assert!(variant::matmul_half::ONE.params_bytes as usize == size_of::<Params>());

/// The kernel for weights that `pack_weights` laid out in panels.
pub static PACKED: Kernel = Kernel {
    name: "matmul_packed",
    access: ACCESS,
    params_bytes: size_of::<Params>(),
    variants: &[&variant::matmul_packed::ONLY],
    twin: panels::twin,
    cost: packed_cost,
};
const _: () = assert!(variant::matmul_packed::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = {
    assert!(variant::matmul::NT_LARGE_VEC4.params_bytes as usize == size_of::<Params>());
    assert!(variant::matvec::ONE_VEC4_TREE.params_bytes as usize == size_of::<Params>());
    assert!(variant::matmul_soft::NT_ROWS8.params_bytes as usize == size_of::<Params>());
};

/// As [`cost`], of weights two to a word.
fn half_cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let (n, k) = (p.n as usize, p.k as usize);
    let mut cost = cost(words);
    for (_, span) in cost.read.iter_mut().filter(|(binding, _)| *binding == 1) {
        *span = Span::rows([p.b_offset / 2, p.b_ld / 2], [n, k.div_ceil(2)]);
    }
    cost
}

/// As [`cost`]; the panels' padding counts.
fn packed_cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let panels = p.n.div_ceil(pack_weights::PANEL as u32) as usize;
    let mut cost = cost(words);
    for (_, span) in cost.read.iter_mut().filter(|(binding, _)| *binding == 1) {
        *span = Span::dense(p.b_offset, panels * pack_weights::PANEL * p.k as usize);
    }
    cost
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let [m, n, k] = [p.m, p.n, p.k].map(|n| n as usize);
    let (a, b) = cpu::form(p.form).operands([m, n, k]);
    let (bias, residual) = (p.has(HAS_BIAS), p.has(HAS_RESIDUAL));
    let act = usize::from(p.act != Activation::Identity.code());
    let each = act + usize::from(p.alpha != 1.0) + usize::from(bias) + 2 * usize::from(residual);
    let cost = Cost::new(2 * m * n * k + each * m * n).reads(0, Span::rows([p.a_offset, p.a_ld], a));
    let cost = cost.reads(1, Span::rows([p.b_offset, p.b_ld], b));
    let cost = cost.reads_if(bias, 2, Span::dense(p.bias_offset, n));
    let cost = cost.reads_if(residual, 3, Span::view(&p.residual, [m, n]));
    cost.writes(4, Span::rows([p.c_offset, p.c_ld], [m, n]))
}

/// C = epilogue(A B) for `[m, n, k]`, with the variant that suits shape, alignment and target.
///
/// A, B and C are row-major views with plain rows (offset and row stride in elements, columns adjacent); see [`Form`]
/// for their shapes and [`Epilogue`] for bias and residual. `empty` is any small buffer; it is bound, and never read,
/// where bias or residual is absent.
#[allow(clippy::too_many_arguments)]
pub fn command(
    form: Form,
    [m, n, k]: [usize; 3],
    a: (BufferId, View),
    b: (BufferId, View),
    c: (BufferId, View),
    epilogue: &Epilogue,
    empty: BufferId,
    target: &Target,
) -> Command {
    let choice = choose::choose(form, [m, n, k], [&a.1, &b.1, &c.1], target);
    command_with(choice, form, [m, n, k], a, b, c, epilogue, empty)
}

/// [`command`] with a given choice of variant (one of [`choices`]): for tests and the tuner. Where the choice is to split the product, the
/// command cannot run as it is: [`halves`] takes it apart when the plan is finished.
#[allow(clippy::too_many_arguments)]
pub fn command_with(
    choice: Choice,
    form: Form,
    [m, n, k]: [usize; 3],
    (a, a_view): (BufferId, View),
    (b, b_view): (BufferId, View),
    (c, c_view): (BufferId, View),
    epilogue: &Epilogue,
    empty: BufferId,
) -> Command {
    debug_assert!(a_view.plain_rows() && b_view.plain_rows() && c_view.plain_rows());
    let mut flags = 0;
    let (bias, bias_offset) = epilogue.bias.unwrap_or((empty, 0));
    let (residual, residual_view) = epilogue.residual.unwrap_or((empty, View::dense(0, 0)));
    if epilogue.bias.is_some() {
        flags |= HAS_BIAS;
    }
    if epilogue.residual.is_some() {
        flags |= HAS_RESIDUAL;
    }
    if epilogue.mode == Mode::MulDerivative {
        flags |= MUL_DERIVATIVE;
    }
    let (groups_n, grid) = choice.grid(m, n);
    let params = Params {
        m: m as u32,
        n: n as u32,
        k: k as u32,
        form: form as u32,
        a_offset: a_view.offset,
        a_ld: a_view.row_stride,
        b_offset: b_view.offset,
        b_ld: b_view.row_stride,
        c_offset: c_view.offset,
        c_ld: c_view.row_stride,
        bias_offset: bias_offset as u32,
        flags,
        act: epilogue.act.code(),
        groups_n,
        alpha: epilogue.alpha,
        beta: epilogue.beta,
        residual: residual_view,
    };
    Command::new(choice.kernel, choice.variant, &params, &[a, b, bias, residual, c], grid)
}

/// The product `call` by [`PACKED`]: its B lies packed in `b` from an element offset, a multiple of four. `empty` as for
/// [`command`].
pub fn packed_command(call: &Call, (b, offset): (BufferId, usize), empty: BufferId) -> Command {
    let [m, n, k] = call.size;
    let panel = View::strided(offset, pack_weights::PANEL * k);
    let choice = Choice::packed();
    command_with(choice, Form::NN, [m, n, k], call.a, (b, panel), call.c, &call.epilogue, empty)
}

/// The product `call` by [`HALF`]: its B lies packed as [`Columns`](pack_weights::Layout::Columns) of halves in `b` from a half on, a
/// multiple of eight. `empty` as for [`command`].
pub fn half_command(call: &Call, (b, offset): (BufferId, usize), empty: BufferId) -> Command {
    let [m, n, k] = call.size;
    let rows = View::strided(offset, k.next_multiple_of(8));
    command_with(Choice::half(m), Form::NT, [m, n, k], call.a, (b, rows), call.c, &call.epilogue, empty)
}

/// A product's command, read back.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Which operand is transposed.
    pub form: Form,
    /// m, n, k.
    pub size: [usize; 3],
    /// A and its view.
    pub a: (BufferId, View),
    /// B and its view.
    pub b: (BufferId, View),
    /// C and its view.
    pub c: (BufferId, View),
    /// What follows the product.
    pub epilogue: Epilogue,
}

impl Call {
    /// What `command` computes, if it is a product.
    pub fn of(command: &Command) -> Option<Call> {
        if ![&KERNEL, &MATVEC, &SOFT].iter().any(|k| std::ptr::eq(*k, command.kernel)) {
            return None;
        }
        let p: &Params = super::call::params(&command.params);
        let [a, b, bias, residual, c] = command.args[..] else { return None };
        let view = |offset: u32, ld: u32| View::strided(offset as usize, ld as usize);
        Some(Call {
            form: cpu::form(p.form),
            size: [p.m, p.n, p.k].map(|d| d as usize),
            a: (a, view(p.a_offset, p.a_ld)),
            b: (b, view(p.b_offset, p.b_ld)),
            c: (c, view(p.c_offset, p.c_ld)),
            epilogue: p.epilogue(bias, residual)?,
        })
    }

    /// The product at `at` of a finished plan's commands, where a split one takes two.
    pub fn at(commands: &[Command], at: usize) -> Option<Call> {
        let command = commands.get(at)?;
        Call::of(command).or_else(|| split::call(command, commands.get(at + 1)?))
    }
}

#[cfg(test)]
mod tests;
