use super::super::episodes::EpisodeArrays;
use super::super::episodes::tests::sample;
use super::super::npz::tests::Builder;
use super::super::source::{Source, Tasks};
use super::*;

fn source(arrays: EpisodeArrays) -> Source {
    Source {
        kind: Kind::Npz,
        arrays,
        labels: ["obs", "action", "episode_len", "episode_success"].map(str::to_owned),
        images: vec![],
        unused: vec![],
        notes: vec![],
        faults: vec![],
        fault_count: 0,
        tasks: None,
        cautions: vec![],
    }
}

fn inspected(arrays: EpisodeArrays, horizon: usize) -> Report {
    report_of(vec![("a.npz", source(arrays))], &Purpose::horizon(horizon)).sets.pop().unwrap()
}

fn report_of(sources: Vec<(&str, Source)>, purpose: &Purpose) -> Inspection {
    let sources = sources.into_iter().map(|(name, source)| (name.into(), source)).collect();
    DataSets::of(sources, &DataSpec::default()).unwrap().inspect(purpose)
}

fn kinds(report: &Report) -> Vec<&'static str> {
    let mut kinds: Vec<_> = report.warnings.iter().map(|w| w.kind).collect();
    kinds.dedup();
    kinds
}

fn texts(report: &Report, kind: &str) -> String {
    let of_kind = report.warnings.iter().filter(|w| w.kind == kind).map(|w| w.text.clone());
    of_kind.collect::<Vec<_>>().join("\n")
}

/// Twenty episodes of fifty steps that warn of nothing: two observations, one action, all of them random walks that stay
/// within bounds.
fn sound() -> EpisodeArrays {
    let mut state = 12345u64;
    let mut noise = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    EpisodeArrays {
        obs: (0..2000).map(|_| noise()).collect(),
        action: (0..1000).map(|_| noise() + noise() + noise()).collect(),
        obs_dim: 2,
        action_dim: 1,
        lengths: vec![50; 20],
        success: Some(vec![true; 20]),
        fps: Some(10.0),
        ..EpisodeArrays::default()
    }
}

#[test]
fn sound_data_has_no_warning() {
    let report = inspected(sound(), 16);
    assert_eq!(report.warnings, []);
    assert_eq!((report.episodes, report.steps, report.seconds), (20, 1000, Some(100.0)));
    assert_eq!((report.lengths.min, report.lengths.max, report.lengths.median), (50, 50, 50.0));
    assert_eq!(report.success, Some(1.0));
    assert_eq!(report.following, None);
}

