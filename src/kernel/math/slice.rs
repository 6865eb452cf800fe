//! Activations over slices: the processor's features are looked up once per call, the activation is chosen once per
//! call, and the loop inside is vector code without a branch. The results do not depend on the vector width.

use super::activation::{Activation, Function, with_activation};
use multiversion::multiversion;

#[inline(always)]
fn map(x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = f(x);
    }
}

#[inline(always)]
fn map_mul(x: &[f32], g: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32) {
    for ((y, &x), &g) in y.iter_mut().zip(x).zip(g) {
        *y = f(x) * g;
    }
}

#[cold]
fn bad_order(order: u32) -> ! {
    panic!("activations have derivatives of order 0, 1 and 2; got {order}")
}

/// y = f^(order)(x), element by element.
///
/// # Panics
/// If the lengths differ or `order` is above 2.
pub fn apply(act: Activation, order: u32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "apply: x and y");
    apply_wide(act, order, x, y);
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl+avx512vbmi2",
    "x86_64+avx2",
    "x86_64+sse4.1"
))]
fn apply_wide(act: Activation, order: u32, x: &[f32], y: &mut [f32]) {
    with_activation!(
        act,
        F,
        match order {
            0 => map(x, y, F::f0),
            1 => map(x, y, F::f1),
            2 => map(x, y, F::f2),
            _ => bad_order(order),
        }
    )
}

/// y = f^(order)(x) * g, element by element: the chain rule's step in either direction.
///
/// # Panics
/// If the lengths differ or `order` is above 2.
pub fn apply_mul(act: Activation, order: u32, x: &[f32], g: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "apply_mul: x and y");
    assert_eq!(g.len(), y.len(), "apply_mul: g and y");
    apply_mul_wide(act, order, x, g, y);
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl+avx512vbmi2",
    "x86_64+avx2",
    "x86_64+sse4.1"
))]
fn apply_mul_wide(act: Activation, order: u32, x: &[f32], g: &[f32], y: &mut [f32]) {
    with_activation!(
        act,
        F,
        match order {
            0 => map_mul(x, g, y, F::f0),
            1 => map_mul(x, g, y, F::f1),
            2 => map_mul(x, g, y, F::f2),
            _ => bad_order(order),
        }
    )
}

/// What follows a matrix product, on one row of n columns: c = act(alpha (c + bias) + beta residual).
///
/// # Panics
/// If `bias` or `residual` is given with another length than the row's.
pub fn epilogue(
    act: Activation,
    c: &mut [f32],
    alpha: f32,
    bias: Option<&[f32]>,
    beta: f32,
    residual: Option<&[f32]>,
) {
    if let Some(bias) = bias {
        assert_eq!(bias.len(), c.len(), "epilogue: bias and row");
    }
    if let Some(residual) = residual {
        assert_eq!(residual.len(), c.len(), "epilogue: residual and row");
    }
    epilogue_wide(act, c, alpha, bias, beta, residual);
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl+avx512vbmi2",
    "x86_64+avx2",
    "x86_64+sse4.1"
))]
fn epilogue_wide(
    act: Activation,
    c: &mut [f32],
    alpha: f32,
    bias: Option<&[f32]>,
    beta: f32,
    residual: Option<&[f32]>,
) {
    with_activation!(act, F, row::<F>(c, alpha, bias, beta, residual))
}

#[inline(always)]
fn row<F: Function>(c: &mut [f32], alpha: f32, bias: Option<&[f32]>, beta: f32, residual: Option<&[f32]>) {
    match (bias, residual) {
        (None, None) => {
            for c in c {
                *c = F::f0(alpha * *c);
            }
        }
        (Some(bias), None) => {
            for (c, &b) in c.iter_mut().zip(bias) {
                *c = F::f0(alpha * (*c + b));
            }
        }
        (None, Some(residual)) => {
            for (c, &r) in c.iter_mut().zip(residual) {
                *c = F::f0(alpha * *c + beta * r);
            }
        }
        (Some(bias), Some(residual)) => {
            for ((c, &b), &r) in c.iter_mut().zip(bias).zip(residual) {
                *c = F::f0(alpha * (*c + b) + beta * r);
            }
        }
    }
}

/// c = f'(pre) alpha c, on one row: the epilogue of a product in a backward pass.
///
/// # Panics
/// If the lengths differ.
pub fn mul_derivative(act: Activation, pre: &[f32], alpha: f32, c: &mut [f32]) {
    assert_eq!(pre.len(), c.len(), "mul_derivative: pre-activation and row");
    mul_derivative_wide(act, pre, alpha, c);
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512cd+avx512dq+avx512vl+avx512vbmi2",
    "x86_64+avx2",
    "x86_64+sse4.1"
))]
fn mul_derivative_wide(act: Activation, pre: &[f32], alpha: f32, c: &mut [f32]) {
    with_activation!(
        act,
        F,
        for (c, &x) in c.iter_mut().zip(pre) {
            *c *= alpha * F::f1(x);
        }
    )
}
