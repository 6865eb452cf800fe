use super::*;
use crate::data::{EpisodeArrays, Episodes};
use crate::policy::angles::wrapped;
use proptest::prelude::*;

fn limits(outside: Reaction, too_fast: Reaction) -> SafetySpec {
    SafetySpec {
        low: vec![-1.0, 0.0],
        high: vec![1.0, 5.0],
        velocity: vec![2.0, 10.0],
        acceleration: vec![20.0, 60.0],
        jerk: vec![400.0, 900.0],
        outside,
        too_fast,
        ..SafetySpec::new(20.0)
    }
}

fn gate(outside: Reaction, too_fast: Reaction) -> Gate {
    let mut gate = Gate::new(&limits(outside, too_fast), 2, 1).unwrap();
    gate.start(0, &[0.0, 1.0]).unwrap();
    gate
}

/// Checks the promise for one dimension of what was sent, the start first.
fn keeps(spec: &SafetySpec, d: usize, sent: &[f32]) -> std::result::Result<(), TestCaseError> {
    let of = |list: &[f32]| list.get(d).map(|v| f64::from(*v));
    for x in sent {
        prop_assert!(x.is_finite());
        prop_assert!(of(&spec.low).is_none_or(|low| f64::from(*x) >= low), "{x} below");
        prop_assert!(of(&spec.high).is_none_or(|high| f64::from(*x) <= high), "{x} above");
    }
    let largest = sent.iter().fold(0.0f64, |m, v| m.max(f64::from(v.abs())));
    // At rest before the start.
    let mut values: Vec<f64> = [sent[0]; 3].iter().chain(sent).map(|v| f64::from(*v)).collect();
    for (order, list) in [&spec.velocity, &spec.acceleration, &spec.jerk].into_iter().enumerate() {
        values = values.windows(2).map(|w| w[1] - w[0]).collect();
        let Some(limit) = of(list) else { continue };
        let limit = limit / spec.rate_hz.powi(order as i32 + 1);
        let rounding = f64::from(1u32 << (order + 1)) * f64::from(f32::EPSILON) * largest;
        for (step, v) in values.iter().enumerate() {
            prop_assert!(
                v.abs() <= limit * (1.0 + 1e-6) + rounding,
                "order {order}, step {step}: {v} > {limit}"
            );
        }
    }
    Ok(())
}

/// Anything that a broken policy may say.
fn wild() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => -1.5f32..1.5,
        2 => -8.0f32..8.0,
        1 => any::<f32>(),
        1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 0.0]),
    ]
}

fn reaction() -> impl Strategy<Value = Reaction> {
    prop::sample::select(vec![Reaction::Clamp, Reaction::Hold])
}

/// A limit or none.
fn maybe(range: std::ops::Range<f32>) -> impl Strategy<Value = Vec<f32>> {
    prop_oneof![1 => Just(Vec::new()), 4 => range.prop_map(|v| vec![v])]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_goes_in_the_limits_hold(
        outside in reaction(),
        too_fast in reaction(),
        start in wild(),
        low in maybe(-3.0..0.0),
        span in 0.001f32..6.0,
        velocity in maybe(0.01..30.0),
        acceleration in maybe(0.1..300.0),
        jerk in maybe(1.0..6000.0),
        asked in prop::collection::vec(wild(), 1..200),
        runs in 1usize..12,
    ) {
        let high = low.iter().map(|l| l + span).collect();
        let spec = SafetySpec { low, high, velocity, acceleration, jerk, outside, too_fast, ..SafetySpec::new(20.0) };
        let mut gate = Gate::new(&spec, 1, 1).unwrap();
        let mut start = [start];
        gate.start(0, &start).unwrap();
        // Where it stands is what stopping at once sends.
        gate.stop(0, &mut start).unwrap();
        let mut sent = vec![start[0]];
        for v in &asked {
            // The same request for a while, so that speed builds up.
            for _ in 0..runs {
                let mut action = [*v];
                gate.apply(0, &mut action).unwrap();
                sent.push(action[0]);
            }
        }
        // Without bounds and rates, f32's own range is the only limit, and differences are of that size.
        if sent.iter().all(|v| v.abs() < 1e6) {
            keeps(&spec, 0, &sent)?;
        }
        prop_assert!(sent.iter().all(|v| v.is_finite()));
        let c = gate.counts();
        prop_assert_eq!(c.passed + c.clamped + c.held, sent.len() as u64);
    }

    #[test]
    fn robots_do_not_touch_each_other(asked in prop::collection::vec((wild(), wild()), 1..60)) {
        let spec = limits(Reaction::Clamp, Reaction::Clamp);
        let (mut both, mut alone) = (Gate::new(&spec, 2, 2).unwrap(), Gate::new(&spec, 2, 1).unwrap());
        both.start(0, &[0.5, 0.5]).unwrap();
        both.start(1, &[0.0, 1.0]).unwrap();
        alone.start(0, &[0.0, 1.0]).unwrap();
        for (x, y) in asked {
            let (mut first, mut second, mut only) = ([y, x], [x, y], [x, y]);
            both.apply(0, &mut first).unwrap();
            both.apply(1, &mut second).unwrap();
            alone.apply(0, &mut only).unwrap();
            prop_assert_eq!(second, only);
        }
    }
}