#[test]
fn every_danger_is_seen() {
    let with = |change: &dyn Fn(&mut EpisodeArrays)| {
        let mut arrays = sound();
        change(&mut arrays);
        inspected(arrays, 16)
    };
    let one = |change: &dyn Fn(&mut EpisodeArrays), kind: &str, words: &[&str]| {
        let report = with(change);
        assert_eq!(kinds(&report), [kind], "{:?}", report.warnings);
        for word in words {
            assert!(texts(&report, kind).contains(word), "{word}: {:?}", report.warnings);
        }
    };
    one(&|a| a.fps = None, "fps", &["fps is not said"]);
    one(&|a| a.success = Some(vec![false; 20]), "success", &["20 of 20 episodes"]);
    one(
        &|a| {
            a.obs[203] = f32::NAN;
            a.obs[205] = f32::INFINITY;
        },
        "nan",
        &["obs 1: 2 values are NaN or infinite, first at episode 2, step 1"],
    );
    one(&|a| a.obs.iter_mut().step_by(2).for_each(|x| *x = 7.0), "constant", &["obs 0: constant: remove it"]);
    one(
        &|a| a.obs.iter_mut().step_by(2).for_each(|x| *x = 1e4 + *x * 0.01),
        "precision",
        &["obs 0: moves by 0.00", "float32 keeps steps of "],
    );
    one(&|a| a.obs[400] = 900.0, "outliers", &["obs 0: outliers", "0.1 % of min to max"]);
    one(
        &|a| {
            a.obs
                .iter_mut()
                .step_by(2)
                .enumerate()
                .for_each(|(n, x)| *x = if n < 9 { n as f32 } else { 0.0 });
        },
        "outliers",
        &["98 % of the values are 0, the others reach from 0 to 8"],
    );
    one(
        &|a| {
            a.lengths[3] = 8;
            a.lengths[4] = 92;
        },
        "short",
        &["1 of 20 episodes is shorter than the horizon 16, and training leaves them out: episode 3 (8)"],
    );
    one(
        &|a| {
            a.action
                .iter_mut()
                .enumerate()
                .for_each(|(n, x)| *x = if n < 520 { 0.001 * n as f32 } else { 9.0 + 0.001 * n as f32 })
        },
        "jumps",
        &["action 0: jumps by 9.001 at episode 10, step 20"],
    );
    one(
        &|a| a.action.iter_mut().for_each(|x| *x = x.clamp(1.0, 2.0)),
        "saturated",
        &["stand at the limits 1 and 2"],
    );
    one(
        &|a| {
            a.obs.copy_within(40..42, 42);
            a.action.copy_within(20..21, 21);
        },
        "duplicates",
        &["1 frame repeats the one before", "first at episode 0, step 21"],
    );
    one(
        &|a| {
            a.obs.copy_within(100..200, 500);
            a.action.copy_within(50..100, 250);
        },
        "copies",
        &["1 of 20 episodes is there more than once, bit for bit: episode 5 is episode 1 again"],
    );
    one(
        &|a| a.action = a.obs.iter().copied().skip(1).step_by(2).collect(),
        "following",
        &["the current state"],
    );
    one(
        &|a| {
            let next: Vec<f32> = (0..1000).map(|t| a.obs[2 * (t + 1).min(999)]).collect();
            a.action = next;
        },
        "following",
        &["the action is the next state"],
    );
    let report = with(&|a| a.lengths.push(7));
    assert!(texts(&report, "structure").contains("found 1007, needed 1000"), "{:?}", report.warnings);
    assert!(report.warnings[0].fatal);
}

#[test]
fn noise_about_a_constant_is_named_as_train_names_it() {
    let mut arrays = sound();
    arrays.obs.iter_mut().skip(1).step_by(2).for_each(|x| *x = (*x - 0.5) * 6e-7);
    let report = inspected(arrays, 16);
    assert_eq!(kinds(&report), ["noise"]);
    let text = texts(&report, "noise");
    assert!(
        text.starts_with("obs 1: changes by 5.9") && text.contains("the policy does not look at it"),
        "{text}"
    );
}

/// A random number in [0, 1) for each turn.
fn random(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 24) as f32
    }
}

/// A value of two random numbers.
type Maker = fn(f32, f32) -> f32;

/// Columns of many kinds, each with what its values are made of.
const MAKERS: [(&str, Maker); 12] = [
    ("uniform", |u, _| u),
    ("rare steps of 1 in noise of 1e-6", |u, v| {
        if v < 0.004 {
            1.0
        } else if v > 0.996 {
            -1.0
        } else {
            1e-6 * u
        }
    }),
    ("rare steps of 1 in noise of 0.1", |u, v| if v < 0.004 { 1.0 + u } else { 0.1 * u }),
    ("rare steps of 4 in noise of 1", |u, v| if v < 0.004 { 4.0 } else { u }),
    ("rare steps of 8 in noise of 1", |u, v| if v < 0.004 { 8.0 + u } else { u }),
    ("rare steps of 15 in noise of 1", |u, v| if v < 0.004 { 15.0 + u } else { u }),
    ("rare steps of 40 in noise of 1", |u, v| if v < 0.004 { 40.0 + u } else { u }),
    ("one side, exponential", |u, _| -(1.0 - u).ln()),
    ("Cauchy", |u, _| (3.0 * (u - 0.5)).tan()),
    ("cubes of logarithms", |u, v| (-(1.0 - u).ln()).powi(3) * (v - 0.5)),
    ("mostly 0", |u, v| if v < 0.009 { u } else { 0.0 }),
    ("an offset", |u, v| 1000.0 + if v < 0.004 { 9.0 + u } else { u }),
];

