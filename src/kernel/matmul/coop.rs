//! `matmul_coop`: products by the matrix units of a GPU (tensor cores and the like), of inputs rounded to half precision with sums in
//! single precision. For sampling with weights in half precision alone, never for training: small gradients are no halves.

use super::choose::Choice;
use super::dot::Operand;
use super::half;
use super::{ACCESS, Call, Form, Params, command_with, half_cost};
use crate::device::{Caps, CoopScalar};
use crate::kernel::call::params;
use crate::kernel::variant::matmul_coop;
use crate::kernel::{Arg, BufferId, Command, Kernel, TwinCx, Variant, View};
use ::half::f16;

/// What a device's matrix units multiply at once, and the subgroup that does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatrixUnit {
    /// 16 x 16 x 16, subgroups of 32.
    M16,
    /// 16 x 16 x 16, subgroups of 64.
    M16Wide,
    /// 8 x 8 x 8, subgroups of 32 (Metal).
    M8,
    /// 8 x 8 x 8, subgroups of 8 (Mesa's software adapter, llvmpipe).
    M8Narrow,
}

impl MatrixUnit {
    /// Every unit.
    pub const ALL: [MatrixUnit; 4] =
        [MatrixUnit::M16, MatrixUnit::M16Wide, MatrixUnit::M8, MatrixUnit::M8Narrow];

    /// The unit that a device lists and our kernel can use: halves in, single precision out, and one size of subgroups, for the kernel
    /// must know which invocations are one. None on devices that were opened without.
    pub fn of(caps: &Caps) -> Option<MatrixUnit> {
        let subgroups = caps.subgroups.filter(|s| s.min == s.max && caps.f16)?.min;
        let lists = |size: u32| {
            let units = caps.cooperative_matrix.iter();
            let mut units = units.filter(|u| [u.m, u.n, u.k] == [size; 3]);
            units.any(|u| u.input == CoopScalar::F16 && u.accumulate == CoopScalar::F32)
        };
        match subgroups {
            32 if lists(16) => Some(MatrixUnit::M16),
            64 if lists(16) => Some(MatrixUnit::M16Wide),
            32 if lists(8) => Some(MatrixUnit::M8),
            8 if lists(8) => Some(MatrixUnit::M8Narrow),
            _ => None,
        }
    }

    fn variant(self) -> &'static Variant {
        VARIANTS[self as usize]
    }
}

static VARIANTS: &[&Variant] =
    &[&matmul_coop::M16, &matmul_coop::M16WIDE, &matmul_coop::M8, &matmul_coop::M8NARROW];

/// The kernel.
pub static COOP: Kernel = Kernel {
    name: "matmul_coop",
    access: ACCESS,
    params_bytes: size_of::<Params>(),
    variants: VARIANTS,
    twin,
    cost: half_cost,
};
const _: () = {
    let mut i = 0;
    while i < VARIANTS.len() {
        let v = VARIANTS[i];
        let [tm, tn, tk, s, w] =
            [v.constant("TM"), v.constant("TN"), v.constant("TK"), v.constant("S"), v.constant("W")];
        assert!(v.params_bytes as usize == size_of::<Params>() && v.workgroup[0] == 4 * w);
        // A quarter for each subgroup; whole matrices; as many fours of A as of B, shared out evenly.
        assert!(tm == tn && tm % (2 * s) == 0 && tk % s == 0 && (tm * tk) % (16 * w) == 0);
        assert!(v.shared_bytes == 2 * (tm + tn) * (tk + 8) + 4 * 4 * s * s);
        i += 1;
    }
};

/// Whether the kernel can read A of a product.
pub fn coop_fits(call: &Call) -> bool {
    let (a, k) = (&call.a.1, call.size[2]);
    [a.offset as usize, a.row_stride as usize, k].iter().all(|x| x.is_multiple_of(4))
}

/// The product `call`, of which [`coop_fits`] holds, by [`COOP`]: its B lies packed as for `matmul_half`.
pub fn coop_command(
    unit: MatrixUnit,
    call: &Call,
    (b, offset): (BufferId, usize),
    empty: BufferId,
) -> Command {
    debug_assert!(coop_fits(call));
    let [m, n, k] = call.size;
    let choice = Choice::new(&COOP, unit.variant());
    let rows = View::strided(offset, k.next_multiple_of(8));
    command_with(choice, Form::NT, [m, n, k], call.a, (b, rows), call.c, &call.epilogue, empty)
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [a, b, bias, residual, c] = args else { unreachable!("a matrix product has five bindings") };
    let [m, k] = [p.m, p.k].map(|d| d as usize);
    let a = &a.read()[p.a_offset as usize..];
    let rounded: Vec<f32> =
        (0..m).flat_map(|i| &a[i * p.a_ld as usize..][..k]).map(|v| f16::from_f32(*v).to_f32()).collect();
    let a = Operand { data: &rounded, ld: k };
    half::product(p, a, b.read(), [bias.read(), residual.read()], c.write(), cx);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{CoopShape, DeviceLimits, SubgroupSizes};

    fn caps(subgroup: [u32; 2], units: &[(u32, CoopScalar, CoopScalar)]) -> Caps {
        let units =
            units.iter().map(|&(s, input, accumulate)| CoopShape { m: s, n: s, k: s, input, accumulate });
        Caps {
            limits: DeviceLimits::from(&wgpu::Limits::default()),
            subgroups: Some(SubgroupSizes { min: subgroup[0], max: subgroup[1] }),
            f16: true,
            timestamps: false,
            immediates: false,
            cooperative_matrix: units.collect(),
            software: false,
            discrete: true,
            backend: "vulkan",
        }
    }

    #[test]
    fn a_unit_is_one_that_the_device_lists() {
        use CoopScalar::{F16, F32};
        let of = |subgroup, units: &[_]| MatrixUnit::of(&caps(subgroup, units));
        assert_eq!(of([32, 32], &[(16, F16, F16), (16, F16, F32)]), Some(MatrixUnit::M16));
        assert_eq!(of([64, 64], &[(16, F16, F32)]), Some(MatrixUnit::M16Wide));
        assert_eq!(of([32, 32], &[(8, F32, F32), (8, F16, F32)]), Some(MatrixUnit::M8));
        assert_eq!(of([8, 8], &[(8, F16, F16), (8, F16, F32)]), Some(MatrixUnit::M8Narrow));
        // Sums in half precision, several sizes of subgroups, none at all.
        assert_eq!(of([32, 32], &[(16, F16, F16)]), None);
        assert_eq!(of([32, 64], &[(16, F16, F32)]), None);
        assert_eq!(of([64, 64], &[(8, F16, F32)]), None);
        assert_eq!(of([32, 32], &[]), None);
        let without = Caps { f16: false, ..caps([32, 32], &[(16, F16, F32)]) };
        assert_eq!(MatrixUnit::of(&without), None);
    }
}
