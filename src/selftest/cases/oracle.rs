//! The activations and their first two derivatives in f64, from their definitions, by jets: values that carry their
//! first and second derivative through every operation.

use crate::kernel::math::Activation;
use std::ops::{Add, Mul};

/// f, f', f''.
#[derive(Clone, Copy)]
struct Jet([f64; 3]);

impl Jet {
    fn constant(c: f64) -> Jet {
        Jet([c, 0.0, 0.0])
    }

    /// g of this, given g, g' and g'' at this value.
    fn through(self, g: [f64; 3]) -> Jet {
        let Jet([_, d, dd]) = self;
        Jet([g[0], g[1] * d, g[2] * d * d + g[1] * dd])
    }

    fn exp(self) -> Jet {
        self.through([self.0[0].exp(); 3])
    }

    fn log(self) -> Jet {
        let x = self.0[0];
        self.through([x.ln(), 1.0 / x, -1.0 / (x * x)])
    }

    fn reciprocal(self) -> Jet {
        let x = self.0[0];
        self.through([1.0 / x, -1.0 / (x * x), 2.0 / (x * x * x)])
    }

    fn sigmoid(self) -> Jet {
        (Jet::constant(1.0) + (Jet::constant(-1.0) * self).exp()).reciprocal()
    }

    fn tanh(self) -> Jet {
        Jet::constant(2.0) * (Jet::constant(2.0) * self).sigmoid() + Jet::constant(-1.0)
    }

    fn softplus(self) -> Jet {
        if self.0[0] > 20.0 { self } else { (Jet::constant(1.0) + self.exp()).log() }
    }

    /// The standard normal's distribution function.
    fn normal(self) -> Jet {
        let x = self.0[0];
        let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
        // Phi(x) = 1/2 + density (x + x^3/3 + x^5/(3 5) + ...).
        let (mut term, mut sum, mut odd) = (x, x, 1.0);
        while term.abs() > 1e-18 * sum.abs() {
            odd += 2.0;
            term *= x * x / odd;
            sum += term;
        }
        self.through([0.5 + density * sum, density, -x * density])
    }
}

impl Add for Jet {
    type Output = Jet;
    fn add(self, other: Jet) -> Jet {
        Jet(std::array::from_fn(|k| self.0[k] + other.0[k]))
    }
}

impl Mul for Jet {
    type Output = Jet;
    fn mul(self, other: Jet) -> Jet {
        let (Jet(a), Jet(b)) = (self, other);
        Jet([a[0] * b[0], a[1] * b[0] + a[0] * b[1], a[2] * b[0] + 2.0 * a[1] * b[1] + a[0] * b[2]])
    }
}

/// The derivative of `order` 0, 1 or 2 of an activation at x.
pub fn activation(act: Activation, order: u32, x: f64) -> f64 {
    let v = Jet([x, 1.0, 0.0]);
    let Jet(all) = match act {
        Activation::Relu => v * Jet::constant(f64::from(u8::from(x > 0.0))),
        Activation::Silu => v * v.sigmoid(),
        Activation::Gelu => v * v.normal(),
        Activation::GeluTanh => {
            let c = Jet::constant;
            let u = c(2.0 * std::f64::consts::FRAC_2_PI.sqrt()) * (v + c(0.044715) * v * v * v);
            v * u.sigmoid()
        }
        Activation::Mish => v * v.softplus().tanh(),
        Activation::Tanh => v.tanh(),
        Activation::Sigmoid => v.sigmoid(),
        Activation::Softplus => v.softplus(),
        Activation::Sin => v.through([x.sin(), x.cos(), -x.sin()]),
        Activation::Cos => v.through([x.cos(), -x.sin(), -x.cos()]),
        Activation::Exp => v.exp(),
        Activation::Square => v * v,
        Activation::Abs => v * Jet::constant(x.signum()),
        Activation::Sqrt => v.through([x.sqrt(), 0.5 / x.sqrt(), -0.25 / (x * x.sqrt())]),
        Activation::Reciprocal => v.reciprocal(),
        Activation::Log => v.log(),
        _ => v,
    };
    all[order as usize]
}

/// x moved to where the activation and its derivatives are defined and smooth.
pub fn into_domain(act: Activation, x: f32) -> f32 {
    match act {
        Activation::Sqrt | Activation::Log => x.abs() + 0.1,
        Activation::Reciprocal => x + 0.5f32.copysign(x),
        _ => x,
    }
}
