//! `tick`: closes the gradient of an optimiser step: norm, clip factor, learning rate, bias corrections, EMA decay, step
//! counter and a row of the loss ring, all on the device.

use super::call::params;
use super::cost::{Cost, Span};
use super::state::State;
use super::{Arg, BufferId, Command, Kernel, TwinCx, variant};
use crate::device::Access;
use bytemuck::{Pod, Zeroable};

/// The factor on the base learning rate at step n (the number of completed steps).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// n / warmup until `warmup`, then 1.
    Constant {
        /// Steps of linear warm-up.
        warmup: u32,
    },
    /// n / warmup until `warmup`, then a half cosine from 1 to 0 at `total`, and 0 after.
    Cosine {
        /// Steps of linear warm-up.
        warmup: u32,
        /// Step at which the rate is 0.
        total: u32,
    },
}

/// The decay of the exponential moving average of the weights at step n.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ema {
    /// The same at every step; 0 keeps a copy of the weights.
    Constant(f32),
    /// 1 - (1 + n)^-power, at most `max`.
    Power {
        /// The power.
        power: f32,
        /// The largest decay.
        max: f32,
    },
}

/// What `tick` needs to know of the optimiser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TickParams {
    /// Learning rate before the schedule's factor.
    pub base_lr: f32,
    /// The schedule.
    pub schedule: Schedule,
    /// Largest gradient norm; infinity: no clipping.
    pub max_norm: f32,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// The moving average's decay.
    pub ema: Ema,
    /// Rows of the loss ring (4 words each), at most 65,535; 0: no ring.
    pub ring_rows: u32,
}

/// Parameters; mirrors the WGSL struct.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Params {
    partials: u32,
    cosine: u32,
    warmup: u32,
    total: u32,
    base_lr: f32,
    max_norm: f32,
    log_beta1: f32,
    log_beta2: f32,
    ema_power: f32,
    ema_max: f32,
    ring_rows: u32,
    pad: u32,
}

/// The kernel.
pub static KERNEL: Kernel = Kernel {
    name: "tick",
    access: &[Access::Read, Access::Read, Access::ReadWrite, Access::ReadWrite],
    params_bytes: size_of::<Params>(),
    variants: &[&variant::tick::ONLY],
    twin,
    cost,
};
const _: () = assert!(variant::tick::ONLY.params_bytes as usize == size_of::<Params>());
const _: () = assert!(variant::tick::ONLY.workgroup[0] == 256);

/// Adds the `n_partials` (at most 256) sums of squares of `partial`, reads the loss (element 0 of `loss`), updates
/// `state` and writes {loss, learning rate, gradient norm, n (u32, low word)} to row n % ring_rows of `ring`, n being the
/// number of steps completed before this one. A gradient or loss that is not finite gets clip factor 0 (the update is
/// skipped) and is counted in the state.
pub fn command(
    tick: &TickParams,
    partial: BufferId,
    n_partials: usize,
    loss: BufferId,
    state: BufferId,
    ring: BufferId,
) -> Command {
    let params = words_of(tick, n_partials);
    Command::new(&KERNEL, &variant::tick::ONLY, &params, &[partial, loss, state, ring], [1, 1, 1])
}

/// The learning rate at step n.
pub fn learning_rate(tick: &TickParams, n: u64) -> f64 {
    f64::from(tick.base_lr) * factor(&words_of(tick, 1), n)
}

fn words_of(tick: &TickParams, n_partials: usize) -> Params {
    let (cosine, warmup, total) = match tick.schedule {
        Schedule::Constant { warmup } => (0, warmup, u32::MAX),
        Schedule::Cosine { warmup, total } => (1, warmup, total),
    };
    // A power of 0 stands for a constant.
    let (ema_power, ema_max) = match tick.ema {
        Ema::Constant(decay) => (0.0, decay),
        Ema::Power { power, max } => (power, max),
    };
    Params {
        partials: n_partials.min(256) as u32,
        cosine,
        warmup,
        total,
        base_lr: tick.base_lr,
        max_norm: tick.max_norm.min(f32::MAX),
        log_beta1: tick.beta1.ln().max(f64::from(f32::MIN)) as f32,
        log_beta2: tick.beta2.ln().max(f64::from(f32::MIN)) as f32,
        ema_power,
        ema_max,
        ring_rows: tick.ring_rows.min(65_535),
        pad: 0,
    }
}

