//! Log-likelihood by the change of variables: log p(x1) = log N(x0) - int_0^1 div v dt, integrated from t = 1 back to 0.
//!
//! The divergence comes from forward mode: e . (dv/dx e) for tangents e. Exact: one row per unit vector. Hutchinson: rows
//! with a Rademacher vector each, kept along the trajectory (Grathwohl 2019).

use super::integrator::{IntegrateOptions, Integrator, RowOutcome, RowStatus, Start, all_done};
use super::{Batch, Field, FlowError, Result, Solver};
use crate::device::Device;
use crate::graph::{Graph, ParamLayout, Value};
use crate::kernel::philox;

/// How the divergence is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divergence {
    /// Every diagonal entry of the Jacobian: dim rows per sample.
    Exact,
    /// This many Rademacher vectors per sample.
    Hutchinson {
        /// Vectors per sample.
        probes: usize,
        /// Seed of the vectors.
        seed: u64,
    },
}

/// Stream of the Rademacher vectors.
const PROBE_STREAM: u32 = 2;

/// The field on [x, l]: dx/dt = v, dl/dt = e . (dv/dx e).
struct Augmented<'a> {
    field: &'a dyn Field,
}

impl Field for Augmented<'_> {
    fn dim(&self) -> usize {
        self.field.dim() + 1
    }

    fn request(&self) -> Vec<(&'static str, usize)> {
        let mut inputs = self.field.request();
        inputs.push(("probe", self.field.dim()));
        inputs
    }

    fn velocity(
        &self,
        g: &mut Graph,
        state: Value,
        time: Value,
        request: &[Value],
    ) -> crate::graph::Result<Value> {
        let x = g.slice(state, 0, self.field.dim())?;
        let (probe, inner) = match request.split_last() {
            Some((probe, inner)) => (*probe, inner),
            None => return Err(crate::graph::error::shape_error("log_prob", &[], "a probe vector")),
        };
        let v = self.field.velocity(g, x, time, inner)?;
        let tangent = g.jvp(&[(x, probe)], &[v])?[0];
        let product = g.mul(probe, tangent)?;
        let divergence = g.row_sum(product, 1.0)?;
        g.concat(&[v, divergence])
    }
}

/// A compiled log-likelihood.
pub struct LogProb {
    integrator: Integrator,
    divergence: Divergence,
    rows: usize,
    dim: usize,
    probes: usize,
    request_cols: Vec<usize>,
    solver: Solver,
    /// Of each row in the last run.
    outcomes: Vec<RowOutcome>,
}

impl LogProb {
    /// Compiles the log-likelihood of `batch.rows()` states under `field` by a fixed-step `solver`.
    pub fn new(
        device: &Device,
        field: &dyn Field,
        layout: &ParamLayout,
        solver: Solver,
        batch: Batch,
        divergence: Divergence,
    ) -> Result<LogProb> {
        let dim = field.dim();
        let probes = match divergence {
            Divergence::Exact => dim,
            Divergence::Hutchinson { probes, .. } => probes,
        };
        if probes == 0 {
            return Err(FlowError::Range { what: "probes", found: 0.0, needed: "at least one" });
        }
        let times: Vec<f64> = match solver {
            Solver::Fixed { steps, .. } => (0..=steps).map(|i| 1.0 - i as f64 / steps as f64).collect(),
            Solver::Adaptive { .. } => vec![1.0, 0.0],
            Solver::Discrete { .. } => return Err(super::integrator::no_ode(solver)),
        };
        let rows = batch.rows();
        // Every row carries its probe, so every row is a request of its own.
        let whole = Batch { requests: rows * probes, samples: 1 };
        let options = IntegrateOptions { times: Some(&times), ..IntegrateOptions::default() };
        let augmented = Augmented { field };
        let integrator = Integrator::new(device, &augmented, layout, solver, whole, &options)?;
        let request_cols = field.request().iter().map(|r| r.1).collect();
        let outcomes = Vec::with_capacity(rows);
        Ok(LogProb { integrator, divergence, rows, dim, probes, request_cols, solver, outcomes })
    }

    /// Sets the parameters.
    pub fn set_params(&mut self, values: &[f32]) -> Result<()> {
        self.integrator.set_params(values)
    }

    /// Natural-log densities \[rows\] of `x1` [rows, dim] given the requests ([rows, columns] each, one per row), and where the
    /// states come from at t = 0, [rows, dim].
    pub fn run(&mut self, x1: &[f32], requests: &[&[f32]]) -> Result<(Vec<f64>, Vec<f32>)> {
        self.run_from(0, x1, requests)
    }

