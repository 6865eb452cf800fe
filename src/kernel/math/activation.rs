//! The activations, their names and codes, and their first two derivatives.
//!
//! Each activation is a type with three always-inlined functions; `with_activation` turns a value of [`Activation`]
//! into that type once, outside the loop. A new activation is one line in the table, one `impl`, and its cases in
//! `shaders/shared/math.wgsl`. Semantics are PyTorch's: gelu is the erf form, relu'(0) = abs'(0) = 0, softplus is
//! linear above 20.

use super::{
    cos, exp, exp_neg, limit, log, normal_law, sigmoid_parts, sin, sin_cos, softplus, tanh, tanh_parts,
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// An activation as loops see it.
pub(crate) trait Function {
    /// f(x)
    fn f0(x: f32) -> f32;
    /// f'(x)
    fn f1(x: f32) -> f32;
    /// f''(x)
    fn f2(x: f32) -> f32;
}

/// Declares the enum, one marker type for each activation in `on`, and the match between the two.
macro_rules! activations {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal;)*) => {
        /// A pointwise function that a layer may end with. `code()` is what shaders switch on and never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        #[repr(u32)]
        pub enum Activation { $($(#[$doc])* $variant = $code,)* }

        impl Activation {
            /// Every activation, in the order of their codes.
            pub const ALL: &[Activation] = &[$(Activation::$variant,)*];

            /// PyTorch's name.
            pub const fn name(self) -> &'static str {
                match self { $(Activation::$variant => $name,)* }
            }
        }

        /// The activations as types.
        pub(crate) mod on {
            $(pub(crate) struct $variant;)*
        }

        /// `with_activation!(act, F, expression)`: the expression with `F` the activation's type.
        macro_rules! with_activation {
            ($act:expr, $f:ident, $body:expr) => {
                match $act { $($crate::kernel::math::Activation::$variant => {
                    type $f = $crate::kernel::math::activation::on::$variant;
                    $body
                })* }
            };
        }
        pub(crate) use with_activation;
    };
}

activations! {
    /// x
    #[default]
    Identity = 0, "identity";
    /// max(x, 0); the derivative at 0 is 0.
    Relu = 1, "relu";
    /// x sigmoid(x)
    Silu = 2, "silu";
    /// x Phi(x), the erf form.
    Gelu = 3, "gelu";
    /// x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)), PyTorch's `approximate="tanh"`.
    GeluTanh = 4, "gelu_tanh";
    /// x tanh(softplus(x))
    Mish = 5, "mish";
    /// tanh(x)
    Tanh = 6, "tanh";
    /// 1 / (1 + e^-x)
    Sigmoid = 7, "sigmoid";
    /// ln(1 + e^x), and x above 20.
    Softplus = 8, "softplus";
    /// sin(x), radians.
    Sin = 9, "sin";
    /// cos(x), radians.
    Cos = 10, "cos";
    /// e^x
    Exp = 11, "exp";
    /// x^2
    Square = 12, "square";
    /// |x|; the derivative at 0 is 0.
    Abs = 13, "abs";
    /// sqrt(x), for x > 0 where derivatives are wanted.
    Sqrt = 14, "sqrt";
    /// 1 / x, for x != 0.
    Reciprocal = 15, "reciprocal";
    /// ln(x), for x > 0.
    Log = 16, "log";
}

/// A name that no activation has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no activation is called {name:?}; known: {}", known())]
pub struct UnknownActivation {
    /// What was asked for.
    pub name: String,
}

fn known() -> String {
    Activation::ALL.iter().map(|a| a.name()).collect::<Vec<_>>().join(", ")
}

impl Activation {
    /// The number that shaders switch on.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The activation with this code.
    pub fn from_code(code: u32) -> Option<Activation> {
        Activation::ALL.get(code as usize).copied()
    }

    /// The derivative of the given order (0, 1 or 2) at one point. For slices see [`super::apply`].
    ///
    /// # Panics
    /// If `order` is above 2.
    pub fn eval(self, order: u32, x: f32) -> f32 {
        with_activation!(
            self,
            F,
            match order {
                0 => F::f0(x),
                1 => F::f1(x),
                2 => F::f2(x),
                _ => panic!("activations have derivatives of order 0, 1 and 2; got {order}"),
            }
        )
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Activation {
    type Err = UnknownActivation;
    fn from_str(name: &str) -> Result<Self, UnknownActivation> {
        let found = Activation::ALL.iter().find(|a| a.name() == name);
        found.copied().ok_or_else(|| UnknownActivation { name: name.to_owned() })
    }
}

/// The three orders of one activation, each an expression in x.
macro_rules! function {
    ($variant:ident, |$x:ident| $f0:expr, $f1:expr, $f2:expr) => {
        #[allow(unused_variables)]
        impl Function for on::$variant {
            #[inline(always)]
            fn f0($x: f32) -> f32 {
                $f0
            }
            #[inline(always)]
            fn f1($x: f32) -> f32 {
                $f1
            }
            #[inline(always)]
            fn f2($x: f32) -> f32 {
                $f2
            }
        }
    };
}

function!(Identity, |x| x, 1.0, 0.0);
function!(Relu, |x| if x < 0.0 { 0.0 } else { x }, if x > 0.0 { 1.0 } else { 0.0 }, 0.0);
function!(Square, |x| x * x, 2.0 * x, 2.0);
function!(Sin, |x| sin(x), cos(x), -sin(x));
function!(Cos, |x| cos(x), -sin(x), -sin_cos(x).1);
function!(Exp, |x| exp(x), exp(x), exp(x));
function!(Log, |x| log(x), 1.0 / x, -1.0 / (x * x));
function!(Sqrt, |x| x.sqrt(), 0.5 / x.sqrt(), -0.25 / (x * x.sqrt()));
function!(Reciprocal, |x| 1.0 / x, -1.0 / (x * x), 2.0 / (x * x * x));
function!(Abs, |x| x.abs(), sign(x), 0.0);
function!(Tanh, |x| tanh(x), tanh_parts(x).1, {
    let (t, slope) = tanh_parts(x);
    -2.0 * t * slope
});
function!(Sigmoid, |x| sigmoid_parts(x).0, sigmoid_slope(x), {
    let (s, c) = sigmoid_parts(x);
    s * c * (c - s)
});
function!(
    Softplus,
    |x| softplus(x),
    if x > 20.0 { 1.0 } else { sigmoid_parts(x).0 },
    if x > 20.0 { 0.0 } else { sigmoid_slope(x) }
);
function!(
    Silu,
    |x| x * sigmoid_parts(x).0,
    {
        let (s, c) = sigmoid_parts(x);
        s * (1.0 + x * c)
    },
    {
        let (s, c) = sigmoid_parts(x);
        s * c * (2.0 + x * (c - s))
    }
);
function!(
    Gelu,
    |x| x * normal_law(x).0,
    {
        let (distribution, density) = normal_law(x);
        distribution + x * density
    },
    {
        let x = limit(x, -20.0, 20.0);
        normal_law(x).1 * (2.0 - x * x)
    }
);
function!(
    GeluTanh,
    |x| x * gelu_tanh_parts(x).0,
    {
        let x = limit(x, -20.0, 20.0);
        let (s, c, du, _) = gelu_tanh_parts(x);
        s + x * s * c * du
    },
    {
        let x = limit(x, -20.0, 20.0);
        let (s, c, du, ddu) = gelu_tanh_parts(x);
        s * c * (2.0 * du + x * ((c - s) * du * du + ddu))
    }
);
function!(
    Mish,
    |x| x * mish_parts(x).0,
    {
        let (t, dt) = mish_parts(x);
        t + x * dt
    },
    {
        let (t, dt) = mish_parts(x);
        let (s, c) = sigmoid_parts(x);
        dt * (2.0 + x * (c - 2.0 * t * s))
    }
);

#[inline(always)]
fn sign(x: f32) -> f32 {
    let up = if x > 0.0 { 1.0 } else { 0.0 };
    if x < 0.0 { -1.0 } else { up }
}

#[inline(always)]
fn sigmoid_slope(x: f32) -> f32 {
    let (s, c) = sigmoid_parts(x);
    s * c
}

/// With u = 2 sqrt(2/pi) (x + 0.044715 x^3): (sigmoid u, 1 - sigmoid u, u', u'').
#[inline(always)]
fn gelu_tanh_parts(x: f32) -> (f32, f32, f32, f32) {
    const A: f32 = 1.595_769_1;
    const B: f32 = 0.071_354_814;
    let z = x * x;
    let (s, c) = sigmoid_parts(x * (A + B * z));
    (s, c, A + 3.0 * B * z, 6.0 * B * x)
}

/// t = tanh(softplus(x)) and t', both relative, from e = e^-|x|: nothing overflows.
#[inline(always)]
fn mish_parts(x: f32) -> (f32, f32) {
    let e = exp_neg(x.abs());
    let square = e * e;
    let (numerator, rest, scale) =
        if x < 0.0 { (square + 2.0 * e, 2.0, e) } else { (1.0 + 2.0 * e, 2.0 * square, square) };
    let i = 1.0 / (numerator + rest);
    (numerator * i, 4.0 * scale * (1.0 + e) * i * i)
}
