//! Cases of `adamw`: early and late steps, clipping, weight decay, and a skipped update.

use super::{SIZES, values};
use crate::kernel::adamw::{AdamWParams, command};
use crate::kernel::case::Case;
use crate::kernel::state::State;
use crate::kernel::{BufferId, Target};

/// The cases.
pub fn cases(_target: &Target) -> Vec<Case> {
    let mut out = Vec::new();
    let c = AdamWParams { beta1: 0.95, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 };
    for n in SIZES.into_iter().chain([255, 256, 257, 12_345]) {
        for (clip, step, ema_decay) in
            [(1.0f32, 0i32, 0.0f32), (0.125, 7, 0.9), (0.5, 3000, 0.9999), (0.0, 5, 0.5)]
        {
            let mut state = State::new(1, step as u64 + 1);
            (state.lr, state.clip, state.ema_decay) = (3e-3, clip, ema_decay);
            state.bias1 = (1.0 - c.beta1.powi(step + 1)) as f32;
            state.bias2 = (1.0 - c.beta2.powi(step + 1)) as f32;
            // An update of a part leaves what is before and behind it.
            let offset = if step == 7 { 5 } else { 0 };
            let all = offset + n + offset;
            let (p, g, m) = (values(all, 1), values(all, 2), values(all, 3));
            let (v, ema) = (values(all, 4).iter().map(|v| v * v).collect::<Vec<_>>(), values(all, 5));
            let mut want = [(); 4].map(|()| vec![f64::NAN; offset]);
            let wide = |v: f32| f64::from(v);
            for i in offset..offset + n {
                let g = wide(g[i]) * wide(clip);
                let first = wide(m[i]) * c.beta1 + (1.0 - c.beta1) * g;
                let second = wide(v[i]) * c.beta2 + (1.0 - c.beta2) * g * g;
                let denominator = second.sqrt() / wide(state.bias2).sqrt() + c.eps;
                let lr = wide(state.lr);
                let weight =
                    wide(p[i]) * (1.0 - lr * c.weight_decay) - lr / wide(state.bias1) * first / denominator;
                let average = wide(ema_decay) * wide(ema[i]) + (1.0 - wide(ema_decay)) * weight;
                for (list, value) in want.iter_mut().zip([weight, first, second, average]) {
                    list.push(if clip == 0.0 { f64::NAN } else { value });
                }
            }
            want.iter_mut().for_each(|list| list.extend(vec![f64::NAN; offset]));
            let [weight, first, second, average] = want;
            let id = [0, 1, 2, 3, 4, 5].map(BufferId);
            out.push(Case {
                label: format!("adamw {n} clip {clip} step {step}"),
                command: command(&c, (offset, n), [id[0], id[1], id[2], id[3], id[4]], id[5]),
                buffers: vec![p, g, m, v, ema, state.words()],
                expect: vec![(0, weight), (2, first), (3, second), (4, average)],
                exact: false,
                tolerance: 1e-6,
            });
        }
    }
    out
}
