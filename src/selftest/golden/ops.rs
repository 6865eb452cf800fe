//! Operations: outputs and, by a cotangent, every gradient.

use super::graph_case::GraphCase;
use super::{GoldenError, GoldenFile, Result, Score};
use crate::device::Device;
use crate::graph::op::matmul::MatMul;
use crate::graph::{Op, Shape};
use crate::kernel::math::Activation;
use crate::kernel::time_embed::TimeEmbedding;

pub(super) fn linear(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let mut c = GraphCase::new(file);
    let (x, w, b) = (c.input("in.x")?, c.param("in.w")?, c.param("in.b")?);
    let y = c.graph.linear(x, w, Some(b))?;
    c.check_vjp(device, y, &[("x", x), ("w", w), ("b", b)], score)
}

fn product(form: MatMul, file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let mut c = GraphCase::new(file);
    let (a, b) = (c.input("in.a")?, c.input("in.b")?);
    let y = c.graph.push(Op::MatMul(form), &[a, b])?;
    c.check_vjp(device, y, &[("a", a), ("b", b)], score)
}

pub(super) fn matmul(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    product(MatMul::nn(), file, device, score)
}

pub(super) fn matmul_nt(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    product(MatMul::nt(), file, device, score)
}

pub(super) fn matmul_tn(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    product(MatMul::tn(), file, device, score)
}

pub(super) fn activation(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let named = Activation::ALL.iter().find(|a| a.name() == file.case());
    let act = named.ok_or_else(|| GoldenError::Unknown { what: "activation", found: file.case().into() })?;
    let mut c = GraphCase::new(file);
    let x = c.input("in.x")?;
    let y = c.graph.map(*act, x)?;
    c.check_vjp(device, y, &[("x", x)], score)
}

pub(super) fn layer_norm(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let mut c = GraphCase::new(file);
    let (x, w, b) = (c.input("in.x")?, c.param("in.w")?, c.param("in.b")?);
    let y = c.graph.layer_norm(x, Some(w), Some(b), file.number("eps")? as f32)?;
    c.check_vjp(device, y, &[("x", x), ("w", w), ("b", b)], score)
}

pub(super) fn rms_norm(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let mut c = GraphCase::new(file);
    let (x, w) = (c.input("in.x")?, c.param("in.w")?);
    let y = c.graph.rms_norm(x, Some(w), file.number("eps")? as f32)?;
    c.check_vjp(device, y, &[("x", x), ("w", w)], score)
}

pub(super) fn softmax(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let mut c = GraphCase::new(file);
    let x = c.input("in.x")?;
    let y = c.graph.softmax(x)?;
    c.check_vjp(device, y, &[("x", x)], score)
}

/// One scale and one bias per sample and channel, over the channel's positions.
pub(super) fn film(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let mut c = GraphCase::new(file);
    let x = c.input("in.x")?;
    let column = Shape::matrix(c.graph.shape(x).rows(), 1);
    let (scale, bias) = (c.input("in.scale")?, c.input("in.bias")?);
    let (s, b) = (c.graph.reshape(scale, column)?, c.graph.reshape(bias, column)?);
    let y = c.graph.fma(x, s, b)?;
    c.check_vjp(device, y, &[("x", x), ("scale", scale), ("bias", bias)], score)
}

pub(super) fn concat(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let mut c = GraphCase::new(file);
    let parts = [c.input("in.a")?, c.input("in.b")?, c.input("in.c")?];
    let y = c.graph.concat(&parts)?;
    c.check_vjp(device, y, &[("a", parts[0]), ("b", parts[1]), ("c", parts[2])], score)
}

pub(super) fn mse(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let mut c = GraphCase::new(file);
    let (a, b) = (c.input("in.a")?, c.input("in.b")?);
    let y = c.graph.mse(a, b)?;
    c.check_vjp(device, y, &[("a", a), ("b", b)], score)
}

pub(super) fn time_embedding(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    file.expect("order", "sin,cos")?;
    let dim = file.number("dim")? as usize;
    let kind = match file.text("kind")? {
        "sinusoidal" => {
            file.expect("endpoint", true)?;
            TimeEmbedding::Sinusoidal {
                dim,
                scale: file.number("scale")?,
                max_period: file.number("max_period")?,
            }
        }
        "period" => TimeEmbedding::Period {
            dim,
            min_period: file.number("min_period")?,
            max_period: file.number("max_period")?,
        },
        other => return Err(GoldenError::Unknown { what: "time embedding", found: other.into() }),
    };
    let mut c = GraphCase::new(file);
    let rows = file.shape("in.t")?.len();
    let t = c.input_as("in.t", Shape::matrix(rows, 1))?;
    let y = c.graph.time_embedding(&kind, t)?;
    c.check(device, &[("out.y".into(), y)], score)
}
