//! A vector register of f32, as the twins of products and of attention need it: AVX-512, AVX2, NEON, and plain arrays.
//!
//! The functions are `inline(always)` without target features of their own: they take those of the multiversioned
//! function that they end up in (such as `matmul::dot::rows_nt`), which alone decides which type is used. For the
//! same reason nothing here hides an intrinsic in a closure: closures do not inherit the features.

#![allow(clippy::needless_range_loop)] // counted loops, which the compiler unrolls

use half::f16;

/// A vector of `N` lanes.
pub(super) trait Lanes: Copy {
    /// Lanes.
    const N: usize;
    /// All lanes `x`.
    fn splat(x: f32) -> Self;
    /// The first `N` elements of `from`, which has at least that many.
    fn load(from: &[f32]) -> Self;
    /// The first `N` elements of `from`, which has at least that many, from half precision.
    fn load_half(from: &[f16]) -> Self;
    /// Stores to the first `N` elements of `to`, which has at least that many.
    fn store(self, to: &mut [f32]);
    /// a b + self.
    fn fma(self, a: Self, b: Self) -> Self;
    /// The sums over the lanes of four vectors.
    fn sums(v: [Self; 4]) -> [f32; 4];
    /// Stores lane l of the four vectors to the four elements of `to` from `l * ld` on.
    fn store_columns(v: [Self; 4], to: &mut [f32], ld: usize);
}

