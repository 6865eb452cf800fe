//! `draw`: random numbers on the device: noise, signs, batch indices and times.

use super::call::{fold, params};
use super::cost::{Cost, Span};
use super::philox::{fill_bits, fill_normal, fill_uniform, index_below};
use super::state::{FIRST, State};
use super::{Arg, BufferId, Command, Kernel, TwinCx, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// The law of the numbers. Every element uses its own 32-bit word of the Philox sequence, u being its uniform; the
/// normal laws pair two words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Law {
    /// Uniform in (0, 1), never 0 or 1.
    Uniform,
    /// Standard normal, |y| < 5.8.
    Normal,
    /// -1 or +1 with equal probability: the word's highest bit.
    Rademacher,
    /// An integer (a u32 word, not a float) in 0..below: the high half of word * below; 0 if `below` is 0.
    Index {
        /// How many values there are.
        below: u32,
    },
    /// 1 / (1 + exp(-(mean + sd normal))).
    LogitNormal {
        /// Mean of the logit.
        mean: f32,
        /// Standard deviation of the logit.
        sd: f32,
    },
    /// scale Q(u) + shift, with Q interpolated linearly in a table of `intervals` + 1 quantiles at equal steps of
    /// probability ([`beta_quantiles`]). pi0's law is Beta(1.5, 1) with scale -0.999 and shift 0.999.
    Quantile {
        /// Intervals of the table (at least 1).
        intervals: u32,
        /// Factor on the quantile.
        scale: f32,
        /// Added to it.
        shift: f32,
    },
    /// 1 - 1 / (tan(pi u / 2) + 1).
    CosMap,
}

/// Words of a key: the seed and the step, low words first.
pub const KEY: usize = 4;
const _: () = assert!(super::state::SEED == 0 && super::state::STEP == 2);

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    n: u32,
    offset: u32,
    first: [u32; 2],
    stream: u32,
    law: u32,
    count: u32,
    a: f32,
    b: f32,
    groups: u32,
    continues: u32,
    pad: u32,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "draw",
    access: &[Access::Read, Access::Read, Access::Write],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::draw::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::draw::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::draw::ONLY.workgroup[0] == 64);

/// y\[offset + i\] = element first + i of the sequence (state's seed, stream, state's step), for i < n.
/// `table` holds the quantiles of [`Law::Quantile`]; other laws take any buffer but y.
pub fn command(
    law: Law,
    n: usize,
    first: u64,
    stream: u32,
    state: BufferId,
    table: BufferId,
    (y, offset): (BufferId, usize),
) -> Command {
    grouped(law, [1, n], Begin::At(first), stream, state, table, (y, offset))
}

/// As [`command`], from the element that the state names: for a part of a longer sequence.
pub fn continued(
    law: Law,
    n: usize,
    stream: u32,
    state: BufferId,
    table: BufferId,
    (y, offset): (BufferId, usize),
) -> Command {
    grouped(law, [1, n], Begin::State, stream, state, table, (y, offset))
}

/// y\[offset + g n + i\] = element i of the sequence of key g, for i < n and g < groups. `keys` holds four words for each
/// group, those that a state begins with: seed and step. So what a group gets does not depend on the others.
pub fn keyed(
    law: Law,
    [groups, n]: [usize; 2],
    stream: u32,
    keys: BufferId,
    table: BufferId,
    (y, offset): (BufferId, usize),
) -> Command {
    grouped(law, [groups, n], Begin::At(0), stream, keys, table, (y, offset))
}

/// The first element.
enum Begin {
    At(u64),
    State,
}

fn grouped(
    law: Law,
    [groups, n]: [usize; 2],
    begin: Begin,
    stream: u32,
    state: BufferId,
    table: BufferId,
    (y, offset): (BufferId, usize),
) -> Command {
    // Elements of the first block that may come before the first one.
    let (first, continues, skip) = match begin {
        Begin::At(first) => (first, 0, (first % 4) as usize),
        Begin::State => (0, 1, 3),
    };
    let (code, count, a, b) = match law {
        Law::Uniform => (0, 0, 0.0, 0.0),
        Law::Normal => (1, 0, 0.0, 0.0),
        Law::Rademacher => (2, 0, 0.0, 0.0),
        Law::Index { below } => (3, below, 0.0, 0.0),
        Law::LogitNormal { mean, sd } => (4, 0, sd, mean),
        Law::Quantile { intervals, scale, shift } => (5, intervals.max(1), scale, shift),
        Law::CosMap => (6, 0, 0.0, 0.0),
    };
    let params = Params {
        n: n as u32,
        offset: offset as u32,
        first: [first as u32, (first >> 32) as u32],
        stream,
        law: code,
        count,
        a,
        b,
        groups: groups as u32,
        continues,
        pad: 0,
    };
    let blocks = groups * (skip + n).div_ceil(4);
    Command::new(&KERNEL, &variant::draw::ONLY, &params, &[state, table, y], fold(blocks, 64))
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let n = (p.n * p.groups) as usize;
    // Ten rounds of Philox are about 100 integer operations for four words.
    let cost = Cost::new(25 * n).reads(0, Span::dense(0, KEY * p.groups as usize));
    let cost = cost.reads_if(p.continues == 1, 0, Span::dense(FIRST as u32, 2));
    let cost = cost.reads_if(p.law == 5, 1, Span::dense(0, p.count as usize + 1));
    cost.writes(2, Span::dense(p.offset, n))
}

