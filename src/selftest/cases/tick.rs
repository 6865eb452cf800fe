//! Cases of `tick`: both schedules, both averages, steps beyond 32 bits, and values that are not finite.

use super::values;
use crate::kernel::case::Case;
use crate::kernel::state::{self, State};
use crate::kernel::tick::{Ema, Schedule, TickParams, command};
use crate::kernel::{BufferId, Target};

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    let schedules = [
        Schedule::Constant { warmup: 0 },
        Schedule::Constant { warmup: 100 },
        Schedule::Cosine { warmup: 100, total: 5000 },
        Schedule::Cosine { warmup: 0, total: 0 },
    ];
    let averages = [Ema::Constant(0.995), Ema::Power { power: 0.75, max: 0.9999 }];
    for (c, partials) in [1usize, 7, 33, 255, 256].into_iter().enumerate() {
        for step in [0u64, 1, 50, 99, 100, 2600, 4990, 5000, 1 << 24, u64::from(u32::MAX), (9 << 32) + 77] {
            for (s, schedule) in schedules.into_iter().enumerate() {
                let ema = averages[(c + s) % 2];
                let loss = if s == 3 && step == 50 { f32::NAN } else { 0.75 };
                let tick = TickParams {
                    base_lr: 3e-3,
                    schedule,
                    max_norm: if s == 0 { f32::INFINITY } else { 1.0 },
                    beta1: 0.95,
                    beta2: 0.999,
                    ema,
                    ring_rows: 13,
                };
                out.extend(pair(&tick, partials, step, loss));
            }
        }
    }
    out
}

/// The case in floats and, for the counters, in words.
fn pair(tick: &TickParams, partials: usize, step: u64, loss: f32) -> [Case; 2] {
    let n = step as f64;
    let partial: Vec<f32> = values(partials, step).iter().map(|v| v.abs()).collect();
    let norm = partial.iter().map(|v| f64::from(*v)).sum::<f64>().sqrt();
    let (warmup, total) = match tick.schedule {
        Schedule::Constant { warmup } => (f64::from(warmup), f64::INFINITY),
        Schedule::Cosine { warmup, total } => (f64::from(warmup), f64::from(total)),
    };
    let factor = if n < warmup {
        n / warmup
    } else if total.is_infinite() {
        1.0
    } else {
        0.5 * (1.0 + (std::f64::consts::PI * ((n - warmup) / (total - warmup)).min(1.0)).cos())
    };
    let factor = if n >= total { 0.0 } else { factor };
    let decay = match tick.ema {
        Ema::Constant(decay) => f64::from(decay),
        Ema::Power { power, max } => (1.0 - (1.0 + n).powf(-f64::from(power))).min(f64::from(max)),
    };
    let skipped = !loss.is_finite();
    let before = State::new(77, step);
    let word = |v: u32| f64::from(f32::from_bits(v));
    let mut want: Vec<f64> = before.words().iter().map(|v| f64::from(*v)).collect();
    let next = step + 1;
    want[state::STEP] = word(next as u32);
    want[state::STEP + 1] = word((next >> 32) as u32);
    want[state::LR] = f64::from(tick.base_lr) * factor;
    want[state::CLIP] = if skipped { 0.0 } else { (f64::from(tick.max_norm) / (norm + 1e-6)).min(1.0) };
    want[state::NORM] = norm;
    want[state::BIAS1] = 1.0 - tick.beta1.powf(n + 1.0);
    want[state::BIAS2] = -((n + 1.0) * tick.beta2.ln()).exp_m1();
    want[state::EMA] = decay;
    want[state::LOSS] = f64::from(loss);
    want[state::NON_FINITE] = word(u32::from(skipped));
    let row = (step % 13) as usize;
    let mut ring = vec![f64::NAN; 13 * 4];
    ring[4 * row..4 * row + 4].copy_from_slice(&[0.75, want[state::LR], norm, word(step as u32)]);
    if step as u32 > 0x7f00_0000 {
        // As a float the step's word is huge or a NaN, which means "untouched" here.
        ring.truncate(4 * row + 3);
    }
    let seed = [77.0, 0.0, f64::from(next as u32), (next >> 32) as f64].to_vec();
    let expect = if skipped { vec![] } else { vec![(2, want), (3, ring)] };
    let id = [0, 1, 2, 3].map(BufferId);
    [(expect, false), (vec![(2, seed)], true)].map(|(expect, exact)| Case {
        label: format!("tick {partials} partials, step {step}, {:?}", tick.schedule),
        command: command(tick, id[0], partials, id[1], id[2], id[3]),
        buffers: vec![partial.clone(), vec![loss], before.words(), values(13 * 4, 3)],
        expect,
        exact,
        tolerance: 3e-6,
    })
}