#[test]
fn each_breach_has_its_counter() {
    let mut gate = gate(Reaction::Hold, Reaction::Clamp);
    let mut send = |x: f32, y: f32| {
        let mut action = [x, y];
        (gate.apply(0, &mut action).unwrap(), action, gate.counts())
    };
    let (verdict, action, counts) = send(0.0, 1.0);
    assert_eq!((verdict, action, counts.passed), (Verdict::Passed, [0.0, 1.0], 1));
    let (verdict, action, counts) = send(f32::NAN, 1.0);
    assert_eq!((verdict, action, counts.not_finite), (Verdict::Held, [0.0, 1.0], 1));
    let (verdict, action, counts) = send(0.0, 5.5);
    assert_eq!((verdict, action, counts.outside, counts.held), (Verdict::Held, [0.0, 1.0], 1, 2));
    let (verdict, action, counts) = send(0.9, 1.0);
    assert_eq!((verdict, counts.velocity, counts.acceleration, counts.jerk), (Verdict::Clamped, 1, 1, 1));
    // 400 / 20^3: the jerk limit decides the first step.
    assert!((action[0] - 0.05).abs() < 1e-6 && action[1] == 1.0, "{action:?}");
    assert_eq!(gate.counts().clamped, 1);
}

#[test]
fn a_hold_stops_all_dimensions_within_the_limits() {
    let mut gate = gate(Reaction::Hold, Reaction::Clamp);
    let mut sent = vec![[0.0, 1.0]];
    let mut send = |gate: &mut Gate, action: [f32; 2]| {
        let mut action = action;
        let verdict = gate.apply(0, &mut action).unwrap();
        sent.push(action);
        verdict
    };
    for _ in 0..6 {
        assert_ne!(send(&mut gate, [0.8, 4.0]), Verdict::Held);
    }
    for _ in 0..30 {
        assert_eq!(send(&mut gate, [f32::NAN, 4.0]), Verdict::Held);
    }
    assert_eq!(sent[35], sent[36], "at rest");
    let spec = limits(Reaction::Hold, Reaction::Clamp);
    for d in 0..2 {
        keeps(&spec, d, &sent.iter().map(|a| a[d]).collect::<Vec<_>>()).unwrap();
    }
}

#[test]
fn settings_are_checked_by_name() {
    let fault = |change: fn(&mut SafetySpec)| {
        let mut spec = limits(Reaction::Hold, Reaction::Clamp);
        change(&mut spec);
        spec.check(2).unwrap_err().to_string()
    };
    assert_eq!(fault(|s| s.low.truncate(1)), "safety.low: found 1 values, needed 2");
    assert_eq!(fault(|s| s.jerk[1] = 0.0), "safety.jerk: found 0, needed finite values above 0");
    assert_eq!(fault(|s| s.high[0] = f32::NAN), "safety.high: found NaN, needed finite values");
    assert_eq!(fault(|s| s.high[0] = -2.0), "safety.low and high: found -1 and -2, needed low at most high");
    assert_eq!(fault(|s| s.rate_hz = 0.0), "safety.rate_hz: found 0, needed above 0, up to 1e6");
    let mut gate = gate(Reaction::Hold, Reaction::Clamp);
    assert_eq!(gate.apply(1, &mut [0.0; 2]).unwrap_err().to_string(), "robot 1: needed a number below 1");
    assert!(gate.apply(0, &mut [0.0; 3]).is_err());
}

