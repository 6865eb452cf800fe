//! The best of several candidates, by a caller's score and by the policy's own likelihood.

use crate::common::{cpu, devices};
use crate::toy::{apart, bits, config, keys, observations, policy};
use advect::flow::log_prob::Divergence;
use advect::policy::{LogProbOptions, Noise, PolicyError, SamplerOptions, Weights};

const CANDIDATES: usize = 16;

#[test]
fn the_highest_score_is_kept() {
    let policy = policy(&config(), 300);
    let chunk = policy.spec.chunk();
    let obs = observations(3);
    let names = keys(3, 2);
    for device in devices() {
        let mut best = policy.best_of(&device, 3, CANDIDATES, &SamplerOptions::default()).unwrap();
        let mut chunks = vec![0.0; 3 * chunk];
        // To the left as far as possible; for the second observation to the right.
        let end = |observation: usize, c: &[f32]| {
            f64::from(c[c.len() - 2]) * if observation == 1 { 1.0 } else { -1.0 }
        };
        let before = best.sampler().counters();
        let choices = best.by_score(&obs, Noise::PerObservation(&names), end, &mut chunks).unwrap();
        let cost = best.sampler().counters().since(&before);
        assert!(cost.submits <= 1, "all candidates are one pass: {cost:?}");
        for (o, choice) in choices.iter().enumerate() {
            let of = &best.candidates()[o * CANDIDATES * chunk..][..CANDIDATES * chunk];
            let scores: Vec<f64> = of.chunks_exact(chunk).map(|c| end(o, c)).collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert_eq!((choice.score, scores[choice.candidate]), (most, most));
            let kept = &chunks[o * chunk..][..chunk];
            assert_eq!(bits(kept), bits(&of[choice.candidate * chunk..][..chunk]));
            let spread = most - scores.iter().copied().fold(f64::INFINITY, f64::min);
            assert!(spread > 0.05, "candidates differ: {spread}");
        }
        // The candidates of an observation are its own, whoever else is asked about.
        let mut alone = policy.best_of(&device, 1, CANDIDATES, &SamplerOptions::default()).unwrap();
        let mut one = vec![0.0; chunk];
        let noise = Noise::PerObservation(&names[2..]);
        let choice = alone.by_score(&obs[12..], noise, |_, c| end(2, c), &mut one).unwrap();
        assert_eq!(choice[0].candidate, choices[2].candidate);
        assert!(apart(&one, &chunks[2 * chunk..]) < 1e-5);
    }
}

#[test]
fn the_likeliest_is_kept() {
    let policy = policy(&config(), 300);
    let chunk = policy.spec.chunk();
    let obs = observations(2);
    let mut best = policy.best_of(&cpu(), 2, 5, &SamplerOptions::default()).unwrap();
    let options = LogProbOptions {
        solver: "euler:8".parse().unwrap(),
        divergence: Divergence::Exact,
        physical: true,
        weights: Weights::Ema,
    };
    let mut likelihood = policy.likelihood(&cpu(), &options).unwrap();
    let mut chunks = vec![0.0; 2 * chunk];
    for seed in [1, 2] {
        let noise = Noise::Seed { seed, request: 0 };
        let choices = best.by_log_prob(&obs, noise, &mut likelihood, &mut chunks).unwrap();
        let all = policy.log_prob(&cpu(), &obs, best.candidates(), &options).unwrap();
        for (o, choice) in choices.iter().enumerate() {
            let mine = &all[5 * o..5 * o + 5];
            assert!(mine.iter().all(|p| *p <= choice.score), "{mine:?}, chosen {choice:?}");
            assert_eq!(mine[choice.candidate], choice.score);
            let at = (5 * o + choice.candidate) * chunk;
            assert_eq!(bits(&chunks[o * chunk..][..chunk]), bits(&best.candidates()[at..][..chunk]));
        }
    }
}

#[test]
fn nan_is_never_chosen_and_the_first_of_equals_is() {
    let policy = policy(&config(), 0);
    let obs = observations(2);
    let mut best = policy.best_of(&cpu(), 2, 4, &SamplerOptions::default()).unwrap();
    let mut chunks = vec![0.0; 2 * policy.spec.chunk()];
    let noise = Noise::Seed { seed: 1, request: 1 };
    let mut calls = 0;
    let score = |_: usize, _: &[f32]| {
        calls += 1;
        [f64::NAN, 2.0, f64::NEG_INFINITY, 2.0][(calls - 1) % 4]
    };
    let choices = best.by_score(&obs, noise, score, &mut chunks).unwrap();
    assert_eq!(choices.iter().map(|c| c.candidate).collect::<Vec<_>>(), [1, 1]);
    let error =
        best.by_score(&obs, noise, |o, _| if o == 1 { f64::NAN } else { 0.0 }, &mut chunks).unwrap_err();
    assert!(matches!(error, PolicyError::NonFinite { element: 1, .. }), "{error}");
    let short = &mut chunks[1..];
    assert!(best.by_score(&obs, noise, |_, _| 0.0, short).is_err());
}
