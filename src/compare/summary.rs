//! Means over seeds, and every method at the same quality.

use super::record::{Row, Status};
use serde::{Deserialize, Serialize};

/// Mean and sample standard deviation over the seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation (n - 1); null for one seed.
    pub sd: Option<f64>,
}

impl Spread {
    /// Of some values; `None` of none.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        (!values.is_empty())
            .then(|| Spread { mean, sd: (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()) })
    }
}

/// A method at a number of evaluations, over its seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// The method's id.
    pub method: String,
    /// Evaluations.
    pub nfe: usize,
    /// Seeds that it was measured with: what the means are of.
    pub seeds: usize,
    /// Seeds that failed, so that they are in no mean.
    #[serde(default)]
    pub failed: usize,
    /// As in [`Row`].
    pub energy_distance: Option<Spread>,
    /// As in [`Row`].
    pub energy_distance_joint: Option<Spread>,
    /// As in [`Row`].
    pub sliced_wasserstein: Option<Spread>,
    /// As in [`Row`].
    pub mode_coverage: Option<Spread>,
    /// As in [`Row`].
    pub mode_balance: Option<Spread>,
    /// As in [`Row`].
    pub mode_least: Option<Spread>,
    /// As in [`Row`].
    pub validity: Option<Spread>,
    /// As in [`Row`].
    pub end_error: Option<Spread>,
    /// As in [`Row`].
    pub dtw: Option<Spread>,
    /// As in [`Row`].
    pub diverged: Option<Spread>,
    /// As in [`Row`].
    pub latency_ms: Option<Spread>,
    /// As in [`Row`].
    pub samples_per_s: Option<Spread>,
    /// As in [`Row`].
    pub train_s: Option<Spread>,
}

impl Mean {
    /// The method, and if a seed failed how many the means are of.
    pub fn name(&self) -> String {
        match self.failed {
            0 => self.method.clone(),
            failed => format!("{} ({} of {} seeds)", self.method, self.seeds, self.seeds + failed),
        }
    }
}

/// Means over the seeds, in the order of the rows; rows that are not ok are left out, and counted if they failed.
pub fn means(rows: &[Row]) -> Vec<Mean> {
    let mut keys: Vec<(&str, usize)> = Vec::new();
    for row in rows.iter().filter(|r| r.status == Status::Ok) {
        if !keys.contains(&(&row.method, row.nfe)) {
            keys.push((&row.method, row.nfe));
        }
    }
    keys.into_iter()
        .map(|(method, nfe)| {
            let of = |value: fn(&Row) -> Option<f64>| {
                let own = |r: &&Row| r.status == Status::Ok && r.method == method && r.nfe == nfe;
                Spread::of(&rows.iter().filter(own).filter_map(value).collect::<Vec<_>>())
            };
            let count = |status: Status| {
                rows.iter().filter(|r| r.status == status && r.method == method && r.nfe == nfe).count()
            };
            Mean {
                method: method.into(),
                nfe,
                seeds: count(Status::Ok),
                failed: count(Status::Failed),
                energy_distance: of(|r| r.energy_distance),
                energy_distance_joint: of(|r| r.energy_distance_joint),
                sliced_wasserstein: of(|r| r.sliced_wasserstein),
                mode_coverage: of(|r| r.mode_coverage),
                mode_balance: of(|r| r.mode_balance),
                mode_least: of(|r| r.mode_least),
                validity: of(|r| r.validity),
                end_error: of(|r| r.end_error),
                dtw: of(|r| r.dtw),
                diverged: of(|r| r.diverged.map(|n| n as f64)),
                latency_ms: of(|r| r.latency_ms),
                samples_per_s: of(|r| r.samples_per_s),
                train_s: of(|r| r.train_s),
            }
        })
        .collect()
}

/// What a method needs to be as good as the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AtQuality {
    /// The method's id.
    pub method: String,
    /// `ok`, `not_applicable` if it is never as good, `failed` if no seed gave anything to measure.
    pub status: Status,
    /// Why it is not ok.
    pub reason: Option<String>,
    /// The fewest evaluations with which it is.
    pub nfe: Option<usize>,
    /// Its energy distance there.
    pub energy_distance: Option<f64>,
    /// Its latency there.
    pub latency_ms: Option<f64>,
    /// Its throughput there.
    pub samples_per_s: Option<f64>,
}