    /// As [`LogProb::run`] for rows that begin at number `first_row` of a longer list: each row has the Rademacher vectors of
    /// its number, however the list is cut.
    pub fn run_from(
        &mut self,
        first_row: usize,
        x1: &[f32],
        requests: &[&[f32]],
    ) -> Result<(Vec<f64>, Vec<f32>)> {
        let found = self.run_each_from(first_row, x1, requests)?;
        all_done(&self.outcomes, self.solver)?;
        Ok(found)
    }

    /// What became of each row in the last run, \[rows\]; its steps are those of all its vectors. None if there was no run yet, or the
    /// last one failed as a whole.
    pub fn outcomes(&self) -> &[RowOutcome] {
        &self.outcomes
    }

    /// As [`LogProb::run_from`], but a row that fails is no error: its density is NaN, and its outcome says why.
    ///
    /// # Errors
    /// Arrays of another length; a failing device.
    pub fn run_each_from(
        &mut self,
        first_row: usize,
        x1: &[f32],
        requests: &[&[f32]],
    ) -> Result<(Vec<f64>, Vec<f32>)> {
        self.outcomes.clear();
        let (rows, dim, probes) = (self.rows, self.dim, self.probes);
        let repeat = |data: &[f32], cols: usize| -> Vec<f32> {
            data.chunks_exact(cols.max(1))
                .flat_map(|row| std::iter::repeat_n(row, probes))
                .flatten()
                .copied()
                .collect()
        };
        let mut start = Vec::with_capacity(rows * probes * (dim + 1));
        for row in x1.chunks_exact(dim) {
            for _ in 0..probes {
                start.extend_from_slice(row);
                start.push(0.0);
            }
        }
        let mut inputs: Vec<Vec<f32>> =
            requests.iter().zip(&self.request_cols).map(|(d, c)| repeat(d, *c)).collect();
        inputs.push(self.probe_vectors(first_row));
        let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let mut end = vec![0.0; start.len()];
        self.integrator.run_each(Start::Given(&start), &slices, &mut end, None)?;
        self.outcomes.resize(rows, RowOutcome::default());
        for (row, each) in self.outcomes.iter_mut().zip(self.integrator.outcomes().chunks(probes)) {
            for probe in each {
                row.steps += probe.steps;
                row.rejected += probe.rejected;
                if row.status.is_done() {
                    row.status = probe.status;
                }
            }
        }
        let mut log_prob = Vec::with_capacity(rows);
        let mut x0 = Vec::with_capacity(rows * dim);
        for sample in end.chunks_exact(probes * (dim + 1)) {
            let x = &sample[..dim];
            let traces: f64 = sample.chunks_exact(dim + 1).map(|r| f64::from(r[dim])).sum();
            let trace = match self.divergence {
                Divergence::Exact => traces,
                Divergence::Hutchinson { .. } => traces / probes as f64,
            };
            let square: f64 = x.iter().map(|v| f64::from(*v).powi(2)).sum();
            // The integral ran from 1 to 0, so it already carries the minus sign.
            log_prob.push(-0.5 * square - 0.5 * dim as f64 * std::f64::consts::TAU.ln() + trace);
            x0.extend_from_slice(x);
        }
        for (row, value) in self.outcomes.iter_mut().zip(&mut log_prob) {
            if row.status.is_done() && !value.is_finite() {
                row.status = RowStatus::NonFinite;
            }
            if !row.status.is_done() {
                *value = f64::NAN;
            }
        }
        Ok((log_prob, x0))
    }

    fn probe_vectors(&self, first_row: usize) -> Vec<f32> {
        let n = self.rows * self.probes * self.dim;
        match self.divergence {
            Divergence::Exact => {
                let mut out = vec![0.0; n];
                for (r, row) in out.chunks_exact_mut(self.dim).enumerate() {
                    row[r % self.dim] = 1.0;
                }
                out
            }
            Divergence::Hutchinson { seed, .. } => {
                let mut bits = vec![0u32; n];
                let first = (first_row * self.probes * self.dim) as u64;
                philox::fill_bits(seed, PROBE_STREAM, 0, first, &mut bits);
                bits.iter().map(|b| if b >> 31 == 0 { -1.0 } else { 1.0 }).collect()
            }
        }
    }
}
