// The words of the per-run state buffer (array<u32>, 16 words); mirrors src/kernel/state.rs.
const STATE_SEED: u32 = 0u;
const STATE_STEP: u32 = 2u;
const STATE_LR: u32 = 4u;
const STATE_CLIP: u32 = 5u;
const STATE_NORM: u32 = 6u;
const STATE_BIAS1: u32 = 7u;
const STATE_BIAS2: u32 = 8u;
const STATE_EMA: u32 = 9u;
const STATE_LOSS: u32 = 10u;
const STATE_NON_FINITE: u32 = 11u;
const STATE_FIRST: u32 = 12u;