/// Every method at the same quality.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EqualQuality {
    /// The energy distance to be reached: [`WITHIN`] times the lowest mean of any method and number of evaluations. Of chunks with
    /// their observations, where there are observations.
    pub target: Option<f64>,
    /// One for each method.
    pub methods: Vec<AtQuality>,
}

/// How much worse than the best is as good.
pub const WITHIN: f64 = 1.25;

/// Each method at the fewest evaluations with which its mean energy distance reaches the target; `rows` are what the means are of.
pub fn at_equal_quality(means: &[Mean], rows: &[Row], methods: &[&str]) -> EqualQuality {
    let quality = |m: &Mean| m.energy_distance_joint.or(m.energy_distance).map(|s| s.mean);
    let target = means.iter().filter_map(quality).min_by(f64::total_cmp).map(|best| WITHIN * best);
    let of = |id: &&str| {
        let reached = target.and_then(|target| {
            let own = means.iter().filter(|m| m.method == *id);
            own.filter(|m| quality(m).is_some_and(|q| q <= target)).min_by_key(|m| m.nfe)
        });
        let measured = means.iter().any(|m| m.method == *id);
        let failed =
            rows.iter().find(|r| r.method == *id && r.status == Status::Failed).filter(|_| !measured);
        let (status, reason) = match (reached, failed) {
            (Some(_), _) => (Status::Ok, None),
            (None, Some(row)) => (Status::Failed, row.reason.clone()),
            (None, None) => {
                let never = "it does not reach this quality with any number of evaluations";
                (Status::NotApplicable, Some(never.into()))
            }
        };
        AtQuality {
            method: (*id).into(),
            status,
            reason,
            nfe: reached.map(|m| m.nfe),
            energy_distance: reached.and_then(quality),
            latency_ms: reached.and_then(|m| m.latency_ms).map(|s| s.mean),
            samples_per_s: reached.and_then(|m| m.samples_per_s).map(|s| s.mean),
        }
    };
    EqualQuality { target, methods: methods.iter().map(of).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(method: &str, seed: u64, nfe: usize, energy: f64) -> Row {
        let latency_ms = Some(nfe as f64);
        Row { energy_distance: Some(energy), latency_ms, ..Row::empty(method, seed, nfe, Status::Ok, None) }
    }

    #[test]
    fn seeds_are_averaged_and_methods_meet_at_equal_quality() {
        let bad = Row::empty("a", 2, 1, Status::Failed, Some("not finite".into()));
        let rows = [row("a", 0, 1, 4.0), row("a", 1, 1, 6.0), bad, row("a", 0, 5, 1.0), row("b", 0, 5, 1.3)];
        let means = means(&rows);
        assert_eq!(means.len(), 3);
        let energy = means[0].energy_distance.unwrap();
        assert_eq!((means[0].seeds, energy.mean, energy.sd), (2, 5.0, Some(2f64.sqrt())));
        assert_eq!((means[0].failed, means[0].name()), (1, "a (2 of 3 seeds)".into()));
        assert_eq!((means[1].failed, means[1].name()), (0, "a".into()));
        let equal = at_equal_quality(&means, &rows, &["a", "b"]);
        assert_eq!((equal.target, equal.methods[0].nfe), (Some(WITHIN), Some(5)));
        assert_eq!((equal.methods[1].status, equal.methods[1].nfe), (Status::NotApplicable, None));
        assert_eq!(at_equal_quality(&[], &[], &["a"]).target, None);
        let gone = at_equal_quality(
            &means,
            &[Row::empty("c", 0, 1, Status::Failed, Some("not finite".into()))],
            &["c"],
        );
        assert_eq!(
            (gone.methods[0].status, gone.methods[0].reason.as_deref()),
            (Status::Failed, Some("not finite"))
        );
        assert_eq!(Spread::of(&[]), None);
    }
}
