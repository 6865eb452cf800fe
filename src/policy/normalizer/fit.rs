//! Normalisers from demonstrations.

use rayon::prelude::*;

use super::{NormError, NormKind, Normalizer, Scope, finite};
use crate::data::{ColumnFinding, DataError, Episodes, Finding, Scaling, Windows, findings};
use crate::policy::relative::RelativeTo;

/// A normaliser, and what is to be said about the columns that it was fitted to.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The map.
    pub normalizer: Normalizer,
    /// Per statistic the largest |normalised value| of what it was fitted to.
    pub largest: Vec<f32>,
    /// Columns that carry nothing, or that were fitted otherwise than asked, in their order.
    pub findings: Vec<ColumnFinding>,
}

impl Normalizer {
    /// Fits rows [n, width]; width is dims, or horizon x dims for [`Scope::PerStep`]. Statistics are taken per column.
    ///
    /// # Errors
    /// [`NormError`] if there is no whole row or a value is not finite.
    pub fn fit_rows(kind: NormKind, scope: Scope, data: &[f32], width: usize) -> Result<Self, NormError> {
        if width == 0 || data.is_empty() || !data.len().is_multiple_of(width) {
            return Err(NormError::Count { what: "values to fit", found: data.len(), needed: width });
        }
        finite("data", data)?;
        let column = |at: usize| data.iter().skip(at).step_by(width).copied().collect();
        let scalings = scalings(kind, width, column);
        Ok(of(kind, scope, &scalings)?.normalizer)
    }

    /// Fits observations over all rows of some episodes, per dimension. A dimension that is noise about a constant (its range is
    /// at most 1e-5 of the largest in its named input) carries nothing: its scale is 0.
    ///
    /// # Errors
    /// [`NormError`] if no episode is named or one does not exist.
    pub fn fit_obs(kind: NormKind, episodes: &Episodes, ids: &[usize]) -> Result<Fitted, NormError> {
        if ids.is_empty() {
            return Err(NormError::Count { what: "episodes to fit", found: 0, needed: 1 });
        }
        let rows: Result<Vec<_>, DataError> = ids.iter().map(|&episode| episodes.rows_of(episode)).collect();
        let (rows, dim) = (rows?, episodes.obs_dim());
        let column =
            |at: usize| rows.iter().cloned().flatten().map(|row| episodes.obs()[row * dim + at]).collect();
        let mut scalings = scalings(kind, dim, column);
        if kind != NormKind::Identity {
            let noise = findings::noise(episodes.obs(), dim, &rows, episodes.obs_inputs());
            for (scaling, found) in scalings.iter_mut().zip(noise) {
                if let Some(Finding::Noise { value, .. }) = found {
                    *scaling = Scaling::nothing(value, found);
                }
            }
        }
        let mut fitted = of(kind, Scope::PerDim, &scalings)?;
        fitted.say("obs", &scalings, dim, episodes.obs_names());
        Ok(fitted)
    }

    /// Fits the action chunks of windows after making them relative; steps past an episode's end as [`Windows::padding`] says.
    ///
    /// # Errors
    /// [`NormError`] if `relative_to` does not match the data.
    pub fn fit_actions(
        kind: NormKind,
        scope: Scope,
        windows: &Windows<'_>,
        relative_to: Option<&RelativeTo>,
    ) -> Result<Fitted, NormError> {
        let (episodes, horizon) = (windows.episodes(), windows.spec().horizon);
        let (obs_dim, dims) = (episodes.obs_dim(), episodes.action_dim());
        if let Some(relative) = relative_to {
            relative.check(obs_dim, dims)?;
        }
        let value = |entry: [u32; 3], step: usize, dim: usize| {
            let row = entry[0] as usize;
            let obs = &episodes.obs()[row * obs_dim..(row + 1) * obs_dim];
            windows.action_at(entry, step)[dim] - relative_to.map_or(0.0, |relative| relative.base(dim, obs))
        };
        let (columns, steps_together) = match scope {
            Scope::PerDim => (dims, horizon),
            Scope::PerStep => (horizon * dims, 1),
        };
        let column = |at: usize| {
            let (first, dim) = (at / dims, at % dims);
            let steps = first..first + steps_together;
            let all = || {
                let table = windows.table().iter();
                table.flat_map(|&entry| steps.clone().map(move |step| (entry, step)))
            };
            let of = |(entry, step)| value(entry, step, dim);
            let counted: Vec<f32> =
                all().filter(|&(entry, step)| windows.counts(entry, step)).map(of).collect();
            // A step that lies past the end of every window's episode counts nowhere, and any scale will do.
            if counted.is_empty() { all().map(of).collect() } else { counted }
        };
        let scalings = scalings(kind, columns, column);
        let mut fitted = of(kind, scope, &scalings)?;
        fitted.say("action", &scalings, dims, episodes.action_names());
        Ok(fitted)
    }
}

