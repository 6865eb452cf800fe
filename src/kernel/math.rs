//! Activations (provisional until the branch `math` lands: identity, ReLU and SiLU only).

/// A pointwise activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Activation {
    /// x.
    Identity = 0,
    /// max(x, 0).
    Relu = 1,
    /// x / (1 + exp(-x)).
    Silu = 2,
}

impl Activation {
    /// The code that shaders know it by.
    pub fn code(self) -> u32 {
        self as u32
    }
    /// The activation of a code.
    pub fn from_code(code: u32) -> Option<Activation> {
        [Activation::Identity, Activation::Relu, Activation::Silu].get(code as usize).copied()
    }
    fn value(self, x: f32) -> f32 {
        match self {
            Activation::Identity => x,
            Activation::Relu => x.max(0.0),
            Activation::Silu => x / (1.0 + (-x).exp()),
        }
    }
    fn slope(self, x: f32) -> f32 {
        match self {
            Activation::Identity => 1.0,
            Activation::Relu => f32::from(x > 0.0),
            Activation::Silu => {
                let s = 1.0 / (1.0 + (-x).exp());
                s * (1.0 + x * (1.0 - s))
            }
        }
    }
}

/// c = act(alpha (c + bias) + beta residual).
pub fn epilogue(
    act: Activation,
    c: &mut [f32],
    alpha: f32,
    bias: Option<&[f32]>,
    beta: f32,
    residual: Option<&[f32]>,
) {
    for (j, c) in c.iter_mut().enumerate() {
        let x = alpha * (*c + bias.map_or(0.0, |b| b[j])) + residual.map_or(0.0, |r| beta * r[j]);
        *c = act.value(x);
    }
}

/// c = act'(pre) alpha c.
pub fn mul_derivative(act: Activation, pre: &[f32], alpha: f32, c: &mut [f32]) {
    for (c, &x) in c.iter_mut().zip(pre) {
        *c *= alpha * act.slope(x);
    }
}