/// Asks for the cache lines of `len` elements from `at` on, which need not exist; nothing where there is no stable way to ask.
#[inline(always)]
pub(super) fn prefetch(at: *const f32, len: usize) {
    for line in (0..len).step_by(16) {
        let line = at.wrapping_add(line);
        // SAFETY: a hint: it never faults, whatever the address.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(line.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }
}

/// Four lanes in an array, for processors without a type of their own.
#[derive(Clone, Copy)]
pub(super) struct Plain([f32; 4]);

impl Lanes for Plain {
    const N: usize = 4;
    #[inline(always)]
    fn splat(x: f32) -> Self {
        Plain([x; 4])
    }
    #[inline(always)]
    fn load(from: &[f32]) -> Self {
        Plain([from[0], from[1], from[2], from[3]])
    }
    #[inline(always)]
    fn load_half(from: &[f16]) -> Self {
        Plain([from[0].to_f32(), from[1].to_f32(), from[2].to_f32(), from[3].to_f32()])
    }
    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        to[..4].copy_from_slice(&self.0);
    }
    #[inline(always)]
    fn fma(self, a: Self, b: Self) -> Self {
        // Not `mul_add`, which is a slow library call without the instruction.
        Plain(std::array::from_fn(|l| a.0[l] * b.0[l] + self.0[l]))
    }
    #[inline(always)]
    fn sums(v: [Self; 4]) -> [f32; 4] {
        v.map(|Plain(x)| (x[0] + x[1]) + (x[2] + x[3]))
    }
    #[inline(always)]
    fn store_columns([a, b, c, d]: [Self; 4], to: &mut [f32], ld: usize) {
        for l in 0..4 {
            to[l * ld..l * ld + 4].copy_from_slice(&[a.0[l], b.0[l], c.0[l], d.0[l]]);
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! SAFETY of every block here: the types are only named inside versions of the multiversioned functions whose
    //! target has the features (avx512f; avx2 and fma; f16c for half precision), which are chosen after detection at run time; loads and
    //! stores are bounded by the slicing before them.
    use super::{Lanes, f16};
    use std::arch::x86_64::*;

    /// Sixteen lanes.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512(__m512);

    impl Lanes for Avx512 {
        const N: usize = 16;
        #[inline(always)]
        fn splat(x: f32) -> Self {
            Avx512(unsafe { _mm512_set1_ps(x) })
        }
        #[inline(always)]
        fn load(from: &[f32]) -> Self {
            Avx512(unsafe { _mm512_loadu_ps(from[..16].as_ptr()) })
        }
        #[inline(always)]
        fn load_half(from: &[f16]) -> Self {
            Avx512(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from[..16].as_ptr().cast())) })
        }
        #[inline(always)]
        fn store(self, to: &mut [f32]) {
            unsafe { _mm512_storeu_ps(to[..16].as_mut_ptr(), self.0) }
        }
        #[inline(always)]
        fn fma(self, a: Self, b: Self) -> Self {
            Avx512(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
        }
        #[inline(always)]
        fn sums(v: [Self; 4]) -> [f32; 4] {
            Avx2::sums([v[0].folded(), v[1].folded(), v[2].folded(), v[3].folded()])
        }
        #[inline(always)]
        fn store_columns([a, b, c, d]: [Self; 4], to: &mut [f32], ld: usize) {
            unsafe {
                let [ab, cd] = [_mm512_unpacklo_ps(a.0, b.0), _mm512_unpacklo_ps(c.0, d.0)];
                let [x, y] = [_mm512_shuffle_ps::<0x44>(ab, cd), _mm512_shuffle_ps::<0xee>(ab, cd)];
                let [ab, cd] = [_mm512_unpackhi_ps(a.0, b.0), _mm512_unpackhi_ps(c.0, d.0)];
                let [z, w] = [_mm512_shuffle_ps::<0x44>(ab, cd), _mm512_shuffle_ps::<0xee>(ab, cd)];
                let columns = [x, y, z, w];
                for l in 0..4 {
                    let v = columns[l];
                    store4(_mm512_extractf32x4_ps::<0>(v), &mut to[l * ld..]);
                    store4(_mm512_extractf32x4_ps::<1>(v), &mut to[(4 + l) * ld..]);
                    store4(_mm512_extractf32x4_ps::<2>(v), &mut to[(8 + l) * ld..]);
                    store4(_mm512_extractf32x4_ps::<3>(v), &mut to[(12 + l) * ld..]);
                }
            }
        }
    }

    #[inline(always)]
    fn store4(x: __m128, to: &mut [f32]) {
        unsafe { _mm_storeu_ps(to[..4].as_mut_ptr(), x) }
    }

    impl Avx512 {
        /// The upper half added to the lower.
        #[inline(always)]
        fn folded(self) -> Avx2 {
            unsafe {
                let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self.0)));
                Avx2(_mm256_add_ps(_mm512_castps512_ps256(self.0), high))
            }
        }
    }

    /// Eight lanes.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2(__m256);

    impl Lanes for Avx2 {
        const N: usize = 8;
        #[inline(always)]
        fn splat(x: f32) -> Self {
            Avx2(unsafe { _mm256_set1_ps(x) })
        }
        #[inline(always)]
        fn load(from: &[f32]) -> Self {
            Avx2(unsafe { _mm256_loadu_ps(from[..8].as_ptr()) })
        }
        #[inline(always)]
        fn load_half(from: &[f16]) -> Self {
            Avx2(unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from[..8].as_ptr().cast())) })
        }
        #[inline(always)]
        fn store(self, to: &mut [f32]) {
            unsafe { _mm256_storeu_ps(to[..8].as_mut_ptr(), self.0) }
        }
        #[inline(always)]
        fn fma(self, a: Self, b: Self) -> Self {
            Avx2(unsafe { _mm256_fmadd_ps(a.0, b.0, self.0) })
        }
        #[inline(always)]
        fn sums(v: [Self; 4]) -> [f32; 4] {
            unsafe {
                let [x, y] = [_mm256_hadd_ps(v[0].0, v[1].0), _mm256_hadd_ps(v[2].0, v[3].0)];
                let pairs = _mm256_hadd_ps(x, y);
                let sum = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
                let mut out = [0.0; 4];
                _mm_storeu_ps(out.as_mut_ptr(), sum);
                out
            }
        }
        #[inline(always)]
        fn store_columns([a, b, c, d]: [Self; 4], to: &mut [f32], ld: usize) {
            unsafe {
                let [ab, cd] = [_mm256_unpacklo_ps(a.0, b.0), _mm256_unpacklo_ps(c.0, d.0)];
                let [x, y] = [_mm256_shuffle_ps::<0x44>(ab, cd), _mm256_shuffle_ps::<0xee>(ab, cd)];
                let [ab, cd] = [_mm256_unpackhi_ps(a.0, b.0), _mm256_unpackhi_ps(c.0, d.0)];
                let [z, w] = [_mm256_shuffle_ps::<0x44>(ab, cd), _mm256_shuffle_ps::<0xee>(ab, cd)];
                let columns = [x, y, z, w];
                for l in 0..4 {
                    let v = columns[l];
                    store4(_mm256_castps256_ps128(v), &mut to[l * ld..]);
                    store4(_mm256_extractf128_ps::<1>(v), &mut to[(4 + l) * ld..]);
                }
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
pub(super) use arm::Neon;

#[cfg(target_arch = "aarch64")]
mod arm {
    //! SAFETY of every block here: NEON is part of the aarch64 baseline; loads and stores are bounded by the slicing.
    use super::{Lanes, f16};
    use std::arch::aarch64::*;

    /// Four lanes.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Neon(float32x4_t);

    #[allow(unused_unsafe)]
    impl Lanes for Neon {
        const N: usize = 4;
        #[inline(always)]
        fn splat(x: f32) -> Self {
            Neon(unsafe { vdupq_n_f32(x) })
        }
        #[inline(always)]
        fn load(from: &[f32]) -> Self {
            Neon(unsafe { vld1q_f32(from[..4].as_ptr()) })
        }
        #[inline(always)]
        fn load_half(from: &[f16]) -> Self {
            let x = [from[0].to_f32(), from[1].to_f32(), from[2].to_f32(), from[3].to_f32()];
            Neon(unsafe { vld1q_f32(x.as_ptr()) })
        }
        #[inline(always)]
        fn store(self, to: &mut [f32]) {
            unsafe { vst1q_f32(to[..4].as_mut_ptr(), self.0) }
        }
        #[inline(always)]
        fn fma(self, a: Self, b: Self) -> Self {
            Neon(unsafe { vfmaq_f32(self.0, a.0, b.0) })
        }
        #[inline(always)]
        fn sums(v: [Self; 4]) -> [f32; 4] {
            unsafe { [vaddvq_f32(v[0].0), vaddvq_f32(v[1].0), vaddvq_f32(v[2].0), vaddvq_f32(v[3].0)] }
        }
        #[inline(always)]
        fn store_columns([a, b, c, d]: [Self; 4], to: &mut [f32], ld: usize) {
            unsafe {
                let [ac, bd] = [vzip1q_f32(a.0, c.0), vzip1q_f32(b.0, d.0)];
                let [x, y] = [vzip1q_f32(ac, bd), vzip2q_f32(ac, bd)];
                let [ac, bd] = [vzip2q_f32(a.0, c.0), vzip2q_f32(b.0, d.0)];
                let columns = [x, y, vzip1q_f32(ac, bd), vzip2q_f32(ac, bd)];
                for l in 0..4 {
                    vst1q_f32(to[l * ld..l * ld + 4].as_mut_ptr(), columns[l]);
                }
            }
        }
    }
}