/// Whatever normaliser is advised has been tried on the same numbers: here it is tried again, with all columns of the array.
#[test]
fn no_advice_without_a_trial() {
    let mut advised = 0;
    for (n, (name, maker)) in MAKERS.iter().enumerate() {
        for (beside, unit) in
            [("uniform", 1.0f32), ("uniform", 1e-8), ("rare steps of 1 in noise of 1e-6", 1.0)]
        {
            let mut random = random(7 + n as u64);
            let (_, other) = MAKERS.iter().find(|(name, _)| *name == beside).unwrap();
            let mut arrays = sound();
            arrays.obs_dim = 2;
            arrays.obs = (0..1000)
                .flat_map(|_| [unit * maker(random(), random()), unit * other(random(), random())])
                .collect();
            let data = arrays.obs.clone();
            let text = texts(&inspected(arrays, 16), "outliers");
            for line in text.lines().filter(|line| line.contains("obs_normalizer = ")) {
                advised += 1;
                let kind = match line.contains("\"quantile\"") {
                    true => scaling::NormKind::Quantile,
                    false => scaling::NormKind::MeanStd,
                };
                let index: usize = line["obs ".len()..].split(':').next().unwrap().parse().unwrap();
                for column in 0..2 {
                    let values: Vec<f32> = data.iter().skip(column).step_by(2).copied().collect();
                    let fitted = scaling::Scaling::fit(kind, values.clone());
                    let mut normal: Vec<f32> =
                        values.iter().map(|x| (x - fitted.offset) * fitted.scale).collect();
                    normal.sort_unstable_by(f32::total_cmp);
                    let largest = normal[0].abs().max(normal[normal.len() - 1].abs());
                    assert!(largest <= 20.0, "{name} beside {beside}: {line}: {largest}");
                    if column == index {
                        let usual = scaling::quantile(&normal, 0.99) - scaling::quantile(&normal, 0.01);
                        let range = f64::from(normal[normal.len() - 1]) - f64::from(normal[0]);
                        assert!(
                            usual >= 0.2 && usual >= 3.9 * usual / range,
                            "{name}: {line}: {usual} of {range}"
                        );
                    }
                }
            }
            if *name == "rare steps of 1 in noise of 1e-6" {
                assert!(!text.contains("normalizer = "), "{text}");
            }
        }
    }
    assert!(advised >= 4, "{advised}");
}

/// The same data in other units is warned of alike.
#[test]
fn warnings_do_not_depend_on_units() {
    for (name, maker) in MAKERS {
        let of = |unit: f32| {
            let mut random = random(3);
            let mut arrays = sound();
            arrays.obs.iter_mut().for_each(|x| *x *= unit);
            arrays.action = (0..1000).map(|_| unit * maker(random(), random())).collect();
            kinds(&inspected(arrays, 16))
        };
        assert_eq!([of(2f32.powi(-27)), of(2f32.powi(20))], [of(1.0), of(1.0)], "{name}");
    }
}

#[test]
fn what_contradicts_itself_is_reported_all_the_same() {
    for change in [
        (|a| a.lengths.clear()) as fn(&mut EpisodeArrays),
        |a| a.lengths = vec![usize::MAX, 9],
        |a| a.action.truncate(3),
        |a| a.action.clear(),
        |a| a.lengths = vec![0; 8],
        |a| a.success = Some(vec![]),
        |a| a.fps = Some(f64::NAN),
        |a| a.obs.iter_mut().for_each(|x| *x = f32::NAN),
    ] {
        let mut arrays = sample();
        change(&mut arrays);
        let report = inspected(arrays, 16);
        assert!(report.warnings.iter().any(|w| w.fatal), "{:?}", report.warnings);
        serde_json::to_string(&report).unwrap();
    }
}