/// The schedule's factor at step n.
fn factor(p: &Params, n: u64) -> f64 {
    let (warmup, total) = (u64::from(p.warmup), u64::from(p.total));
    if n < warmup {
        n as f64 / warmup as f64
    } else if p.cosine == 0 {
        1.0
    } else if n >= total {
        0.0
    } else {
        // sin(pi/2 y)^2 is the half cosine, without its cancellation near the end.
        let left = (total - n) as f64 / (total - warmup) as f64;
        (std::f64::consts::FRAC_PI_2 * left).sin().powi(2)
    }
}

/// The moving average's decay at step n.
fn decay(p: &Params, n: u64) -> f64 {
    let max = f64::from(p.ema_max);
    if p.ema_power == 0.0 { max } else { (1.0 - (1.0 + n as f64).powf(-f64::from(p.ema_power))).min(max) }
}

fn cost(words: &[u32]) -> Cost {
    let p: &Params = params(words);
    let state = Span::dense(0, super::state::WORDS);
    // About thirty operations make the scalars.
    let cost = Cost::new(p.partials as usize + 30).reads(0, Span::dense(0, p.partials as usize));
    let cost = cost.reads(1, Span::dense(0, 1)).reads(2, state).writes(2, state);
    if p.ring_rows > 0 { cost.writes(3, Span::scattered(4)) } else { cost }
}

