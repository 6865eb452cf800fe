//! Convolutions along time and over images, pools and group norm; the files hold [batch, channels, steps] or
//! [batch, channels, height, width], the engine rows [batch * steps, channels] or [batch * height * width, channels].

use super::graph_case::GraphCase;
use super::{GoldenFile, Result, Score};
use crate::device::Device;
use crate::graph::Value;
use crate::graph::op::conv::Conv1d;
use crate::graph::op::conv2d::{Conv2d, Windows2d};
use crate::graph::op::group_norm::GroupNorm;

/// The tensors with an axis of channels.
const ROWS: &[&str] = &["in.x", "cot.y", "out.y", "grad.x"];

type Layer = fn(&mut GraphCase<'_>, [Value; 3], Conv1d) -> crate::graph::Result<Value>;

fn check(file: &GoldenFile, device: &Device, score: &mut Score, layer: Layer) -> Result<()> {
    let mut c = GraphCase::channels_last(file, ROWS);
    let (x, w, b) = (c.input("in.x")?, c.param("in.w")?, c.param("in.b")?);
    let (stride, padding) = (file.number("stride")? as usize, file.number("padding")? as usize);
    let steps = file.dims("in.x")?[2];
    let y = layer(&mut c, [x, w, b], Conv1d { steps, stride, padding })?;
    c.check_vjp(device, y, &[("x", x), ("w", w), ("b", b)], score)
}

pub(super) fn conv1d(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    check(file, device, score, |c, [x, w, b], conv| c.graph.conv1d(x, w, Some(b), conv))
}

pub(super) fn conv_transpose1d(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    check(file, device, score, |c, [x, w, b], conv| c.graph.conv_transpose1d(x, w, Some(b), conv))
}

/// Height and width of the input's images.
fn image(file: &GoldenFile) -> Result<[usize; 2]> {
    match file.dims("in.x")?.as_slice() {
        &[_, _, height, width] => Ok([height, width]),
        dims => Err(file.bad(format!("in.x: found {dims:?}, needed [batch, channels, height, width]"))),
    }
}

pub(super) fn conv2d(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let mut c = GraphCase::channels_last(file, ROWS);
    let (x, w, b) = (c.input("in.x")?, c.param("in.w")?, c.param("in.b")?);
    let [stride, padding] = [file.number("stride")?, file.number("padding")?].map(|n| [n as usize; 2]);
    let y = c.graph.conv2d(x, w, Some(b), Conv2d { size: image(file)?, stride, padding })?;
    c.check_vjp(device, y, &[("x", x), ("w", w), ("b", b)], score)
}

pub(super) fn max_pool2d(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let mut c = GraphCase::channels_last(file, ROWS);
    let x = c.input("in.x")?;
    let [kernel, stride, padding] = ["kernel", "stride", "padding"].map(|key| file.number(key));
    let [kernel, stride, padding] = [kernel?, stride?, padding?].map(|n| [n as usize; 2]);
    let y = c.graph.max_pool2d(x, Windows2d::new(image(file)?, kernel, stride, padding))?;
    c.check_vjp(device, y, &[("x", x)], score)
}

pub(super) fn group_norm(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let mut c = GraphCase::channels_last(file, ROWS);
    let (x, w, b) = (c.input("in.x")?, c.param("in.w")?, c.param("in.b")?);
    let (steps, groups) = (file.dims("in.x")?[2], file.number("groups")? as usize);
    let norm = GroupNorm { steps, groups, eps: file.number("eps")? as f32 };
    let y = c.graph.group_norm(x, norm, Some(w), Some(b))?;
    c.check_vjp(device, y, &[("x", x), ("w", w), ("b", b)], score)
}