#[test]
fn many_warnings_of_a_kind_are_counted() {
    let mut arrays = sound();
    arrays.obs = vec![f32::NAN; 20_000];
    arrays.obs_dim = 20;
    let nan: Vec<_> = inspected(arrays, 16).warnings.into_iter().filter(|w| w.kind == "nan").collect();
    assert_eq!((nan.len(), nan[4].text.as_str()), (5, "and 16 more like these"));
    let mut with_tasks = source(sound());
    with_tasks.tasks = Some(Tasks { texts: vec!["push".into()], of_row: vec![0; 1000] });
    assert_eq!(report_of(vec![("a", with_tasks)], &Purpose::horizon(16)).sets[0].tasks, ["push"]);
}

/// Episodes of a swinging arm of two joints, its state as observation, the command one step ahead of it and a little more.
fn swing(episodes: usize, length: usize, unit: f32) -> EpisodeArrays {
    let (mut obs, mut action) = (Vec::new(), Vec::new());
    for e in 0..episodes {
        let at = |t: usize, d: usize| {
            let speed = 0.5 + ((7 * e + 3 * d) % 11) as f32 / 8.0;
            (speed * t as f32 / 10.0 + (e * e + d) as f32).sin() * unit
        };
        for t in 0..length {
            obs.extend([at(t, 0), at(t, 1)]);
            action.extend([1.1 * at(t + 1, 0), 1.1 * at(t + 1, 1)]);
        }
    }
    EpisodeArrays {
        obs,
        action,
        obs_dim: 2,
        action_dim: 2,
        lengths: vec![length; episodes],
        fps: Some(10.0),
        ..EpisodeArrays::default()
    }
}

fn of_kind(warnings: &[Warning], kind: &str) -> Vec<String> {
    warnings.iter().filter(|w| w.kind == kind).map(|w| w.text.clone()).collect()
}

#[test]
fn clips_that_end_in_motion_are_seen_where_their_ends_are_learnt() {
    let judged = |arrays: EpisodeArrays, change: fn(&mut Purpose)| {
        let mut purpose = Purpose::horizon(8);
        change(&mut purpose);
        of_kind(&report_of(vec![("a", source(arrays))], &purpose).warnings, "ends")
    };
    let found = judged(swing(30, 14, 1.0), |_| ());
    assert!(found[0].contains("of 30 episodes end in motion") && found[0].contains("padding = \"mask\""));
    assert_eq!(judged(swing(30, 14, 1e-6), |_| ()).len(), 1, "whatever the unit");
    assert_eq!(judged(swing(30, 14, 1.0), |p| p.padding = Padding::Mask), [""; 0]);
    assert_eq!(judged(swing(30, 14, 1.0), |p| p.windows.pad_after = 0), [""; 0]);
    assert_eq!(judged(swing(10, 300, 1.0), |_| ()), [""; 0], "next to nothing is repeated");
    // The same, but every clip comes to rest.
    let mut rest = swing(30, 14, 1.0);
    for e in 0..30 {
        for t in 9..14 {
            rest.action.copy_within((e * 14 + 8) * 2..(e * 14 + 9) * 2, (e * 14 + t) * 2);
        }
    }
    assert_eq!(judged(rest, |_| ()), [""; 0]);
}

#[test]
fn tasks_that_contradict_each_other_are_seen() {
    let with_tasks = |sign: f32, input: bool| {
        let mut arrays = swing(12, 60, 1.0);
        let task = |row: usize| (row / 60 % 2) as i64;
        for row in 0..720 {
            let turn = if task(row) == 0 { 1.0 } else { sign };
            arrays.action[2 * row..2 * row + 2].iter_mut().for_each(|x| *x = turn * (x.abs() + 0.5));
        }
        if input {
            let rows =
                (0..720).flat_map(|row| [arrays.obs[2 * row], arrays.obs[2 * row + 1], task(row) as f32]);
            (arrays.obs, arrays.obs_dim) = (rows.collect(), 3);
        }
        let mut source = source(arrays);
        source.labels[0] = "observation.state".into();
        let texts = vec!["left".into(), "right".into()];
        source.tasks = Some(Tasks { texts, of_row: (0..720).map(task).collect() });
        of_kind(&report_of(vec![("a", source)], &Purpose::horizon(8)).warnings, "tasks")
    };
    let found = with_tasks(-1.0, false);
    assert!(found[0].contains("'left' and 'right'"), "{found:?}");
    assert!(found[0].ends_with("[data] obs = [\"observation.state\", \"task_index\"]"), "{found:?}");
    assert_eq!(with_tasks(1.0, false), [""; 0], "they agree");
    assert_eq!(with_tasks(-1.0, true), [""; 0], "the task is an input");
}

