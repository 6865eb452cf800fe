//! Riemannian flow matching (Chen & Lipman 2023) for actions with directions, rotations or poses in them: x_t goes along the geodesic
//! from uniform noise to the action, the velocity is the network's answer projected to the tangent space at x_t, and the loss is
//! mean |v - d/dt x_t|².
//!
//! `euler:N` steps along geodesics. Methods of more stages work in the coordinates: the field is that of the point's projection to the
//! manifold, which extends it smoothly, so after the projection of each step the order is that of the method.
//!
//! Columns on manifolds are not normalised: they are unit vectors in the data and in the samples.

use super::task::streams;
use super::{Loss, Method, Net, ObjectiveError, Preparation, Query, Sampling, State, Steps, Task, ops};
use crate::flow::manifold::{self, Placement};
use crate::flow::solver::FixedMethod;
use crate::flow::{Path, Solver};
use crate::graph::error::shape_error;
use crate::graph::{Graph, Result, Value};
use crate::kernel::draw::Law;
use crate::kernel::geodesic;
use crate::kernel::manifold::{PartKind, Parts};
use crate::kernel::manifold_exp::Way;
use crate::nn::Builder;
use serde::{Deserialize, Serialize};

/// The objective; the law of the times is a setting of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Riemannian {
    /// What of an action lies on which manifold, in the order of the columns; the rest is flat.
    pub manifolds: Vec<Placement>,
}

/// How far from 1 the length of a unit vector of the data may be.
const LENGTH_TOLERANCE: f32 = 1e-2;

impl Riemannian {
    fn parts(&self, action_dim: usize) -> std::result::Result<Parts, ObjectiveError> {
        manifold::parts(&self.manifolds, action_dim).map_err(|_| {
            let found = format!("{:?} in actions of {action_dim} values", self.manifolds);
            let needed = "manifolds within an action, in the order of their columns and without overlap";
            ObjectiveError::setting("objective.riemannian.manifolds", found, needed)
        })
    }

    fn graph_parts(&self, action_dim: usize) -> Result<Parts> {
        manifold::parts(&self.manifolds, action_dim)
            .map_err(|_| shape_error("riemannian", &[], "manifolds that fit an action"))
    }
}

/// The network's answer in the tangent space at x.
fn velocity(b: &mut Builder<'_>, net: &dyn Net, x: Query, parts: &Parts) -> Result<Value> {
    let v = net.query(b, x)?;
    b.graph.tangent(x.a, v, parts)
}

/// x moved by sum of the `by` (factor, times a clock's step length, of a velocity).
fn moved(g: &mut Graph, [x, h]: [Value; 2], by: &[(f64, Value)], parts: &Parts, way: Way) -> Result<Value> {
    let mut w: Option<Value> = None;
    for &(factor, v) in by.iter().filter(|(factor, _)| *factor != 0.0) {
        w = Some(match w {
            None => g.affine(v, factor as f32, 0.0)?,
            Some(w) => g.axpby(1.0, w, factor as f32, v)?,
        });
    }
    let Some(w) = w else { return Ok(x) };
    let w = g.mul(w, h)?;
    g.manifold_exp(x, w, parts, way)
}

impl Method for Riemannian {
    fn check(&self) -> std::result::Result<(), ObjectiveError> {
        match self.manifolds.is_empty() {
            false => Ok(()),
            true => Err(ObjectiveError::setting(
                "objective.riemannian.manifolds",
                "none",
                "at least one, as { kind = \"so3\", at = 3 } (s1, s2, so3, se3)",
            )),
        }
    }

    fn raw_columns(&self, action_dim: usize) -> std::result::Result<Vec<usize>, ObjectiveError> {
        let parts = self.parts(action_dim)?;
        let curved = parts.iter().filter(|p| p.kind != PartKind::Flat);
        Ok(curved.flat_map(|p| p.start..p.start + p.len).collect())
    }

    fn check_action(&self, action: &[f32]) -> std::result::Result<(), ObjectiveError> {
        for part in self.parts(action.len())?.iter().filter(|p| p.kind != PartKind::Flat) {
            let length = action[part.start..][..part.len].iter().map(|v| v * v).sum::<f32>().sqrt();
            if !((1.0 - LENGTH_TOLERANCE)..=(1.0 + LENGTH_TOLERANCE)).contains(&length) {
                let found =
                    format!("length {length} in columns {} to {}", part.start, part.start + part.len - 1);
                return Err(ObjectiveError::setting("an action on a manifold", found, "a unit vector"));
            }
        }
        Ok(())
    }

