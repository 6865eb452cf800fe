//! The f32 functions against f64 formulas, and those formulas' derivatives against central differences.

use super::*;
use std::f64::consts::{FRAC_1_SQRT_2, PI, TAU};

/// erf by its series for small |x|, else by Lentz's continued fraction of erfc; 1e-14.
fn erf64(x: f64) -> f64 {
    if x.abs() < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..80 {
            term *= -x * x / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        return sum * 2.0 / PI.sqrt();
    }
    x.signum() * (1.0 - erfc64(x.abs()))
}

/// erfc for x >= 1.5, relative.
fn erfc64(x: f64) -> f64 {
    let mut fraction = x;
    for k in (1..200).rev() {
        fraction = x + 0.5 * k as f64 / fraction;
    }
    (-x * x).exp() / (fraction * PI.sqrt())
}

fn normal_cdf64(x: f64) -> f64 {
    let z = x * FRAC_1_SQRT_2;
    match z {
        z if z < -1.5 => 0.5 * erfc64(-z),
        z => 0.5 * (1.0 + erf64(z)),
    }
}

fn sigmoid64(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The value and first two derivatives of an activation, in f64, written independently of the f32 forms.
fn reference(act: Activation, x: f64) -> [f64; 3] {
    use Activation::*;
    let s = sigmoid64(x);
    let ds = s * (1.0 - s);
    let dds = ds * (1.0 - 2.0 * s);
    let soft = (1.0 + x.exp()).ln();
    // f = x h: f' = h + x h', f'' = 2 h' + x h''
    let times_x = |h: [f64; 3]| [x * h[0], h[0] + x * h[1], 2.0 * h[1] + x * h[2]];
    // f = g(u)
    let chain = |g: [f64; 3], u: [f64; 3]| [g[0], g[1] * u[1], g[2] * u[1] * u[1] + g[1] * u[2]];
    let tanh = |u: f64| [u.tanh(), u.cosh().powi(-2), -2.0 * u.tanh() * u.cosh().powi(-2)];
    match act {
        Identity => [x, 1.0, 0.0],
        Relu => [x.max(0.0), if x > 0.0 { 1.0 } else { 0.0 }, 0.0],
        Silu => times_x([s, ds, dds]),
        Gelu => {
            let density = (-0.5 * x * x).exp() / TAU.sqrt();
            times_x([normal_cdf64(x), density, -x * density])
        }
        GeluTanh => {
            let k = (2.0 / PI).sqrt();
            let u =
                [k * (x + 0.044715 * x.powi(3)), k * (1.0 + 3.0 * 0.044715 * x * x), k * 6.0 * 0.044715 * x];
            let t = chain(tanh(u[0]), u);
            times_x([0.5 * (1.0 + t[0]), 0.5 * t[1], 0.5 * t[2]])
        }
        Mish => times_x(chain(tanh(soft), [soft, s, ds])),
        Tanh => tanh(x),
        Sigmoid => [s, ds, dds],
        Softplus if x > 20.0 => [x, 1.0, 0.0],
        Softplus => [soft, s, ds],
        Sin => [x.sin(), x.cos(), -x.sin()],
        Cos => [x.cos(), -x.sin(), -x.cos()],
        Exp => [x.exp(); 3],
        Square => [x * x, 2.0 * x, 2.0],
        Abs => [x.abs(), if x == 0.0 { 0.0 } else { x.signum() }, 0.0],
        Sqrt => [x.sqrt(), 0.5 / x.sqrt(), -0.25 * x.powf(-1.5)],
        Reciprocal => [1.0 / x, -1.0 / (x * x), 2.0 / x.powi(3)],
        Log => [x.ln(), 1.0 / x, -1.0 / (x * x)],
    }
}

/// Points on [-30, 30], denser near 0, or their positive half where the function wants it.
fn points(act: Activation) -> Vec<f32> {
    let positive = matches!(act, Activation::Sqrt | Activation::Reciprocal | Activation::Log);
    let line = (-30_000..=30_000).map(|i| i as f32 * 1e-3).chain((-4_000..=4_000).map(|i| i as f32 * 1e-3));
    line.filter(|&x| !positive || x > 0.0).collect()
}

#[test]
fn activations_match_f64() {
    for &act in Activation::ALL {
        let x = points(act);
        for order in 0..3 {
            let mut y = vec![0.0; x.len()];
            apply(act, order, &x, &mut y);
            let (mut error, mut norm) = (0.0, 1e-300);
            for (&x, &y) in x.iter().zip(&y) {
                let want = reference(act, f64::from(x))[order as usize];
                error += (f64::from(y) - want).powi(2);
                norm += want * want;
                // and point by point, on the scale of 1
                let bound = 1e-6 * want.abs().max(0.5);
                assert!((f64::from(y) - want).abs() <= bound, "{act} order {order} at {x}: {y}, want {want}");
            }
            let relative = (error / norm).sqrt();
            assert!(relative < 5e-7, "{act} order {order}: {relative:e}");
        }
    }
}

#[test]
fn references_are_each_others_derivatives() {
    let h = 1e-5;
    for &act in Activation::ALL {
        for x in [0.05, 0.4, 1.3, 2.2, 5.0, 11.0, -0.3, -1.1, -4.0] {
            if x < 0.0 && points(act)[0] > 0.0 {
                continue;
            }
            let (up, down, at) = (reference(act, x + h), reference(act, x - h), reference(act, x));
            for order in 0..2 {
                let slope = (up[order] - down[order]) / (2.0 * h);
                let bound = 1e-6 * (1.0 + at[order + 1].abs());
                assert!((slope - at[order + 1]).abs() < bound, "{act} order {order} at {x}: {slope} {at:?}");
            }
        }
    }
}

fn worst(
    points: impl Iterator<Item = f32>,
    f: impl Fn(f32) -> f32,
    want: impl Fn(f64) -> f64,
    relative: bool,
) -> f64 {
    points.fold(0.0, |worst, x| {
        let want = want(f64::from(x));
        let scale = if relative { want.abs().max(1e-37) } else { 1.0 };
        worst.max((f64::from(f(x)) - want).abs() / scale)
    })
}

#[test]
fn scalars_match_f64() {
    let grid = |low: f32, high: f32| (0..=200_000).map(move |i| low + (high - low) * (i as f32 / 200_000.0));
    let check = |name: &str, error: f64, bound: f64| assert!(error < bound, "{name}: {error:e}");
    check("exp", worst(grid(-86.0, 88.0), exp, f64::exp, true), 1.5e-7);
    check("exp_neg", worst(grid(0.0, 86.0), exp_neg, |a| (-a).exp(), true), 1.5e-7);
    check("log", worst(grid(1e-6, 3.0), log, f64::ln, true), 1.5e-7);
    check("log, wide", worst(grid(-86.0, 88.0).map(exp), log, f64::ln, true), 1.5e-7);
    check("sin", worst(grid(-1e4, 1e4), sin, f64::sin, false), 2e-7);
    check("cos", worst(grid(-1e4, 1e4), cos, f64::cos, false), 2e-7);
    check("sin, near 0", worst(grid(-3.0, 3.0), sin, f64::sin, false), 1.5e-7);
    check("sin of turns", worst(grid(0.0, 1.0), |u| sin_cos_turns(u).0, |u| (TAU * u).sin(), false), 1.5e-7);
    check("cos of turns", worst(grid(-9.0, 9.0), |u| sin_cos_turns(u).1, |u| (TAU * u).cos(), false), 1.5e-7);
    check("tanh", worst(grid(-20.0, 20.0), tanh, f64::tanh, true), 4e-7);
    check("sigmoid", worst(grid(-80.0, 80.0), sigmoid, sigmoid64, true), 4e-7);
    check("softplus", worst(grid(-15.0, 15.0), softplus, |x| x.exp().ln_1p(), true), 4e-7);
    check("erf", worst(grid(-6.0, 6.0), erf, erf64, true), 4e-7);
    check("normal law", worst(grid(-6.0, 6.0), |x| normal_law(x).0, normal_cdf64, true), 1.5e-6);
}

#[test]
fn edges() {
    assert_eq!(exp(89.0), f32::INFINITY);
    assert_eq!(exp(-200.0), 0.0);
    assert!(exp(88.72).is_finite() && exp(-100.0) > 0.0);
    assert_eq!(exp(0.0), 1.0);
    assert_eq!((log(0.0), log(1.0), log(f32::INFINITY)), (f32::NEG_INFINITY, 0.0, f32::INFINITY));
    assert!(log(-1.0).is_nan() && (log(1e-40) + 92.1034).abs() < 1e-3);
    assert_eq!((tanh(50.0), tanh(-50.0), tanh(0.0)), (1.0, -1.0, 0.0));
    assert_eq!((erf(20.0), erf(-20.0), erf(0.0)), (1.0, -1.0, 0.0));
    for &act in Activation::ALL {
        for order in 0..3 {
            for x in [1e30_f32, -1e30, 1e9, -1e9, 100.0, -100.0, 0.5] {
                let defined = !matches!(act, Activation::Sqrt | Activation::Log) || x > 0.0;
                let y = act.eval(order, x);
                let overflows = matches!(act, Activation::Square | Activation::Exp);
                assert!(
                    !defined || y.is_finite() || overflows && !y.is_nan(),
                    "{act} order {order} at {x}: {y}"
                );
            }
        }
        assert!(act.eval(0, f32::NAN).is_nan(), "{act} hides not-a-number");
    }
    assert!(sin(1e30).abs() <= 1.0 && sin(f32::INFINITY).is_nan());
    assert_eq!(Activation::Silu.eval(0, -1e30), 0.0);
    assert_eq!((Activation::Relu.eval(1, 0.0), Activation::Abs.eval(1, 0.0)), (0.0, 0.0));
    assert_eq!(Activation::Softplus.eval(0, 20.5), 20.5);
}

#[test]
fn names_and_codes_round_trip() {
    for (i, &act) in Activation::ALL.iter().enumerate() {
        assert_eq!(act.code() as usize, i);
        assert_eq!(Activation::from_code(act.code()), Some(act));
        assert_eq!(act.name().parse(), Ok(act));
        assert_eq!(serde_json::to_string(&act).unwrap(), format!("\"{act}\""));
    }
    assert_eq!(Activation::from_code(99), None);
    let error = "swosh".parse::<Activation>().unwrap_err().to_string();
    assert!(error.contains("swosh") && error.contains("gelu_tanh"), "{error}");
}

/// Every dispatched loop gives the bits of the scalar function, whatever the length and its remainder.
#[test]
fn slices_are_bit_equal_to_scalars() {
    let x: Vec<f32> = (0..77).map(|i| (i as f32 - 38.0) * 0.37 + 0.01).collect();
    let g: Vec<f32> = (0..77).map(|i| sin(i as f32)).collect();
    for &act in Activation::ALL {
        for n in [0, 1, 7, 16, 77] {
            let (mut y, mut z) = (vec![9.0; n], vec![9.0; n]);
            for order in 0..3 {
                apply(act, order, &x[..n], &mut y);
                apply_mul(act, order, &x[..n], &g[..n], &mut z);
                for i in 0..n {
                    let want = act.eval(order, x[i]);
                    assert!(
                        y[i].to_bits() == want.to_bits() || want.is_nan() && y[i].is_nan(),
                        "{act} {order}"
                    );
                    let want = want * g[i];
                    assert!(
                        z[i].to_bits() == want.to_bits() || want.is_nan() && z[i].is_nan(),
                        "{act} {order}"
                    );
                }
            }
            for (bias, residual) in [(false, false), (true, false), (false, true), (true, true)] {
                let mut c = x[..n].to_vec();
                let (b, r) = (bias.then_some(&g[..n]), residual.then_some(&x[77 - n..]));
                epilogue(act, &mut c, 0.5, b, 1.5, r);
                for i in 0..n {
                    let sum = 0.5 * b.map_or(x[i], |b| x[i] + b[i]);
                    let want = act.eval(0, r.map_or(sum, |r| sum + 1.5 * r[i]));
                    assert!(c[i].to_bits() == want.to_bits() || want.is_nan() && c[i].is_nan(), "{act} row");
                }
            }
        }
    }
}
