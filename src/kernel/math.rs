//! Elementary functions and activations: the CPU twins of `shaders/shared/math.wgsl`.
//!
//! The functions here are branch-free f32 scalars, always inlined, so that a loop over a slice becomes vector code
//! at whatever width the enclosing function was compiled for (see [`mod@slice`]). They are built from multiplications,
//! additions, divisions and bit operations alone, with no fused multiply-add: the same input gives the same bits on every
//! processor, and rounding to an integer works by adding 1.5 * 2^23, which baseline SSE2 can do too.
//!
//! Not-a-number passes through every function, so that a diverged policy is seen and not hidden. Errors are stated
//! against the exact value, in units of f32's spacing (`ulp`, about 1.2e-7 relative) or absolute; the tests hold them.
//! Polynomials without a source are Chebyshev interpolants fitted to the stated range, rounded to f32.
#![allow(clippy::excessive_precision)] // coefficients are given as their sources print them

pub mod activation;
#[cfg(test)]
mod shader_tests;
pub mod slice;
#[cfg(test)]
mod tests;

pub use activation::{Activation, UnknownActivation};
pub use slice::{apply, apply_mul, epilogue, mul_derivative};

/// 1.5 * 2^23: added to |v| < 2^22, it leaves v rounded to an integer in the low bits.
const SHIFT: f32 = 12_582_912.0;
/// ln 2 in two parts; the first has few enough bits for its product with an exponent to be exact.
const LN2_HIGH: f32 = 0.693359375;
const LN2_LOW: f32 = -2.12194440e-4;
/// pi / 2 in three parts, 8 + 11 + 24 bits: products with integers below 2^13 are exact (Cephes' split, doubled).
const HALF_PI: [f32; 3] = [1.5703125, 4.837512969970703125e-4, 7.54978995489188e-8];

/// The polynomial with the given coefficients, highest power first.
#[inline(always)]
fn poly<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[0];
    for c in &coefficients[1..] {
        sum = sum * x + c;
    }
    sum
}

/// `x` limited to `[low, high]`; not-a-number stays.
#[inline(always)]
#[allow(clippy::manual_clamp)] // this form is one min and one max instruction
pub(crate) fn limit(x: f32, low: f32, high: f32) -> f32 {
    let x = if x > high { high } else { x };
    if x < low { low } else { x }
}

/// (m, n) with e^x = m * 2^n, m in [0.70, 1.42], for |x| < 2^21.
#[inline(always)]
fn exp_parts(x: f32) -> (f32, i32) {
    let shifted = x * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    // Cephes expf on |r| <= ln(2) / 2
    let p = poly(
        r,
        [
            1.9875691500e-4,
            1.3981999507e-3,
            8.3334519073e-3,
            4.1665795894e-2,
            1.6666665459e-1,
            5.0000001201e-1,
        ],
    );
    let m = (r * r * p + r) + 1.0;
    (m, (shifted.to_bits() as i32).wrapping_sub(SHIFT.to_bits() as i32))
}

/// 2^n for n in [-126, 127].
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// e^x: 2 ulp; subnormal results and infinity where they are due.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let (m, n) = exp_parts(limit(x, -104.0, 89.0));
    let half = n >> 1;
    m * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// e^-a for a >= 0: 2 ulp, and 0 for a > 87. The form that sigmoids are made of: it neither overflows nor needs a limit.
#[inline(always)]
pub fn exp_neg(a: f32) -> f32 {
    let (m, n) = exp_parts(-a);
    if a > 87.0 { 0.0 } else { m * power_of_two(n) }
}

/// ln x for positive normal x: 1 ulp.
#[inline(always)]
pub(crate) fn log_normal(x: f32) -> f32 {
    const SQRT_HALF: u32 = 0x3f35_04f3;
    let bits = x.to_bits().wrapping_add(0x3f80_0000 - SQRT_HALF);
    let n = ((bits >> 23) as i32 - 127) as f32;
    let f = f32::from_bits((bits & 0x007f_ffff) + SQRT_HALF) - 1.0;
    // Cephes logf on [sqrt(1/2) - 1, sqrt(2) - 1]
    let p = poly(
        f,
        [
            7.0376836292e-2,
            -1.1514610310e-1,
            1.1676998740e-1,
            -1.2420140846e-1,
            1.4249322787e-1,
            -1.6668057665e-1,
            2.0000714765e-1,
            -2.4999993993e-1,
            3.3333331174e-1,
        ],
    );
    let z = f * f;
    let tail = f * z * p + n * LN2_LOW - 0.5 * z;
    (f + tail) + n * LN2_HIGH
}

/// ln x: 1 ulp for every positive x; -infinity at 0, not-a-number below.
#[inline(always)]
pub fn log(x: f32) -> f32 {
    let subnormal = x < f32::MIN_POSITIVE;
    let y = log_normal(if subnormal { x * 8_388_608.0 } else { x });
    let y = if subnormal { y - 15.942385152878742 } else { y };
    let y = if x < f32::INFINITY { y } else { x };
    let y = if x < 0.0 { f32::NAN } else { y };
    if x == 0.0 { f32::NEG_INFINITY } else { y }
}

/// (sin r, cos r) for |r| <= pi/4 (Cephes sinf and cosf).
#[inline(always)]
fn sin_cos_octant(r: f32) -> (f32, f32) {
    let z = r * r;
    let s = poly(z, [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1]);
    let c = poly(z, [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2]);
    (r + r * z * s, (1.0 - 0.5 * z) + z * z * c)
}

