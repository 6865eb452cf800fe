//! The per-run values that kernels read: a device buffer of 16 words, written by the host once and by `tick` at every
//! optimiser step. Mirrors `shaders/shared/state.wgsl`.

use bytemuck::{Pod, Zeroable};

/// Word of the seed's low half; the high half follows.
pub const SEED: usize = 0;
/// Word of the step counter's low half; the high half follows. The number of completed optimiser steps.
pub const STEP: usize = 2;
/// Word of the learning rate of the last tick.
pub const LR: usize = 4;
/// Word of the factor on the gradient that clips its norm; 0: the update is skipped.
pub const CLIP: usize = 5;
/// Word of the gradient norm before clipping.
pub const NORM: usize = 6;
/// Word of 1 - beta1^step.
pub const BIAS1: usize = 7;
/// Word of 1 - beta2^step.
pub const BIAS2: usize = 8;
/// Word of the decay of the exponential moving average.
pub const EMA: usize = 9;
/// Word of the loss of the last tick.
pub const LOSS: usize = 10;
/// Word of the count of non-finite values met so far.
pub const NON_FINITE: usize = 11;
/// Word of the low half of the element that a run's noise begins at; the high half follows.
pub const FIRST: usize = 12;
/// Length of the buffer in words.
pub const WORDS: usize = 16;

/// The buffer's contents.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct State {
    /// Seed of the run: low word, high word.
    pub seed: [u32; 2],
    /// Completed optimiser steps: low word, high word.
    pub step: [u32; 2],
    /// Learning rate of the last tick.
    pub lr: f32,
    /// Factor on the gradient that clips its norm; 0: the update is skipped.
    pub clip: f32,
    /// Gradient norm before clipping.
    pub norm: f32,
    /// 1 - beta1^step.
    pub bias1: f32,
    /// 1 - beta2^step.
    pub bias2: f32,
    /// Decay of the exponential moving average.
    pub ema_decay: f32,
    /// Loss of the last tick.
    pub loss: f32,
    /// Non-finite values met so far: outputs of `denormalize`, and steps that `tick` skipped.
    pub non_finite: u32,
    /// Element that a run's noise begins at: low word, high word.
    pub first: [u32; 2],
    /// Zero.
    pub reserved: [u32; 2],
}
const _: () = assert!(size_of::<State>() == 4 * WORDS);
const _: () = assert!(std::mem::offset_of!(State, non_finite) == 4 * NON_FINITE);
const _: () = assert!(std::mem::offset_of!(State, first) == 4 * FIRST);

impl State {
    /// The state before the step with index `step`.
    pub fn new(seed: u64, step: u64) -> State {
        State { seed: halves(seed), step: halves(step), ..State::zeroed() }
    }

    /// The same with noise that begins at element `first` of its sequence.
    pub fn from_element(self, first: u64) -> State {
        State { first: halves(first), ..self }
    }

    /// The element that noise begins at.
    pub fn first(&self) -> u64 {
        whole(self.first)
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        whole(self.seed)
    }

    /// The number of completed optimiser steps.
    pub fn step(&self) -> u64 {
        whole(self.step)
    }

    /// The buffer's words, typed as the engine's buffers are.
    pub fn words(&self) -> Vec<f32> {
        bytemuck::cast_slice(std::slice::from_ref(self)).to_vec()
    }

    /// Reads the state from a buffer; missing words count as zero.
    pub fn from_words(words: &[f32]) -> State {
        let mut state = State::zeroed();
        let into: &mut [f32] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut state));
        for (to, from) in into.iter_mut().zip(words) {
            *to = *from;
        }
        state
    }

    /// Writes the state into a buffer, as far as it reaches.
    pub fn store(&self, words: &mut [f32]) {
        let from: &[f32] = bytemuck::cast_slice(std::slice::from_ref(self));
        for (to, from) in words.iter_mut().zip(from) {
            *to = *from;
        }
    }
}

fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

fn whole([low, high]: [u32; 2]) -> u64 {
    u64::from(low) | u64::from(high) << 32
}
