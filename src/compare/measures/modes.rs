//! Modes and validity of the samples for each of some observations.

use crate::compare::Law;

/// Which modes the samples of some observations are in. A share is of all samples of an observation; only a valid sample
/// counts for a mode, so that a sample between two modes is in neither.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Modes {
    /// Share of (observation, mode) that hold at least half of their due, 1 / modes.
    pub coverage: f64,
    /// Entropy of the valid samples over the modes, over ln(modes), averaged over the observations: 1 when all modes are equally
    /// frequent, 0 when all samples are in one (or none is valid).
    pub balance: f64,
    /// The smallest share that a mode of any observation has.
    pub least: f64,
}

/// Modes of `chunks`, `each` for each observation of `request` values; `None` if the law's modes are not known.
pub fn modes(law: &dyn Law, obs: &[f32], request: usize, chunks: &[f32], each: usize) -> Option<Modes> {
    let (modes, observations) = (law.modes(), obs.len() / request.max(1));
    if modes < 2 || each == 0 || observations == 0 {
        return None;
    }
    let dim = chunks.len() / (observations * each);
    let (mut covered, mut balance, mut least) = (0usize, 0.0, f64::INFINITY);
    for (obs, chunks) in obs.chunks_exact(request).zip(chunks.chunks_exact(each * dim)) {
        let mut counts = vec![0usize; modes];
        for chunk in chunks.chunks_exact(dim).filter(|c| law.valid(obs, c) != Some(false)) {
            counts[law.mode(obs, chunk).min(modes - 1)] += 1;
        }
        let valid = counts.iter().sum::<usize>().max(1) as f64;
        let entropy: f64 =
            counts.iter().map(|n| *n as f64 / valid).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
        covered += counts.iter().filter(|n| 2 * modes * **n >= each).count();
        balance += entropy / (modes as f64).ln() / observations as f64;
        least = counts.iter().map(|n| *n as f64 / each as f64).fold(least, f64::min);
    }
    Some(Modes { coverage: covered as f64 / (modes * observations) as f64, balance, least })
}

/// Share of the chunks, `each` for each observation, that are in the support; `None` if it is not known.
pub fn validity(law: &dyn Law, obs: &[f32], request: usize, chunks: &[f32], each: usize) -> Option<f64> {
    let observations = obs.len() / request.max(1);
    let dim = chunks.len() / (observations * each).max(1);
    let mut valid = 0;
    for (r, chunk) in chunks.chunks_exact(dim.max(1)).enumerate() {
        valid += usize::from(law.valid(&obs[r / each * request..][..request], chunk)?);
    }
    Some(valid as f64 / (observations * each) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Modes at -1 and 1; everything within 0.5 of one is valid.
    struct Pair;

    impl Law for Pair {
        fn modes(&self) -> usize {
            2
        }
        fn mode(&self, _: &[f32], chunk: &[f32]) -> usize {
            usize::from(chunk[0] > 0.0)
        }
        fn valid(&self, _: &[f32], chunk: &[f32]) -> Option<bool> {
            Some((chunk[0].abs() - 1.0).abs() < 0.5)
        }
        fn line(&self, _: &[f32], _: &[f32]) -> Vec<[f32; 2]> {
            vec![]
        }
    }

    struct Unknown;

    impl Law for Unknown {
        fn line(&self, _: &[f32], _: &[f32]) -> Vec<[f32; 2]> {
            vec![]
        }
    }

    #[test]
    fn shares_are_of_all_samples() {
        // Two observations with four samples each: two and two; three in one mode and one between both.
        let chunks = [-1.0, -1.1, 1.0, 1.1, 1.0, 1.0, 1.0, 0.0];
        let found = modes(&Pair, &[0.0, 0.0], 1, &chunks, 4).unwrap();
        assert_eq!((found.coverage, found.balance, found.least), (0.75, 0.5, 0.0));
        assert_eq!(validity(&Pair, &[0.0, 0.0], 1, &chunks, 4), Some(7.0 / 8.0));
        let none = modes(&Pair, &[0.0], 1, &[0.0, 0.0], 2).unwrap();
        assert_eq!((none.coverage, none.balance, none.least), (0.0, 0.0, 0.0));
        assert_eq!(modes(&Unknown, &[0.0], 1, &[0.0], 1), None);
        assert_eq!(validity(&Unknown, &[0.0], 1, &[0.0], 1), None);
    }
}