#[test]
fn sets_in_other_units_are_seen() {
    let units = |unit: f32| {
        let sets = vec![("a", source(swing(10, 60, unit))), ("b", source(swing(9, 60, 1.0)))];
        of_kind(&report_of(sets, &Purpose::horizon(8)).warnings, "units")
    };
    for (unit, words) in [
        (180.0 / std::f32::consts::PI, "degrees and radians?"),
        (1000.0, "millimetres"),
        (30.0, "other units?"),
    ] {
        let found = units(unit);
        assert!(found[0].contains("values of a are about") && found[0].contains(words), "{found:?}");
        assert!(units(1.0 / unit)[0].contains("values of b are about"));
    }
    assert_eq!(units(1.0), [""; 0]);
    assert_eq!(units(5.0), [""; 0], "a smaller motion");
}

#[test]
fn copies_between_sets_are_seen() {
    let sets = vec![("a", source(swing(5, 60, 1.0))), ("b", source(swing(6, 60, 1.0)))];
    let found = of_kind(&report_of(sets, &Purpose::horizon(8)).warnings, "copies");
    assert!(found[0].starts_with("5 of 11 episodes are there more than once"), "{found:?}");
    assert!(found[0].contains("episode 0 of b is episode 0 of a again"), "{found:?}");
}

#[test]
fn sets_that_do_not_fit_are_judged_one_by_one() {
    let mut other = sound();
    other.fps = Some(20.0);
    other.obs[3] = f32::NAN;
    let found = report_of(vec![("a", source(sound())), ("b", source(other))], &Purpose::horizon(16)).warnings;
    assert_eq!(of_kind(&found, "sets"), ["fps differs between data sets: 10 in a, 20 in b"]);
    assert!(of_kind(&found, "nan")[0].starts_with("b: obs 1: 1 value is NaN"), "{found:?}");
    assert_eq!(screenful(&found, 1), ["and 2 more: advect data inspect shows all"]);
}

#[test]
fn full_turns_are_no_glitches() {
    for full in [std::f32::consts::TAU, 360.0] {
        let mut arrays = swing(6, 200, 1.0);
        let angle = |row: usize| (row % 200) as f32 * full / 70.0 + (row / 200) as f32;
        for row in 0..1200 {
            arrays.action[2 * row] = angle(row).rem_euclid(full) - full / 2.0;
        }
        let again = arrays.clone();
        let report = inspected(arrays, 8);
        let found = of_kind(&report.warnings, "wraps");
        assert!(found[0].starts_with("action 0: wraps by a full turn") && found[0].contains("riemannian"));
        assert!(found[0].contains("angles = { obs = [..], action = [0]"), "{found:?}");
        let purpose = Purpose { angles: [vec![], vec!["0".into()]], ..Purpose::horizon(8) };
        let known = report_of(vec![("a.npz", source(again))], &purpose);
        assert!(of_kind(&known.warnings, "wraps").is_empty(), "it is known to be an angle");
        assert_eq!(of_kind(&report.warnings, "jumps"), [""; 0]);
    }
}

#[test]
fn a_command_with_another_zero_is_seen() {
    let offset = |add: f32| {
        let mut arrays = swing(10, 100, 1.0);
        (0..1000).for_each(|row| arrays.action[2 * row] = arrays.obs[2 * row] + add);
        of_kind(&inspected(arrays, 8).warnings, "offset")
    };
    assert!(offset(0.5)[0].starts_with("action 0 is obs 0 plus 0.5 everywhere"), "{:?}", offset(0.5));
    assert!(offset(-3.0)[0].contains("plus -3 everywhere"));
    assert_eq!(offset(0.0), [""; 0]);
    assert_eq!(of_kind(&inspected(swing(10, 100, 1.0), 8).warnings, "offset"), [""; 0]);
}

