//! Training objectives on a small network: the loss and the gradient of every parameter.

use super::{GoldenError, GoldenFile, Result, Score};
use crate::device::Device;
use crate::graph::lower::lower;
use crate::graph::{Graph, Program, Session, Shape, Value};
use crate::kernel::math::Activation;
use crate::kernel::path::{self, PathKind};
use crate::kernel::{Target, View};
use crate::nn::mlp::Mlp;
use crate::nn::{Builder, Conditioning, Inputs, NetworkSpec, ParamSpec, ParamStore, TimeInput};

/// The network of a file: linear layers `layers.N` with SiLU between, over [a; t; z].
pub(super) fn network(file: &GoldenFile) -> Result<NetworkSpec> {
    let mut widths = Vec::new();
    while file.has(&format!("param.layers.{}.weight", widths.len())) {
        widths.push(file.dims(&format!("param.layers.{}.weight", widths.len()))?[0]);
    }
    if widths.pop().is_none() {
        return Err(GoldenError::Unknown { what: "network", found: file.tensors().join(", ") });
    }
    Ok(NetworkSpec::Mlp(Mlp {
        hidden: widths,
        activation: Activation::Silu,
        time: TimeInput::Raw,
        conditioning: Conditioning::Concat,
    }))
}

/// The weights of a file for a network's parameters.
pub(super) fn weights(file: &GoldenFile, specs: &[ParamSpec]) -> Result<ParamStore> {
    let mut store = ParamStore::zeros(specs);
    store.load(&file.contents()?, "param.")?;
    Ok(store)
}

/// Flow matching on the OT path: mean (v(x_t, t, z) - u_t)^2. The path kernel makes x_t and u_t, as it does in training.
pub(super) fn cfm(file: &GoldenFile, device: &Device, score: &mut Score) -> Result<()> {
    let sigma = file.number("sigma_min")? as f32;
    let (a, z) = (file.shape("in.x0")?, file.shape("in.z")?);
    let rows = a.rows();
    let mut g = Graph::new();
    let xt = g.input("xt", a)?;
    let ut = g.input("ut", a)?;
    let t = g.input("in.t", Shape::matrix(rows, 1))?;
    let z = g.input("in.z", z)?;
    let inputs = Inputs::flat(&g, xt, t, z);
    let mut builder = Builder::new(&mut g);
    let v = network(file)?.velocity(&mut builder, &inputs)?;
    let specs = builder.params;
    let loss = g.mse(v, ut)?;
    let store = weights(file, &specs)?;
    let wrt: Vec<Value> =
        specs.iter().map(|p| g.param(&p.name, p.shape)).collect::<std::result::Result<_, _>>()?;
    let grads = g.grad(loss, &wrt)?;

    let mut program = Program::new(Target::of(device));
    let names = ["in.x0", "in.x1", "in.t", "in.z"];
    let mut ids = Vec::new();
    for name in names {
        ids.push(program.resident(name, file.shape(name)?.len())?);
    }
    let (x, u) = (program.temporary(a.len())?, program.temporary(a.len())?);
    program.push(path::command(
        PathKind::Ot,
        sigma,
        [rows, a.cols()],
        ids[0],
        ids[1],
        ids[2],
        ids[0],
        x,
        u,
    ))?;
    let params = program.resident("params", store.layout.len())?;
    let flat = program.resident("grads", store.layout.len())?;
    let loss_at = program.resident("loss", 1)?;
    let v_at = program.resident("v", a.len())?;
    let mut outputs = vec![(loss, (loss_at, View::dense(0, 1))), (v, (v_at, View::dense(0, a.cols())))];
    for (info, grad) in store.layout.iter().zip(&grads) {
        outputs.push((*grad, (flat, View::dense(info.offset, info.shape.cols()))));
    }
    let inputs = [("xt", x), ("ut", u), ("in.t", ids[2]), ("in.z", ids[3])];
    lower(&mut program, &g, (&store.layout, params), &inputs, &outputs)?;

    let mut session = Session::new(device, program.finish()?)?;
    for name in names {
        let id = session.plan().buffer(name)?;
        session.write(id, &file.f32(name)?)?;
    }
    let id = |session: &Session, name: &str| session.plan().buffer(name);
    let at = id(&session, "params")?;
    session.write(at, &store.values)?;
    session.run(&[0])?;
    let mut read = |name: &str, n: usize| -> Result<Vec<f32>> {
        let at = id(&session, name)?;
        let mut got = vec![0.0; n];
        session.read(at, &mut got)?;
        Ok(got)
    };
    let (loss, v, flat) = (read("loss", 1)?, read("v", a.len())?, read("grads", store.layout.len())?);
    score.close(file, "out.loss", &loss)?;
    score.close(file, "out.v", &v)?;
    for info in store.layout.iter() {
        score.close(
            file,
            &format!("grad.{}", info.name),
            &flat[info.offset..info.offset + info.shape.len()],
        )?;
    }
    Ok(())
}