impl Fitted {
    /// The same with a clip at `factor` times the largest |normalised value| of every column; 0: without one.
    pub fn clipped(mut self, factor: f32) -> Self {
        let clip = |largest: &f32| (factor * largest).min(f32::MAX);
        self.normalizer.clip =
            if factor > 0.0 { self.largest.iter().map(clip).collect() } else { Vec::new() };
        self
    }

    /// The same, but for some columns of an observation, which the network does not see: something else stands for them.
    pub fn without(mut self, columns: &[usize]) -> Self {
        let n = &mut self.normalizer;
        let count = n.offset.len();
        for &i in columns.iter().filter(|i| **i < count) {
            (n.offset[i], n.scale[i], self.largest[i]) = (0.0, 0.0, 0.0);
        }
        self.findings.retain(|found| !columns.contains(&found.index));
        self
    }

    /// The same, but for some columns of an action, which stay as they are.
    pub fn except(mut self, columns: &[usize], dims: usize) -> Self {
        let n = &mut self.normalizer;
        for i in (0..n.offset.len()).filter(|i| columns.contains(&(i % dims.max(1)))) {
            // They are parts of unit vectors.
            (n.offset[i], n.scale[i], self.largest[i]) = (0.0, 1.0, 1.0);
        }
        self.findings.retain(|found| !columns.contains(&found.index));
        self
    }

    /// Findings of columns. Of those that have a statistic for every step, one that carries nothing does so at all steps; one that
    /// was fitted otherwise than asked, at any.
    fn say(&mut self, array: &'static str, scalings: &[Scaling], dims: usize, names: Option<&[String]>) {
        for index in 0..dims {
            let steps = || scalings.iter().skip(index).step_by(dims.max(1)).map(|s| s.finding);
            let sparse = steps().flatten().find(|f| matches!(f, Finding::Sparse { .. }));
            let all = steps().all(|f| f.is_some());
            if let Some(finding) = sparse.or_else(|| steps().next().flatten().filter(|_| all)) {
                let name = names.and_then(|names| names.get(index).cloned());
                self.findings.push(ColumnFinding { array, index, name, finding });
            }
        }
    }
}

/// One column after another, so that a data set's chunks never lie in memory all at once.
fn scalings(kind: NormKind, columns: usize, column: impl Fn(usize) -> Vec<f32> + Sync) -> Vec<Scaling> {
    (0..columns).into_par_iter().map(|at| Scaling::fit(kind, column(at))).collect()
}

fn of(kind: NormKind, scope: Scope, scalings: &[Scaling]) -> Result<Fitted, NormError> {
    let (offset, scale) = scalings.iter().map(|s| (s.offset, s.scale)).unzip();
    let normalizer = Normalizer { kind, scope, offset, scale, clip: Vec::new() };
    normalizer.check()?;
    let largest = scalings.iter().map(|s| s.largest).collect();
    Ok(Fitted { normalizer, largest, findings: Vec::new() })
}