#[test]
fn rows_of_very_short_episodes_are_no_offset() {
    // At a lag of 4 one row of each of these episodes has a later one, and the three are equally far from it.
    let mut arrays = swing(3, 5, 1.0);
    for row in 0..15 {
        let x = 10.0 * (row % 5) as f32;
        arrays.obs[2 * row..2 * row + 2].fill(x);
        arrays.action[2 * row..2 * row + 2].fill(-x);
    }
    assert_eq!(of_kind(&inspected(arrays, 3).warnings, "offset"), [""; 0]);
}

/// Episodes with one large step each: to a place where the action stays, or there and back.
fn steps(episodes: usize, back: bool, obs_too: bool) -> EpisodeArrays {
    let mut arrays = swing(20, 100, 1.0);
    arrays.action.iter_mut().zip(&arrays.obs).for_each(|(a, o)| *a = 0.1 * o);
    for e in 0..episodes {
        let from = 40 + 3 * e % 20;
        let until = if back { from + 1 } else { 100 };
        for row in e * 100 + from..e * 100 + until {
            arrays.action[2 * row] += 2.0;
            if obs_too {
                arrays.obs[2 * row] += 20.0;
            }
        }
    }
    arrays
}

#[test]
fn a_command_that_is_switched_is_no_glitch() {
    let said = |arrays| of_kind(&inspected(arrays, 16).warnings, "jumps").len();
    assert_eq!(said(steps(20, false, false)), 0, "a goal is switched in every episode");
    assert_eq!(said(steps(6, false, false)), 0, "in a third of them");
    assert_eq!(said(steps(1, false, false)), 1, "once in all the data");
    assert_eq!(said(steps(8, true, false)), 1, "glitches in many episodes");
    assert_eq!(said(steps(12, false, true)), 1, "two recordings in many episodes");
}

#[test]
fn what_stands_still_by_design_is_not_saturated() {
    let said = |of: fn(f32) -> f32| {
        let mut arrays = swing(20, 100, 1.0);
        arrays.action.iter_mut().step_by(2).for_each(|x| *x = of(*x));
        of_kind(&inspected(arrays, 16).warnings, "saturated")
    };
    assert!(said(|x| x.clamp(-0.7, 0.7))[0].contains("stand at the limits -0.7 and 0.7"));
    assert!(said(|x| x.min(0.3))[0].contains("stand at the limit 0.3: "), "only the end that is stood at");
    assert_eq!(said(|x| (3.0 * x).clamp(-1.0, 1.0)), [""; 0], "an action space's own bounds");
    assert_eq!(said(|x| x.max(0.0)), [""; 0], "a speed that rests");
    assert_eq!(said(|x| (0.04 + x).clamp(0.0, 0.08)), [""; 0], "a gripper");
    assert_eq!(said(|x| 0.04 + x.clamp(-0.04, 0.03)), [""; 0], "a gripper that never closes");
    // A robot that waits where it began.
    let mut arrays = swing(20, 100, 1.0);
    for row in (0..2000).filter(|row| row % 100 < 40) {
        arrays.action[2 * row..2 * row + 2].fill(-3.0);
        arrays.obs[2 * row..2 * row + 2].fill(-3.0);
    }
    assert_eq!(of_kind(&inspected(arrays, 16).warnings, "saturated"), [""; 0]);
}