#[test]
fn a_toml_file_says_the_same() {
    let spec = limits(Reaction::Clamp, Reaction::Hold);
    assert_eq!(toml::from_str::<SafetySpec>(&toml::to_string(&spec).unwrap()).unwrap(), spec);
    let short: SafetySpec = toml::from_str("rate_hz = 20.0\nlow = [-1.0]\nhigh = [1.0]").unwrap();
    assert_eq!((short.outside, short.too_fast), (Reaction::Hold, Reaction::Clamp));
    assert!(toml::from_str::<SafetySpec>("rate_hz = 20.0\nspeed = [1.0]").is_err());
}

/// sin(k / 10) at 50 Hz has known rates; a dimension that stands still gets tiny ones.
#[test]
fn limits_are_fitted_with_a_margin() {
    let action: Vec<f32> = (0..400).flat_map(|k| [(k as f32 * 0.1).sin(), 3.0]).collect();
    let arrays = EpisodeArrays {
        obs: vec![0.0; 400],
        action,
        obs_dim: 1,
        action_dim: 2,
        lengths: vec![200, 200],
        ..EpisodeArrays::default()
    };
    let episodes = Episodes::from_arrays(arrays).unwrap();
    let spec = SafetySpec::fit(&episodes, 50.0, &FitOptions { quantile: 1.0, margin: 0.1 }).unwrap();
    let near = |found: f32, expected: f64| {
        assert!((f64::from(found) / expected - 1.0).abs() < 0.01, "{found} {expected}")
    };
    near(spec.high[0], 1.2);
    near(spec.low[0], -1.2);
    // Differences of a sine: 2 sin(0.05) each time.
    let each = 2.0 * 0.05f64.sin() * 50.0;
    near(spec.velocity[0], 1.1 * each);
    near(spec.acceleration[0], 1.1 * each * each);
    near(spec.jerk[0], 1.1 * each * each * each);
    assert!(spec.velocity[1] > 0.0 && spec.velocity[1] < 0.01 && spec.low[1] < 3.0 && spec.high[1] > 3.0);
    // The demonstrations themselves pass from a running start on.
    let mut gate = Gate::new(&spec, 2, 1).unwrap();
    for row in episodes.action()[..400].chunks_exact(2) {
        gate.apply(0, &mut [row[0], row[1]]).unwrap();
    }
    assert_eq!((gate.counts().held, gate.counts().outside), (0, 0));
    assert!(SafetySpec::fit(&episodes, 50.0, &FitOptions { quantile: 0.4, margin: 0.0 }).is_err());
}

fn angle(centre: f32, unit: crate::policy::AngleUnit) -> Angles {
    Angles { unit, obs: vec![0], action: vec![crate::policy::ActionAngle { dim: 0, centre: Some(centre) }] }
}

/// A joint that turns on over its cut at 0.05 rad a step, and one number that jumps by more than pi for real.
#[test]
fn a_wrap_is_no_speed() {
    use std::f32::consts::{PI, TAU};
    let wrap = |x: f32| wrapped(x.into(), 0.0, f64::from(TAU)) as f32;
    let radians = angle(0.0, crate::policy::AngleUnit::Radians);
    let action: Vec<f32> = (0..400).map(|k| wrap(0.05 * k as f32)).collect();
    let arrays = EpisodeArrays {
        obs: vec![0.0; 400],
        action,
        obs_dim: 1,
        action_dim: 1,
        lengths: vec![200, 200],
        ..EpisodeArrays::default()
    };
    let episodes = Episodes::from_arrays(arrays).unwrap();
    let options = FitOptions { quantile: 1.0, margin: 0.2 };
    let plain = SafetySpec::fit(&episodes, 50.0, &options).unwrap();
    assert!(plain.velocity[0] > 100.0, "{plain:?}");
    let spec = SafetySpec::fit_angles(&episodes, Some(&radians), 50.0, &options).unwrap();
    assert!((spec.velocity[0] / 3.0 - 1.0).abs() < 1e-3, "{spec:?}");
    assert!(spec.acceleration[0] < 0.1 && spec.low[0] <= -PI && spec.high[0] >= PI, "{spec:?}");

    // The gate lets the turning pass, over the cut and for many turns.
    let spec = SafetySpec { acceleration: vec![200.0], jerk: vec![20_000.0], ..spec };
    let mut gate = Gate::new(&spec, 1, 1).unwrap().with_angles(&radians).unwrap();
    gate.start(0, &[7.0 * TAU - 0.05]).unwrap();
    for k in 0..1000 {
        let want = wrap(0.05 * k as f32);
        let mut sent = [want];
        let verdict = gate.apply(0, &mut sent).unwrap();
        assert!(k < 2 || verdict == Verdict::Passed, "{k}: {want} {sent:?}");
        assert!(sent[0].abs() <= PI && wrap(sent[0] - want).abs() < 0.01, "{k}: {want} {sent:?}");
    }
    // A jump is followed by the shorter way, over the cut: from -3.0 to 3.0.
    gate.start(0, &[-3.0]).unwrap();
    let (mut before, mut way) = (-3.0f32, 0.0f32);
    for _ in 0..40 {
        let mut sent = [3.0];
        gate.apply(0, &mut sent).unwrap();
        let by = wrap(sent[0] - before);
        assert!(by.abs() <= 0.0601, "{by}");
        (before, way) = (sent[0], way + by);
    }
    assert!((way + TAU - 6.0).abs() < 1e-4 && (before - 3.0).abs() < 1e-4, "{way} {before}");
    // A hold stops it within the limits, over the cut too.
    gate.start(0, &[PI - 0.06]).unwrap();
    for step in [0.01, 0.04, 0.1] {
        gate.apply(0, &mut [wrap(PI - 0.06 + step)]).unwrap();
    }
    let mut sent = [f32::NAN];
    for _ in 0..20 {
        assert_eq!(gate.apply(0, &mut sent).unwrap(), Verdict::Held);
        assert!(sent[0].abs() <= PI && wrap(sent[0] - PI).abs() < 0.2, "{sent:?}");
        sent = [f32::NAN];
    }
}

