//! Counter-based random numbers: the CPU twin of `shaders/shared/philox.wgsl`.
//!
//! Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) maps a counter and a key to
//! four 32-bit integers. Number `e` of (seed, stream, step) is lane `e % 4` of the block whose
//!
//! - key is [seed's low word, seed's high word ^ stream] and
//! - counter is [low, high word of e / 4, low, high word of step],
//!
//! so that any part of any sequence can be drawn anywhere, in any order, with the same result. Streams of one seed never
//! meet; two seeds share numbers only if they agree in the low word and their high words differ by streams in use, which
//! seeds below 2^32 never do.
//!
//! Integers are bit-equal on every device. Uniforms are exact too. Normals agree within 2e-6 across devices, and are
//! bit-equal among CPUs.

use super::math::{log_normal, sin_cos_turns};
use multiversion::multiversion;

/// Number of Philox rounds.
const ROUNDS: usize = 10;

/// The four integers of one block.
#[inline(always)]
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let ([mut c0, mut c1, mut c2, mut c3], [mut k0, mut k1]) = (counter, key);
    for _ in 0..ROUNDS {
        let p = u64::from(c0) * 0xd251_1f53;
        let q = u64::from(c2) * 0xcd9e_8d57;
        (c0, c1, c2, c3) = ((q >> 32) as u32 ^ c1 ^ k0, q as u32, (p >> 32) as u32 ^ c3 ^ k1, p as u32);
        k0 = k0.wrapping_add(0x9e37_79b9);
        k1 = k1.wrapping_add(0xbb67_ae85);
    }
    [c0, c1, c2, c3]
}

/// The key of a stream of a seed.
#[inline(always)]
pub const fn key(seed: u64, stream: u32) -> [u32; 2] {
    [seed as u32, (seed >> 32) as u32 ^ stream]
}

/// The counter of a block (elements 4 block .. 4 block + 4) at a step.
#[inline(always)]
pub const fn counter(block: u64, step: u64) -> [u32; 4] {
    [block as u32, (block >> 32) as u32, step as u32, (step >> 32) as u32]
}

/// A uniform in (0, 1), never 0 or 1: the middle of one of 2^23 equal parts.
#[inline(always)]
pub fn uniform(bits: u32) -> f32 {
    // the signed conversion is one vector instruction; the value is below 2^23
    ((bits >> 9) as i32 as f32 + 0.5) * (1.0 / 8_388_608.0)
}

/// Two independent standard normals from two integers (Box and Muller): the cosine's, then the sine's. |n| < 5.8.
#[inline(always)]
pub fn normal_pair(a: u32, b: u32) -> [f32; 2] {
    let radius = (-2.0 * log_normal(uniform(a))).sqrt();
    let (s, c) = sin_cos_turns(uniform(b));
    [radius * c, radius * s]
}

/// An index in 0..n (0 if n is 0): the high word of bits * n. Its bias is below n / 2^32.
#[inline(always)]
pub const fn index_below(bits: u32, n: u32) -> u32 {
    ((bits as u64 * n as u64) >> 32) as u32
}

/// The four uniforms of one block.
#[inline(always)]
pub fn uniform_block(counter: [u32; 4], key: [u32; 2]) -> [f32; 4] {
    philox4x32(counter, key).map(uniform)
}

/// The four standard normals of one block: integers 0 and 1 give the first two, 2 and 3 the others.
#[inline(always)]
pub fn normal_block(counter: [u32; 4], key: [u32; 2]) -> [f32; 4] {
    let [a, b, c, d] = philox4x32(counter, key);
    let ([n0, n1], [n2, n3]) = (normal_pair(a, b), normal_pair(c, d));
    [n0, n1, n2, n3]
}

/// Blocks computed side by side: enough for the widest vectors.
const GROUP: usize = 16;