#[test]
fn digits_that_are_lost_are_the_one_caution() {
    // Metres on a map in float64, of which the last one matters: f32 keeps steps of half a metre, so that frames repeat.
    let said = |origin: [f64; 2]| {
        let place = |e: usize, t: usize, d: usize| (1.3 * e as f64 + d as f64).sin() * 0.95f64.powi(t as i32);
        let rows = || (0..20).flat_map(|e| (0..60).flat_map(move |t| [(e, t, 0), (e, t, 1)]));
        let obs: Vec<f64> = rows().map(|(e, t, d)| origin[d] + place(e, t, d)).collect();
        let action: Vec<f32> = rows().map(|(e, t, d)| (-1.5 * place(e, t, d)) as f32).collect();
        let archive = Builder::new().add("obs", &[1200, 2], &obs).add("action", &[1200, 2], &action);
        let (_folder, path) =
            archive.add("episode_len", &[20], &[60i64; 20]).add("fps", &[], &[30.0]).close();
        let report = inspect(&path, &DataSpec::default(), 8).unwrap();
        (kinds(&report), texts(&report, "precision"))
    };
    assert_eq!(said([0.0, 0.0]).0, [""; 0]);
    for origin in [[501_234.0, 5_412_345.0], [0.0, 5_412_345.0], [1.7e9, 0.0], [-5_412_345.0, -1e6]] {
        let (kinds, text) = said(origin);
        assert_eq!(kinds, ["precision"], "{origin:?}");
        for (d, origin) in origin.iter().enumerate() {
            assert_eq!(text.contains(&format!("obs[{d}]: f32 keeps steps of")), *origin != 0.0, "{text}");
        }
    }
}

#[test]
fn a_locked_joint_of_many_digits_is_at_rest() {
    // In f64 its noise shows, in f32 next to nothing of it: there is no offset to take off.
    let noise = |t: usize| f64::from((t as u32).wrapping_mul(2_654_435_761) >> 8) / 16_777_216.0;
    let obs: Vec<f64> =
        (0..1000).flat_map(|t| [(t as f64 / 9.0).sin() + noise(t), 1.57 + 4e-7 * noise(t)]).collect();
    let action: Vec<f32> = (0..1000).map(|t| (t as f32 / 5.0).cos()).collect();
    let archive = Builder::new().add("obs", &[1000, 2], &obs).add("action", &[1000, 1], &action);
    let (_folder, path) = archive.add("episode_len", &[10], &[100i64; 10]).add("fps", &[], &[30.0]).close();
    let report = inspect(&path, &DataSpec::default(), 8).unwrap();
    assert_eq!(kinds(&report), ["constant"], "{:?}", report.warnings);
}

#[test]
fn an_episode_without_a_step_blocks_nothing() {
    let mut arrays = sound();
    arrays.lengths.insert(3, 0);
    arrays.success = Some(vec![true; 21]);
    let sets = DataSets::of(vec![("a.npz".into(), source(arrays))], &DataSpec::default()).unwrap();
    let warnings = sets.warnings(&Purpose::horizon(16));
    assert_eq!((warnings.len(), warnings[0].kind, warnings[0].fatal), (1, "short", false), "{warnings:?}");
    let loaded = sets.load(None).unwrap();
    assert_eq!(loaded.episodes.lengths(), [50; 20]);
    assert_eq!(loaded.notes, ["left out 1 of 21 episodes, without a step: episode 3 (0)"]);
}

#[test]
fn a_clock_among_the_observations_is_said_once() {
    let state: Vec<f64> = (0..600).map(|t| (t as f64 / 7.0).sin()).collect();
    let stamp: Vec<i64> = (0..600).map(|t| 1_700_000_000_000_000_000 + 33_333_333 * t).collect();
    let action: Vec<f32> = (0..600).map(|t| (t as f32 / 5.0).cos()).collect();
    let archive = Builder::new().add("state", &[600, 1], &state).add("stamp", &[600, 1], &stamp);
    let archive = archive.add("action", &[600, 1], &action).add("episode_len", &[2], &[300i64; 2]);
    let (_folder, path) = archive.add("fps", &[], &[30.0]).close();
    let spec = toml::from_str("obs = ['state', 'stamp']").unwrap();
    let report = inspect(&path, &spec, 8).unwrap();
    assert_eq!(kinds(&report), ["precision"], "{:?}", report.warnings);
    assert!(texts(&report, "precision").contains("Subtract an offset, as 1700000010000000000, before"));
}

/// What a detector says of data that are as they should be would be a false alarm.
#[test]
fn the_shipped_data_raise_no_alarm() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (set, most) in [("data/pusht.npz", &["following", "success"][..]), ("tests/lerobot/v3", &["success"])]
    {
        let report = inspect(root.join(set), &DataSpec::default(), 16).unwrap();
        assert!(kinds(&report).iter().all(|kind| most.contains(kind)), "{:?}", report.warnings);
    }
}