    fn settle(&self, action_dim: usize, chunk: &mut [f32]) -> std::result::Result<(), ObjectiveError> {
        manifold::align(&self.parts(action_dim)?, chunk);
        Ok(())
    }

    fn prepare(&self, p: &mut Preparation<'_>) -> Result<()> {
        let task = p.task;
        let parts = self.graph_parts(task.action_dim)?;
        let n = task.batch * task.chunk();
        let t = p.times()?;
        let x0 = p.draw(Law::Normal, task.chunk(), streams::NOISE)?;
        let table = p.program.constant(&parts.table())?;
        let (xt, ut) = (p.program.temporary(n)?, p.program.temporary(n)?);
        let buffers = geodesic::Buffers { x0, x1: p.x1, t, parts: table, xt, ut };
        p.program.push(geodesic::command([task.batch, task.horizon], &parts, &buffers))?;
        for (name, buffer) in [("t", t), ("xt", xt), ("ut", ut)] {
            p.bind(name, buffer);
        }
        Ok(())
    }

    fn loss(&self, b: &mut Builder<'_>, net: &dyn Net, task: &Task) -> Result<Loss> {
        let parts = self.graph_parts(task.action_dim)?;
        let (a, u) = (task.chunks(b.graph, "xt")?, task.chunks(b.graph, "ut")?);
        let (t, obs) = (task.columns(b.graph, "t", 1)?, task.obs(b.graph)?);
        let v = velocity(b, net, Query { a, t, interval: None, obs }, &parts)?;
        let counts = task.counts(b.graph)?;
        Ok(Loss { value: ops::mse(b.graph, v, u, counts)?, parts: vec![("v", v)] })
    }

    fn sampling(&self, wanted: Solver, task: &Task) -> std::result::Result<Sampling, ObjectiveError> {
        self.parts(task.action_dim)?;
        let Solver::Fixed { method, steps } = wanted else {
            return Err(ObjectiveError::Solver {
                objective: "riemannian",
                solver: wanted.to_string(),
                needed: "a solver with fixed steps (euler:N, midpoint:N, heun:N, rk4:N, rk4_38:N)",
            });
        };
        if task.path != Path::default() {
            let found = format!("{:?}", task.path);
            return Err(ObjectiveError::setting(
                "path",
                found,
                "the default: riemannian goes along geodesics",
            ));
        }
        if task.max_delay.is_some() {
            return Err(ObjectiveError::setting(
                "prefix",
                "one",
                "none: riemannian has one time for a chunk",
            ));
        }
        let h = 1.0 / steps as f64;
        let row = |s: usize| {
            let times = method.tableau().c.iter().map(|c| (s as f64 + c) * h);
            [h].into_iter().chain(times).map(|v| v as f32).collect()
        };
        let clock = (0..steps).map(row).collect();
        Ok(Sampling::Steps(Steps { solver: wanted, clock, noise: 0 }))
    }

    fn step(&self, b: &mut Builder<'_>, net: &dyn Net, task: &Task, s: &State) -> Result<Value> {
        let parts = self.graph_parts(task.action_dim)?;
        let Solver::Fixed { method, .. } = s.solver else {
            return Err(shape_error("riemannian", &[], "a solver with fixed steps"));
        };
        let (tableau, way) = (
            method.tableau(),
            match method {
                FixedMethod::Euler => Way::Geodesic,
                _ => Way::Straight,
            },
        );
        let h = b.graph.slice(s.clock, 0, 1)?;
        // Noise comes with any length.
        let none = b.graph.zeros(b.graph.shape(s.x))?;
        let x = b.graph.manifold_exp(s.x, none, &parts, way)?;
        let (mut at, mut ks) = (x, Vec::new());
        for i in 0..tableau.b.len() {
            let t = b.graph.slice(s.clock, 1 + i, 1)?;
            ks.push(velocity(b, net, Query { a: at, t, interval: None, obs: s.obs }, &parts)?);
            let row = if i + 1 == tableau.b.len() { tableau.b } else { tableau.a[i + 1] };
            let by: Vec<(f64, Value)> = row.iter().copied().zip(ks.iter().copied()).collect();
            at = moved(b.graph, [x, h], &by, &parts, way)?;
        }
        Ok(at)
    }
}