fn twin(words: &[u32], args: &mut [Arg<'_>], cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [state, table, y] = args else { unreachable!("draw has three bindings") };
    let (state, table) = (state.read(), table.read());
    let mut first = u64::from(p.first[0]) | u64::from(p.first[1]) << 32;
    if p.continues == 1 {
        first = first.wrapping_add(State::from_words(state).first());
    }
    let n = p.n as usize;
    let all = n * p.groups as usize;
    let y = &mut y.write()[p.offset as usize..p.offset as usize + all];
    cx.rows(y, 1, all, 30 * all, |mut at, mut y| {
        while !y.is_empty() {
            let (group, element) = (at / n, at % n);
            let (part, rest) = y.split_at_mut((n - element).min(y.len()));
            at += part.len();
            let key = State::from_words(&state[KEY * group..]);
            fill(p, &key, first.wrapping_add(element as u64), table, part);
            y = rest;
        }
    });
}

/// Elements first, first + 1, ... of one key's sequence.
fn fill(p: &Params, key: &State, first: u64, table: &[f32], y: &mut [f32]) {
    let (seed, step) = (key.seed(), key.step());
    match p.law {
        1 | 4 => fill_normal(seed, p.stream, step, first, y),
        2 | 3 => fill_bits(seed, p.stream, step, first, bytemuck::cast_slice_mut(y)),
        _ => fill_uniform(seed, p.stream, step, first, y),
    }
    match p.law {
        2 => y.iter_mut().for_each(|y| *y = if y.to_bits() >> 31 == 1 { 1.0 } else { -1.0 }),
        3 => {
            let y: &mut [u32] = bytemuck::cast_slice_mut(y);
            y.iter_mut().for_each(|y| *y = index_below(*y, p.count));
        }
        4 => y.iter_mut().for_each(|y| *y = 1.0 / (1.0 + (-(p.b + p.a * *y)).exp())),
        5 => y.iter_mut().for_each(|y| *y = p.a * quantile(table, p.count, *y) + p.b),
        6 => y.iter_mut().for_each(|y| {
            let angle = std::f32::consts::FRAC_PI_2;
            let (sin, cos) = ((angle * *y).sin(), (angle * (1.0 - *y)).sin());
            *y = sin / (sin + cos);
        }),
        _ => {}
    }
}

/// The quantile at probability u, interpolated.
fn quantile(table: &[f32], intervals: u32, u: f32) -> f32 {
    let at = u * intervals as f32;
    let cell = (at as u32).min(intervals - 1);
    let low = table[cell as usize];
    low + (table[cell as usize + 1] - low) * (at - cell as f32)
}

/// The k + 1 quantiles of Beta(a, b) at probabilities 0, 1/k, ..., 1, computed in f64. Needs a, b > 0 (less than 0.01
/// counts as 0.01) and k of at least 1 (0 counts as 1).
pub fn beta_quantiles(a: f64, b: f64, k: usize) -> Vec<f32> {
    let (a, b, k) = (a.max(0.01), b.max(0.01), k.max(1));
    let mut from = 0.0;
    (0..=k)
        .map(|i| {
            if i == k {
                return 1.0;
            }
            let probability = i as f64 / k as f64;
            let (mut low, mut high) = (from, 1.0);
            while i > 0 && high - low > 1e-12 * high {
                let middle = 0.5 * (low + high);
                if middle <= low || middle >= high {
                    break;
                }
                if beta_law(a, b, middle) < probability { low = middle } else { high = middle }
            }
            from = low;
            if i == 0 { 0.0 } else { high as f32 }
        })
        .collect()
}

/// P(Beta(a, b) < x): the regularised incomplete beta function, by its continued fraction (Lentz's method).
fn beta_law(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta_law(b, a, 1.0 - x);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp() / a;
    let away = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let (mut c, mut d) = (1.0, 1.0 / away(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        fraction *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front * fraction
}

/// ln Gamma(x) for x > 0: Stirling's series, after shifting x above 10.
fn ln_gamma(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 10.0 {
        shift += x.ln();
        x += 1.0;
    }
    let z = 1.0 / (x * x);
    let series = 1.0 / 12.0 - z * (1.0 / 360.0 - z * (1.0 / 1260.0 - z * (1.0 / 1680.0 - z / 1188.0)));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series / x - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beta_quantiles_match_closed_forms() {
        for (i, q) in beta_quantiles(1.5, 1.0, 64).iter().enumerate() {
            let want = (i as f64 / 64.0).powf(1.0 / 1.5);
            assert!((f64::from(*q) - want).abs() < 1e-7, "{i}: {q} {want}");
        }
        for (i, q) in beta_quantiles(1.0, 3.0, 10).iter().enumerate() {
            let want = 1.0 - (1.0 - i as f64 / 10.0).cbrt();
            assert!((f64::from(*q) - want).abs() < 1e-7, "{i}: {q} {want}");
        }
        // Beta(2, 2): 3 x^2 - 2 x^3.
        for (i, q) in beta_quantiles(2.0, 2.0, 7).iter().enumerate() {
            let x = f64::from(*q);
            assert!((3.0 * x * x - 2.0 * x * x * x - i as f64 / 7.0).abs() < 1e-6);
        }
        assert_eq!(beta_quantiles(f64::NAN, -1.0, 0).len(), 2);
    }
}