fn twin(words: &[u32], args: &mut [Arg<'_>], _cx: &TwinCx<'_>) {
    let p: &Params = params(words);
    let [partial, loss, words, ring] = args else { unreachable!("tick has four bindings") };
    let mut state = State::from_words(words.read());
    let n = state.step();
    let sum: f64 = partial.read()[..p.partials as usize].iter().map(|v| f64::from(*v)).sum();
    state.norm = sum.sqrt() as f32;
    state.loss = loss.read()[0];
    state.clip = if state.norm.is_finite() && state.loss.is_finite() {
        (p.max_norm / (state.norm + 1e-6)).min(1.0)
    } else {
        state.non_finite = state.non_finite.wrapping_add(1);
        0.0
    };
    state.lr = (f64::from(p.base_lr) * factor(p, n)) as f32;
    state.ema_decay = decay(p, n) as f32;
    let next = n.wrapping_add(1);
    state.bias1 = -(next as f64 * f64::from(p.log_beta1)).exp_m1() as f32;
    state.bias2 = -(next as f64 * f64::from(p.log_beta2)).exp_m1() as f32;
    state.step = [next as u32, (next >> 32) as u32];
    state.store(words.write());
    if p.ring_rows > 0 {
        let at = 4 * (n % u64::from(p.ring_rows)) as usize;
        let row = [state.loss, state.lr, state.norm, f32::from_bits(n as u32)];
        ring.write()[at..at + 4].copy_from_slice(&row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::adamw::{self, AdamWParams};
    use crate::kernel::case::Case;
    use crate::kernel::sumsq;
    use crate::selftest::golden::Golden;

    const TICK: TickParams = TickParams {
        base_lr: 1.0,
        schedule: Schedule::Constant { warmup: 0 },
        max_norm: f32::INFINITY,
        beta1: 0.95,
        beta2: 0.999,
        ema: Ema::Constant(0.0),
        ring_rows: 3,
    };

    /// Runs a command's twin on buffers numbered as the command numbers them.
    fn run(command: Command, buffers: &mut Vec<Vec<f32>>) {
        let case = Case {
            label: String::new(),
            command,
            buffers: std::mem::take(buffers),
            expect: Vec::new(),
            exact: false,
            tolerance: 0.0,
        };
        *buffers = case.run_twin(2);
        for (buffer, before) in buffers.iter_mut().zip(&case.buffers) {
            buffer.truncate(before.len());
        }
    }

    fn tick_at(tick: &TickParams, step: u64, partial: &[f32], loss: f32) -> (State, Vec<f32>) {
        let state = State::new(5, step).words();
        let mut buffers = vec![partial.to_vec(), vec![loss], state, vec![0.0; 12]];
        let ids = [0, 1, 2, 3].map(BufferId);
        run(command(tick, ids[0], partial.len(), ids[1], ids[2], ids[3]), &mut buffers);
        (State::from_words(&buffers[2]), buffers.remove(3))
    }

    #[test]
    fn cosine_schedule_follows_the_golden_case() {
        let golden = Golden::read("optim_cosine_schedule");
        let schedule =
            Schedule::Cosine { warmup: golden.number("warmup") as u32, total: golden.number("total") as u32 };
        let steps = golden.i64("in.step");
        let got =
            steps.iter().map(|n| tick_at(&TickParams { schedule, ..TICK }, *n as u64, &[0.0], 0.0).0.lr);
        golden.check("out.factor", &got.collect::<Vec<_>>());
    }

    #[test]
    fn ema_decay_follows_the_golden_case() {
        let golden = Golden::read("optim_ema_decay");
        let ema = Ema::Power { power: golden.number("power") as f32, max: golden.number("max") as f32 };
        let steps = golden.i64("in.step");
        let got =
            steps.iter().map(|n| tick_at(&TickParams { ema, ..TICK }, *n as u64, &[0.0], 0.0).0.ema_decay);
        golden.check("out.decay", &got.collect::<Vec<_>>());
    }

    #[test]
    fn clipping_follows_the_golden_case() {
        let golden = Golden::read("optim_clip_norm");
        let max_norm = golden.number("max_norm") as f32;
        let g = golden.f32("in.g");
        let mut buffers = vec![g.clone(), vec![0.0; sumsq::partials(g.len())]];
        run(
            sumsq::command((g.len(), sumsq::partials(g.len())), (BufferId(0), 0), (BufferId(1), 0)),
            &mut buffers,
        );
        let (state, _) = tick_at(&TickParams { max_norm, ..TICK }, 0, &buffers[1], 0.5);
        golden.check("out.norm", &[state.norm]);
        golden.check("out.g", &g.iter().map(|g| g * state.clip).collect::<Vec<_>>());
    }

    #[test]
    fn adamw_follows_the_golden_trajectory() {
        let golden = Golden::read("optim_adamw");
        let attr = |name: &str| golden.number(name);
        let constants = AdamWParams {
            beta1: attr("beta1"),
            beta2: attr("beta2"),
            eps: attr("eps"),
            weight_decay: attr("weight_decay"),
        };
        let tick =
            TickParams { base_lr: attr("lr") as f32, beta1: constants.beta1, beta2: constants.beta2, ..TICK };
        let (p, grads) = (golden.f32("in.p"), golden.f32("in.grads"));
        let n = p.len();
        let zero = vec![0.0; n];
        let state = State::new(1, 0).words();
        let mut buffers = vec![
            p,
            zero.clone(),
            zero.clone(),
            zero.clone(),
            zero,
            state,
            vec![0.0],
            vec![0.0],
            vec![0.0; 12],
        ];
        let id = |i| BufferId(i);
        let mut trajectory = Vec::new();
        for g in grads.chunks(n) {
            buffers[1] = g.to_vec();
            run(sumsq::command((n, sumsq::partials(n)), (id(1), 0), (id(6), 0)), &mut buffers);
            run(command(&tick, id(6), 1, id(7), id(5), id(8)), &mut buffers);
            run(adamw::command(&constants, (0, n), [0, 1, 2, 3, 4].map(id), id(5)), &mut buffers);
            trajectory.extend_from_slice(&buffers[0]);
            // A decay of 0 keeps a copy of the weights.
            assert!(buffers[4].iter().zip(&buffers[0]).all(|(a, b)| (a - b).abs() < 1e-6));
        }
        golden.check("out.trajectory", &trajectory);
        assert_eq!(State::from_words(&buffers[5]).step(), 6);
    }

    #[test]
    fn a_gradient_that_is_not_finite_is_skipped_and_counted() {
        let (state, ring) = tick_at(&TICK, u64::from(u32::MAX), &[1.0, f32::NAN], 2.0);
        assert_eq!((state.clip, state.non_finite), (0.0, 1));
        assert_eq!(state.step(), 1 << 32);
        assert_eq!(ring[3].to_bits(), u32::MAX);
        let (state, _) = tick_at(&TICK, 0, &[9.0, 16.0], f32::INFINITY);
        assert_eq!((state.norm, state.clip, state.non_finite), (5.0, 0.0, 1));
    }
}