/// sin and cos of r + q pi/2 from those of r.
#[inline(always)]
fn rotate((s, c): (f32, f32), q: u32) -> (f32, f32) {
    let (a, b) = if q & 1 == 0 { (s, c) } else { (c, s) };
    let sign = |v: f32, q: u32| f32::from_bits(v.to_bits() ^ ((q & 2) << 30));
    (sign(a, q), sign(b, q.wrapping_add(1)))
}

/// (sin x, cos x): 2e-7 absolute for |x| <= 1e4; beyond, the error grows but |values| <= 1.
#[inline(always)]
pub fn sin_cos(x: f32) -> (f32, f32) {
    let shifted = x * std::f32::consts::FRAC_2_PI + SHIFT;
    let n = shifted - SHIFT;
    let r = ((x - n * HALF_PI[0]) - n * HALF_PI[1]) - n * HALF_PI[2];
    // the limit only acts beyond 1e5, where the phase is lost: the values stay within [-1, 1]
    rotate(sin_cos_octant(limit(r, -0.8, 0.8)), shifted.to_bits())
}

/// sin x: 2e-7 absolute for |x| <= 1e4.
#[inline(always)]
pub fn sin(x: f32) -> f32 {
    sin_cos(x).0
}

/// cos x: 2e-7 absolute for |x| <= 1e4.
#[inline(always)]
pub fn cos(x: f32) -> f32 {
    sin_cos(x).1
}

/// (sin 2 pi u, cos 2 pi u): 2e-7 absolute for |u| < 2^20; the reduction is exact.
#[inline(always)]
pub fn sin_cos_turns(u: f32) -> (f32, f32) {
    let quarters = 4.0 * u;
    let shifted = quarters + SHIFT;
    let r = (quarters - (shifted - SHIFT)) * std::f32::consts::FRAC_PI_2;
    rotate(sin_cos_octant(r), shifted.to_bits())
}

/// (tanh x, 1 - tanh^2 x), both relative: 3 ulp.
#[inline(always)]
pub(crate) fn tanh_parts(x: f32) -> (f32, f32) {
    let a = x.abs();
    let e = exp_neg(2.0 * a);
    let i = 1.0 / (1.0 + e);
    let z = x * x;
    // Cephes tanhf below 0.625, where (1 - e) / (1 + e) would cancel
    let p = poly(
        z,
        [-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1],
    );
    let large = ((1.0 - e) * i).copysign(x);
    (if a < 0.625 { x + x * z * p } else { large }, 4.0 * e * i * i)
}

/// tanh x: 3 ulp.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    tanh_parts(x).0
}

/// (s, 1 - s) with s = 1 / (1 + e^-x), both relative: 3 ulp.
#[inline(always)]
pub(crate) fn sigmoid_parts(x: f32) -> (f32, f32) {
    let e = exp_neg(x.abs());
    let i = 1.0 / (1.0 + e);
    let j = e * i;
    if x < 0.0 { (j, i) } else { (i, j) }
}

/// 1 / (1 + e^-x): 3 ulp; 0 for x < -87.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    sigmoid_parts(x).0
}

/// ln(1 + e^x) up to x = 20 and x above (PyTorch's softplus): 3 ulp.
#[inline(always)]
pub fn softplus(x: f32) -> f32 {
    let e = exp_neg(x.abs());
    // ln(1 + e) = 2 atanh(s), s <= 1/3
    let s = e / (2.0 + e);
    let p = poly(s * s, [0.281577796, 0.279651582, 0.400245965, 0.666663229, 2.0]);
    let y = s * p + if x > 0.0 { x } else { 0.0 };
    if x > 20.0 { x } else { y }
}

/// e^(z^2) erfc(z) for 0 <= z <= 9.6 (8e-8 relative), bounded beyond: t P(1 - 4 t) with t = 1 / (z + 2).
#[inline(always)]
fn erfcx(z: f32) -> f32 {
    let t = 1.0 / (z + 2.0);
    let p = poly(
        1.0 - 4.0 * t,
        [
            -4.64223151e-4,
            -7.60788273e-4,
            2.97787972e-3,
            6.44196337e-3,
            -2.14816909e-2,
            -3.64362262e-2,
            0.279469252,
            -0.687160909,
            1.02158272,
        ],
    );
    t * p
}

/// erf x: 3 ulp.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let p = poly(z, [-5.64805989e-4, 4.92176181e-3, -2.67150551e-2, 0.112803169, -0.376123428, 1.12837911]);
    let large = (1.0 - exp_neg(z) * erfcx(a)).copysign(x);
    if a < 1.0 { x * p } else { large }
}

/// The standard normal law: (distribution function, density). The function is relative in both tails: 1e-6 for
/// |x| <= 6, worse beyond as x^2 rounds; 0 or 1 for |x| > 13.2.
#[inline(always)]
pub fn normal_law(x: f32) -> (f32, f32) {
    let e = exp_neg(0.5 * (x * x));
    let tail = 0.5 * e * erfcx(x.abs() * std::f32::consts::FRAC_1_SQRT_2);
    (if x > 0.0 { 1.0 - tail } else { tail }, 0.398942280 * e)
}