/// Bounds of an angle are an arc, which may lie over the cut; the way through what is forbidden is no short cut.
#[test]
fn bounds_of_an_angle_are_an_arc() {
    let degrees = angle(0.0, crate::policy::AngleUnit::Degrees);
    let wrap = |x: f32| wrapped(x.into(), 0.0, 360.0) as f32;
    // Demonstrated: 150 to 210 degrees, which is 150 to 180 and -180 to -150.
    let action: Vec<f32> = (0..400).map(|k| wrap(180.0 + 30.0 * (k as f32 * 0.05).sin())).collect();
    let arrays = EpisodeArrays {
        obs: vec![0.0; 400],
        action,
        obs_dim: 1,
        action_dim: 1,
        lengths: vec![400],
        ..EpisodeArrays::default()
    };
    let episodes = Episodes::from_arrays(arrays).unwrap();
    let options = FitOptions { quantile: 1.0, margin: 0.1 };
    let spec = SafetySpec::fit_angles(&episodes, Some(&degrees), 10.0, &options).unwrap();
    let (low, high) = (spec.low[0], spec.high[0]);
    assert!((high - low - 72.0).abs() < 0.2, "{spec:?}");
    assert!((wrap(low) - 144.0).abs() < 0.2 && (wrap(high) + 144.0).abs() < 0.2, "{spec:?}");
    let spec = SafetySpec { outside: Reaction::Clamp, ..spec };
    let mut gate = Gate::new(&spec, 1, 1).unwrap().with_angles(&degrees).unwrap();
    gate.start(0, &[-150.0]).unwrap();
    // 100 lies outside, nearest to the arc's end at 144.
    let mut sent = [0.0f32];
    for _ in 0..400 {
        sent = [100.0];
        gate.apply(0, &mut sent).unwrap();
        assert!(!(-143.9..=143.9).contains(&sent[0]), "{sent:?}");
    }
    assert!((sent[0] - 144.0).abs() < 0.2, "{sent:?}");
    // A joint that must not pass its cut goes the long way.
    let limits =
        SafetySpec { low: vec![-175.0], high: vec![175.0], velocity: vec![100.0], ..SafetySpec::new(10.0) };
    let mut gate = Gate::new(&limits, 1, 1).unwrap().with_angles(&degrees).unwrap();
    gate.start(0, &[170.0]).unwrap();
    let mut sent = [-170.0];
    gate.apply(0, &mut sent).unwrap();
    assert_eq!(sent, [160.0]);
    // One bound alone says nothing of a direction; one that lies beyond the turn forbids nothing.
    let one = |low: f32| SafetySpec { low: vec![low], ..SafetySpec::new(10.0) };
    let said = Gate::new(&one(-90.0), 1, 1).unwrap().with_angles(&degrees).unwrap_err().to_string();
    assert!(said.contains("safety.low and high: found -90 and inf of action 0, an angle about 0"), "{said}");
    assert!(Gate::new(&one(-180.0), 1, 1).unwrap().with_angles(&degrees).is_ok());
}
