//! Which episodes are held out for validation.
//!
//! The choice depends on (episodes, fraction, seed) alone and never changes with a platform or a crate, so that another
//! program can hold out the same ones; `benches/peers/split.py` is the same algorithm in Python:
//!
//! 1. SplitMix64 with state = seed. Each draw, in 64-bit wrapping arithmetic: state += 0x9E3779B97F4A7C15; z = state;
//!    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9; z = (z ^ (z >> 27)) * 0x94D049BB133111EB; the draw is z ^ (z >> 31).
//! 2. order = 0, 1, ..., n - 1. For i = n - 1 down to 1: j = draw mod (i + 1); swap `order[i]` and `order[j]`.
//! 3. k = floor(fraction * n + 0.5) in f64; at least 1 if fraction > 0; at most n - 1.
//! 4. validation = order[..k] sorted, train = order[k..] sorted.
//!
//! Where episodes are copies of others, bit for bit, [`split_apart`] goes along the order and holds out an episode with all its copies
//! where these are at most k in all, until k are held out; without copies that is the same. Where no episode has so few copies, the copies
//! are split as if they were none: more held out would be missed in training.

use super::error::DataError;

/// Episode numbers, ascending, in two disjoint parts that together are all episodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Episodes to train on, at least one.
    pub train: Vec<usize>,
    /// Episodes held out; empty if the fraction is 0 or there is only one episode.
    pub validation: Vec<usize>,
}

/// Holds out about `fraction` (0 to below 1) of the episodes, chosen by `seed`: at least one where fraction > 0 and
/// n_episodes >= 2, never all. The module's text gives the exact algorithm.
///
/// # Errors
/// [`DataError`] if there is no episode or `fraction` is outside [0, 1).
pub fn split_episodes(n_episodes: usize, fraction: f64, seed: u64) -> Result<Split, DataError> {
    if n_episodes == 0 {
        return Err(DataError::NoEpisodes { what: "validation split".into() });
    }
    if !(0.0..1.0).contains(&fraction) {
        let needed = "a number from 0 to below 1";
        return Err(DataError::Value {
            what: "validation fraction".into(),
            found: fraction.to_string(),
            needed,
        });
    }
    let mut order = order(n_episodes, seed);
    let rounded = (fraction * n_episodes as f64 + 0.5).floor() as usize;
    let held = rounded.max(usize::from(fraction > 0.0)).min(n_episodes - 1);
    let mut train = order.split_off(held);
    train.sort_unstable();
    order.sort_unstable();
    Ok(Split { train, validation: order })
}

/// As [`split_episodes`], with copies on the same side: `firsts` has for each episode the first one that it is a copy of, or its own
/// number ([`Episodes::firsts`](super::Episodes::firsts)). A copy that was trained on would make validation look better than it is.
///
/// # Errors
/// As [`split_episodes`].
pub fn split_apart(firsts: &[usize], fraction: f64, seed: u64) -> Result<Split, DataError> {
    let plain = split_episodes(firsts.len(), fraction, seed)?;
    if firsts.iter().enumerate().all(|(episode, &first)| first == episode) {
        return Ok(plain);
    }
    let held = plain.validation.len();
    let copies = |first: usize| (0..firsts.len()).filter(move |&n| firsts[n] == first);
    let mut validation: Vec<usize> = Vec::new();
    for episode in order(firsts.len(), seed) {
        if validation.len() >= held {
            break;
        }
        let group: Vec<usize> = copies(firsts[episode]).collect();
        if !validation.contains(&episode) && validation.len() + group.len() <= held {
            validation.extend(group);
        }
    }
    if validation.is_empty() && firsts.iter().any(|first| *first != firsts[0]) {
        return Ok(plain);
    }
    validation.sort_unstable();
    let train = (0..firsts.len()).filter(|n| validation.binary_search(n).is_err()).collect();
    Ok(Split { train, validation })
}

/// All episodes, shuffled.
fn order(n_episodes: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n_episodes).collect();
    let mut random = SplitMix64(seed);
    for i in (1..n_episodes).rev() {
        order.swap(i, (random.draw() % (i as u64 + 1)) as usize);
    }
    order
}

/// The published generator of Steele, Lea and Flood.
pub(super) struct SplitMix64(pub u64);

impl SplitMix64 {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_shared_vector_holds() {
        #[derive(serde::Deserialize)]
        struct Case {
            n: usize,
            fraction: f64,
            seed: u64,
            validation: Vec<usize>,
        }
        let text = include_str!("../../benches/peers/split_vector.json");
        let cases: Vec<Case> = serde_json::from_str(text).unwrap();
        assert!(cases.len() >= 5);
        for case in cases {
            assert_eq!(split_episodes(case.n, case.fraction, case.seed).unwrap().validation, case.validation);
        }
    }

    #[test]
    fn draws_are_those_of_the_published_generator() {
        let mut random = SplitMix64(1_234_567);
        let draws: Vec<u64> = (0..3).map(|_| random.draw()).collect();
        assert_eq!(draws, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn bad_requests_are_named() {
        assert!(matches!(split_episodes(0, 0.1, 0), Err(DataError::NoEpisodes { .. })));
        for fraction in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(split_episodes(5, fraction, 0), Err(DataError::Value { .. })));
        }
    }

    #[test]
    fn copies_stay_on_one_side() {
        // Ten episodes, and all of them again.
        let twice: Vec<usize> = (0..20).map(|n| n % 10).collect();
        for seed in 0..20 {
            let split = split_apart(&twice, 0.1, seed).unwrap();
            assert_eq!(split.validation.len(), 2);
            assert_eq!(split.validation[0] + 10, split.validation[1], "an episode and its copy");
            let sides = |n: &usize| split.train.contains(&twice[*n]) || split.validation.contains(n);
            assert!((0..20).all(|n| sides(&n)));
            let none: Vec<usize> = (0..20).collect();
            assert_eq!(split_apart(&none, 0.1, seed).unwrap(), split_episodes(20, 0.1, seed).unwrap());
        }
        assert_eq!(split_apart(&[0; 5], 0.5, 1).unwrap().validation, [0; 0], "copies of one are not split");
        assert_eq!(split_apart(&[0, 0, 0, 0, 4], 0.5, 1).unwrap().validation, [4], "most is trained on");
        let two: Vec<usize> = (0..20).map(|n| n % 2).collect();
        assert_eq!(
            split_apart(&two, 0.1, 1).unwrap(),
            split_episodes(20, 0.1, 1).unwrap(),
            "neither half is missed"
        );
    }

    proptest! {
        #[test]
        fn parts_are_disjoint_and_whole(n in 1usize..300, fraction in 0.0f64..1.0, seed: u64) {
            let split = split_episodes(n, fraction, seed).unwrap();
            prop_assert!(!split.train.is_empty());
            prop_assert_eq!(split.validation.is_empty(), n == 1 || fraction == 0.0);
            let mut all = [split.train.clone(), split.validation.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..n).collect::<Vec<_>>());
            prop_assert!(split.train.is_sorted() && split.validation.is_sorted());
        }
    }
}