/// The integers of blocks start, start + 1, ...: plane j holds every block's integer j. The same values as
/// [`philox4x32`], shaped for vector units: each word lives in a 64-bit lane whose high half is left unclean, because
/// the 32 x 32 -> 64 bit multiplication ignores it. Four times as fast as one block after another.
#[inline(always)]
fn philox_group(start: u64, step: u64, key: [u32; 2]) -> [[u32; GROUP]; 4] {
    let mut c0: [u64; GROUP] = std::array::from_fn(|l| start.wrapping_add(l as u64));
    let mut c1 = c0.map(|c| c >> 32);
    let mut c2 = [step; GROUP];
    let mut c3 = [step >> 32; GROUP];
    let [mut k0, mut k1] = key;
    for _ in 0..ROUNDS {
        for l in 0..GROUP {
            let p = (c0[l] & 0xffff_ffff) * 0xd251_1f53;
            let q = (c2[l] & 0xffff_ffff) * 0xcd9e_8d57;
            (c0[l], c1[l], c2[l], c3[l]) =
                ((q >> 32) ^ c1[l] ^ u64::from(k0), q, (p >> 32) ^ c3[l] ^ u64::from(k1), p);
        }
        k0 = k0.wrapping_add(0x9e37_79b9);
        k1 = k1.wrapping_add(0xbb67_ae85);
    }
    let mut planes = [[0; GROUP]; 4];
    for l in 0..GROUP {
        planes[0][l] = c0[l] as u32;
        planes[1][l] = c1[l] as u32;
        planes[2][l] = c2[l] as u32;
        planes[3][l] = c3[l] as u32;
    }
    planes
}

/// Planes to blocks.
#[inline(always)]
fn interleave<T: Copy>(planes: &[[T; GROUP]; 4], out: &mut [[T; 4]; GROUP]) {
    for l in 0..GROUP {
        out[l] = [planes[0][l], planes[1][l], planes[2][l], planes[3][l]];
    }
}

/// Fills `out` with elements first, first + 1, ... of the sequence of which `group` gives [`GROUP`] blocks at a time.
#[inline(always)]
fn fill<T: Copy + Default>(first: u64, out: &mut [T], group: impl Fn(u64) -> [[T; GROUP]; 4]) {
    let (mut element, mut rest) = (first, out);
    while !rest.is_empty() {
        let lane = (element % 4) as usize;
        let planes = group(element / 4);
        let count = rest.len().min(4 * GROUP - lane);
        let (part, later) = rest.split_at_mut(count);
        if let ([whole], []) = part.as_chunks_mut::<4>().0.as_chunks_mut::<GROUP>() {
            interleave(&planes, whole);
        } else {
            let mut blocks = [[T::default(); 4]; GROUP];
            interleave(&planes, &mut blocks);
            part.copy_from_slice(&blocks.as_flattened()[lane..lane + count]);
        }
        element = element.wrapping_add(count as u64);
        rest = later;
    }
}

/// Raw integers: element `first + i` of (seed, stream, step) goes to `out[i]`, however the range is cut.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl+avx512vbmi2",
    "x86_64+avx2",
    "x86_64+sse4.1"
))]
pub fn fill_bits(seed: u64, stream: u32, step: u64, first_element: u64, out: &mut [u32]) {
    let key = key(seed, stream);
    fill(first_element, out, |start| philox_group(start, step, key))
}

/// Uniforms in (0, 1): element `first + i` of (seed, stream, step) goes to `out[i]`, however the range is cut.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl+avx512vbmi2",
    "x86_64+avx2",
    "x86_64+sse4.1"
))]
pub fn fill_uniform(seed: u64, stream: u32, step: u64, first_element: u64, out: &mut [f32]) {
    // the integers in place, then one plain pass: twice as fast as converting inside the group
    let key = key(seed, stream);
    fill(first_element, bytemuck::cast_slice_mut::<f32, u32>(out), |start| philox_group(start, step, key));
    for u in out {
        *u = uniform(u.to_bits());
    }
}

/// Standard normals: element `first + i` of (seed, stream, step) goes to `out[i]`, however the range is cut.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl+avx512vbmi2",
    "x86_64+avx2",
    "x86_64+sse4.1"
))]
pub fn fill_normal(seed: u64, stream: u32, step: u64, first_element: u64, out: &mut [f32]) {
    let key = key(seed, stream);
    fill(first_element, out, |start| {
        let [a, b, c, d] = philox_group(start, step, key);
        let mut planes = [[0.0; GROUP]; 4];
        for l in 0..GROUP {
            [planes[0][l], planes[1][l]] = normal_pair(a[l], b[l]);
        }
        for l in 0..GROUP {
            [planes[2][l], planes[3][l]] = normal_pair(c[l], d[l]);
        }
        planes
    })
}

#[cfg(test)]
mod tests;
