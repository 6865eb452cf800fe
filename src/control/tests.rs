//! Controllers over a source that says exactly what it was asked.

use super::*;
use crate::data::EpisodeArrays;
use crate::policy::{ChunkSource, NoiseKey, PolicyError, PolicySpec, Previous, RowOutcome, RowStatus};
use crate::{Cpu, Device, Episodes, RunConfig, Trainer};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const HORIZON: usize = 8;
const NOW: Duration = Duration::ZERO;

/// The spec of an untrained policy: one value observed, one commanded.
fn policy(history: usize, action_offset: usize) -> PolicySpec {
    let arrays = EpisodeArrays {
        obs: (0..24).map(|i| (i as f32).sin()).collect(),
        action: (0..24).map(|i| (i as f32).cos()).collect(),
        obs_dim: 1,
        action_dim: 1,
        lengths: vec![24],
        ..EpisodeArrays::default()
    };
    let config = RunConfig {
        history,
        action_offset,
        horizon: HORIZON,
        validation_fraction: 0.0,
        ..RunConfig::default()
    };
    let device = Device::Cpu(Cpu::with_threads(1).unwrap());
    let episodes = Episodes::from_arrays(arrays).unwrap();
    Trainer::new(&device, &episodes, &config).unwrap().policy().unwrap().spec
}

/// What a source was asked: newest observation, noise keys, delay and rows left of each robot.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    obs: Vec<f32>,
    noise: Vec<NoiseKey>,
    previous: Option<(Vec<f32>, Vec<usize>, Vec<usize>)>,
}

/// Row i of its k-th chunk (from 1; the warm-up is 0) is 100 k + newest observation + i.
struct Mock {
    spec: PolicySpec,
    robots: usize,
    made: usize,
    asked: Arc<Mutex<Vec<Asked>>>,
    act: Box<dyn FnMut(usize) -> crate::policy::Result<()> + Send>,
    /// Row i of a chunk, from the chunk's number, the newest observation, and i.
    say: Box<dyn Fn(usize, f32, usize) -> f32 + Send>,
    check: Check,
    /// The robot that a pass gives nothing.
    fails: Box<dyn Fn(usize) -> Option<usize> + Send>,
}

/// Judges what a source is told of the running chunks.
type Check = Box<dyn FnMut(Option<&Previous<'_>>) -> crate::policy::Result<()> + Send>;

impl Mock {
    fn new(robots: usize, spec: PolicySpec) -> (Mock, Arc<Mutex<Vec<Asked>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mock = Mock {
            spec,
            robots,
            made: 0,
            asked: asked.clone(),
            act: Box::new(|_| Ok(())),
            say: Box::new(|made, obs, i| 100.0 * made as f32 + obs + i as f32),
            check: Box::new(|_| Ok(())),
            fails: Box::new(|_| None),
        };
        (mock, asked)
    }

    /// Waits for a word before each chunk but the warm-up's.
    fn gated(spec: PolicySpec) -> (Mock, Sender<()>) {
        let (mut mock, _) = Mock::new(1, spec);
        let (go, wait): (Sender<()>, Receiver<()>) = channel();
        mock.act = Box::new(move |made| {
            if made > 0 {
                let _ = wait.recv();
            }
            Ok(())
        });
        (mock, go)
    }
}

impl ChunkSource for Mock {
    fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    fn robots(&self) -> usize {
        self.robots
    }

    fn sample(
        &mut self,
        obs: &[f32],
        noise: &[NoiseKey],
        previous: Option<&Previous<'_>>,
        chunks: &mut [f32],
    ) -> crate::policy::Result<()> {
        let made = self.made;
        if made > 0 {
            let previous = previous.map(|p| (p.chunk.to_vec(), p.delay.to_vec(), p.left.to_vec()));
            self.asked.lock().unwrap().push(Asked { obs: obs.to_vec(), noise: noise.to_vec(), previous });
        }
        (self.act)(made)?;
        (self.check)(previous)?;
        self.made += 1;
        let request = self.spec.request();
        for (chunk, obs) in chunks.chunks_exact_mut(HORIZON).zip(obs.chunks_exact(request)) {
            for (i, v) in chunk.iter_mut().enumerate() {
                *v = (self.say)(made, obs[request - 1], i);
            }
        }
        Ok(())
    }

    fn sample_each(
        &mut self,
        obs: &[f32],
        noise: &[NoiseKey],
        previous: Option<&Previous<'_>>,
        chunks: &mut [f32],
        outcomes: &mut [RowOutcome],
    ) -> crate::policy::Result<()> {
        let fails = (self.fails)(self.made);
        self.sample(obs, noise, previous, chunks)?;
        for (robot, outcome) in outcomes.iter_mut().enumerate() {
            let status = if fails == Some(robot) { RowStatus::NonFinite } else { RowStatus::Done };
            *outcome = RowOutcome { status, ..RowOutcome::default() };
        }
        Ok(())
    }
}

fn fixed() -> Hold {
    Hold::Fixed { action: vec![-1.0] }
}

/// Acts with the step's number as the observation.
fn run(controller: &mut Controller, steps: std::ops::Range<usize>) -> Vec<(f32, Kind)> {
    steps
        .map(|step| {
            let action = controller.act(&[step as f32], NOW).unwrap();
            (action.values[0], action.kind)
        })
        .collect()
}

#[test]
fn receding_horizon_executes_so_many_of_each_chunk() {
    let (mock, asked) = Mock::new(1, policy(3, 0));
    let mut controller = Controller::new(mock, &ControlSpec::new(Mode::Receding, 3, fixed())).unwrap();
    let actions = run(&mut controller, 0..7);
    let expected = [100.0, 101.0, 102.0, 203.0, 204.0, 205.0, 306.0].map(|v| (v, Kind::Fresh));
    assert_eq!(actions, expected);
    let asked = asked.lock().unwrap();
    assert_eq!(
        asked.iter().map(|a| a.obs.clone()).collect::<Vec<_>>(),
        [vec![0.0, 0.0, 0.0], vec![1.0, 2.0, 3.0], vec![4.0, 5.0, 6.0]]
    );
    let requests: Vec<u64> = asked.iter().map(|a| a.noise[0].request).collect();
    assert_eq!(requests, [0, 1, 2]);
    assert!(asked.iter().all(|a| a.previous.is_none() && a.noise[0].seed == asked[0].noise[0].seed));
}

#[test]
fn a_late_chunk_is_joined_where_the_robot_is() {
    let (mock, _) = Mock::new(1, policy(1, 0));
    let spec = ControlSpec::new(Mode::Receding, 4, fixed());
    let mut controller = Controller::new(mock, &spec).unwrap().with_delay(2);
    let actions = run(&mut controller, 0..13);
    use Kind::{Fresh as F, Hold as H, Previous as P};
    // Held for two steps, nothing was executed: the first chunk starts at its first row. Asked again four executed actions
    // after an observation; the chunk of step 2 + 4 comes at step 8, two actions late.
    let expected = [
        (-1.0, H),
        (-1.0, H),
        (100.0, F),
        (101.0, F),
        (102.0, F),
        (103.0, F),
        (104.0, P),
        (105.0, P),
        (208.0, F),
        (209.0, F),
        (210.0, P),
        (211.0, P),
        (312.0, F),
    ];
    assert_eq!(actions, expected);
    assert_eq!(controller.counts().longest_delay, 2);
    assert_eq!((controller.counts().held, controller.counts().previous), (2, 4));
}

#[test]
fn a_chunk_is_asked_for_before_the_running_one_ends() {
    let (mock, asked) = Mock::new(1, policy(1, 0));
    let spec = ControlSpec { delay: 3, ..ControlSpec::new(Mode::Receding, HORIZON, fixed()) };
    let mut controller = Controller::new(mock, &spec).unwrap().with_delay(3);
    let kinds: Vec<Kind> = run(&mut controller, 0..40).into_iter().map(|(_, kind)| kind).collect();
    assert!(kinds[3..].iter().all(|k| *k != Kind::Hold), "{kinds:?}");
    let at: Vec<f32> = asked.lock().unwrap().iter().map(|a| a.obs[0]).collect();
    assert_eq!(at[..4], [0.0, 8.0, 13.0, 18.0], "five executed, three to come");
}

#[test]
fn ensembling_is_the_weighted_mean_of_what_the_chunks_say() {
    let (mock, _) = Mock::new(1, policy(1, 0));
    let mut controller = Controller::new(mock, &ControlSpec::ensemble(fixed())).unwrap();
    // At step s chunk k (of step k - 1) says 100 k + s. Most chunks at once: the horizon.
    for (step, (action, kind)) in run(&mut controller, 0..20).into_iter().enumerate() {
        let chunks = (step + 1).saturating_sub(HORIZON) + 1..=step + 1;
        let weights: Vec<f64> = (0..chunks.clone().count()).map(|i| (-0.01 * i as f64).exp()).collect();
        let sum: f64 = chunks.zip(&weights).map(|(k, w)| w * (100.0 * k as f64 + step as f64)).sum();
        let expected = sum / weights.iter().sum::<f64>();
        assert!((f64::from(action) - expected).abs() < 1e-3, "{step}: {action} {expected}");
        assert_eq!(kind, Kind::Fresh);
    }
}

#[test]
fn real_time_chunking_hears_what_is_left_and_how_late_it_will_be() {
    let (mock, asked) = Mock::new(1, policy(1, 0));
    let spec = ControlSpec { delays: 2, ..ControlSpec::new(Mode::RealTime, 4, fixed()) };
    let mut controller = Controller::new(mock, &spec).unwrap().with_delay(2);
    run(&mut controller, 0..16);
    let asked = asked.lock().unwrap();
    assert_eq!(
        asked[0].previous.clone().unwrap().2,
        [HORIZON],
        "the second warm-up, continuing the first's chunk"
    );
    assert_eq!(asked[1].previous, None, "nothing runs yet");
    // At step 6 four actions of that chunk (204 to 207) are left; it was two calls late.
    let (chunk, delay, left) = asked[2].previous.clone().unwrap();
    assert_eq!((&chunk[..4], delay, left), (&[204.0, 205.0, 206.0, 207.0][..], vec![2], vec![4]));
    let (chunk, delay, left) = asked[3].previous.clone().unwrap();
    assert_eq!((&chunk[..4], delay, left), (&[310.0, 311.0, 312.0, 313.0][..], vec![2], vec![4]));
}

#[test]
fn the_offset_between_observation_and_chunk_is_kept() {
    let (mock, asked) = Mock::new(1, policy(1, 2));
    let mut controller = Controller::new(mock, &ControlSpec::new(Mode::Receding, 3, fixed())).unwrap();
    let actions: Vec<f32> = run(&mut controller, 0..9).into_iter().map(|(v, _)| v).collect();
    // The chunk of step 0 is for steps 2 to 9; that of step 3 for steps 5 to 12.
    assert_eq!(actions, [-1.0, -1.0, 100.0, 101.0, 102.0, 203.0, 204.0, 205.0, 306.0]);
    let at: Vec<f32> = asked.lock().unwrap().iter().map(|a| a.obs[0]).collect();
    assert_eq!(at, [0.0, 3.0, 6.0]);
}

/// A robot has the same noise, requests and actions whoever is in its batch, resets of others included.
#[test]
fn robots_are_independent() {
    let spec = ControlSpec { seed: 5, ..ControlSpec::new(Mode::Receding, 3, fixed()) };
    let (mock, asked) = Mock::new(2, policy(1, 0));
    let mut both = Controller::new(mock, &spec).unwrap();
    let mut rows = Vec::new();
    for step in 0..9 {
        if step == 4 {
            both.reset(1, Some(77)).unwrap();
        }
        let action = both.act(&[step as f32, 50.0 + step as f32], NOW).unwrap();
        rows.push((action.values[0] % 100.0, action.values[1] % 100.0));
    }
    assert!(rows.iter().enumerate().all(|(step, row)| *row == (step as f32, 50.0 + step as f32)), "{rows:?}");
    let asked = asked.lock().unwrap();
    let seeds = |robot: usize| {
        asked.iter().map(|a| (a.noise[robot].seed, a.noise[robot].request)).collect::<Vec<_>>()
    };
    // Asked at steps 0, 3 for both, 4 and 7 for the second, 6 for the first.
    assert_eq!(asked.len(), 5);
    assert_ne!(seeds(0)[0].0, seeds(1)[0].0);
    assert_eq!(seeds(1)[2], (super::robot::robot_seed(77, 1), 0), "an episode can be repeated");
    assert_eq!(seeds(0)[3].1, 2, "the other's requests do not count");
    assert!(both.reset(2, None).is_err());
}

#[test]
fn observations_that_are_not_finite_hold_their_robot_only() {
    let (mock, _) = Mock::new(2, policy(1, 0));
    let mut controller = Controller::new(mock, &ControlSpec::new(Mode::Receding, 4, fixed_for(1))).unwrap();
    controller.act(&[0.0, 0.0], NOW).unwrap();
    let action = controller.act(&[f32::NAN, 1.0], NOW).unwrap();
    assert_eq!((action.kinds, action.kind), (&[Kind::Hold, Kind::Fresh][..], Kind::Hold));
    assert_eq!(action.values, [-1.0, 101.0]);
    // What was not executed comes next.
    assert_eq!(controller.act(&[1.0, 2.0], NOW).unwrap().values, [101.0, 102.0]);
    assert_eq!(controller.counts().bad_observations, 1);
    let error = controller.act(&[0.0], NOW).unwrap_err().to_string();
    assert_eq!(error, "observations: found 1 values, needed 2");
}

fn fixed_for(dims: usize) -> Hold {
    Hold::Fixed { action: vec![-1.0; dims] }
}

#[test]
fn staying_needs_a_first_observation() {
    let (mock, _) = Mock::new(1, policy(1, 0));
    let spec = ControlSpec::new(Mode::Receding, 4, Hold::Last { from: vec![0] });
    let mut controller = Controller::new(mock, &spec).unwrap().with_delay(1);
    let error = controller.act(&[f32::NAN], NOW).unwrap_err();
    assert!(matches!(error, ControlError::Observation { robot: 0, element: 0, .. }));
    assert_eq!(controller.act(&[7.0], NOW).unwrap().values, [7.0], "where the robot is");
    assert_eq!(controller.act(&[7.5], NOW).unwrap().values, [107.0]);
    assert_eq!(controller.act(&[f32::INFINITY], NOW).unwrap().values, [107.0], "the last action");
}

#[test]
fn chunks_grow_too_old_by_the_callers_clock() {
    let (mock, _) = Mock::new(1, policy(1, 0));
    let spec = ControlSpec { max_age_s: Some(0.5), ..ControlSpec::new(Mode::Receding, 6, fixed()) };
    let mut controller = Controller::new(mock, &spec).unwrap().with_delay(1);
    let mut at = |seconds: f64| {
        let action = controller.act(&[0.0], Duration::from_secs_f64(seconds)).unwrap();
        (action.values[0], action.kind)
    };
    assert_eq!(at(0.0), (-1.0, Kind::Hold));
    assert_eq!(at(0.1), (100.0, Kind::Fresh));
    assert_eq!(at(5.0), (-1.0, Kind::Hold), "the loop stood still: the chunk is of long ago");
    assert_eq!(at(5.1), (200.0 + 0.0, Kind::Fresh), "asked at once");
}

#[test]
fn a_failing_policy_is_an_error_and_tried_again() {
    let (mut mock, _) = Mock::new(1, policy(1, 0));
    let mut calls = 0;
    mock.act = Box::new(move |_| {
        calls += 1;
        match calls {
            2 => Err(PolicyError::NonFinite { what: "actions", value: f32::NAN, element: 3 }),
            _ => Ok(()),
        }
    });
    let mut controller = Controller::new(mock, &ControlSpec::new(Mode::Receding, 4, fixed())).unwrap();
    let error = controller.act(&[0.0], NOW).unwrap_err().to_string();
    assert_eq!(error, "inference failed: actions holds NaN at element 3: needed finite values");
    assert_eq!(controller.act(&[0.0], NOW).unwrap().values, [100.0]);
    assert_eq!(controller.counts().failures, 1);
}

#[test]
fn settings_are_checked_against_the_policy() {
    let fault = |change: fn(&mut ControlSpec)| {
        let mut spec = ControlSpec::new(Mode::Receding, 4, fixed());
        change(&mut spec);
        spec.check(&policy(1, 0)).unwrap_err().to_string()
    };
    assert_eq!(fault(|s| s.execute = 0), "execute: found 0, needed 1 to 8");
    assert_eq!(fault(|s| s.execute = 9), "execute: found 9, needed 1 to 8");
    assert_eq!(fault(|s| s.delay = 8), "delay: found 8, needed below 8");
    assert_eq!(fault(|s| s.deadline_ms = f64::NAN), "deadline_ms: found NaN, needed 0 to 60000");
    assert_eq!(
        fault(|s| s.hold = Hold::Last { from: vec![1] }),
        "hold.from: found 1, needed observation dimensions below 1"
    );
    assert_eq!(fault(|s| s.hold = fixed_for(2)), "the holding action: found 2 values, needed 1");
    assert_eq!(fault(|s| s.max_age_s = Some(0.0)), "max_age_s: found 0, needed a positive number of seconds");
    let text = "mode = { kind = \"ensemble\", decay = 0.01 }\nexecute = 1\nhold = { kind = \"fixed\", action = [-1.0] }";
    assert_eq!(toml::from_str::<ControlSpec>(text).unwrap(), ControlSpec::ensemble(fixed()));
    assert!(toml::from_str::<ControlSpec>(&format!("{text}\nexecutes = 2")).is_err());
}

#[test]
fn the_gate_holds_what_a_chunk_must_not_say() {
    let (mock, _) = Mock::new(1, policy(1, 0));
    let safety = SafetySpec { low: vec![-1.0], high: vec![102.5], ..SafetySpec::new(10.0) };
    let spec = ControlSpec { safety: Some(safety), ..ControlSpec::new(Mode::Receding, 6, fixed()) };
    let mut controller = Controller::new(mock, &spec).unwrap();
    use Kind::{Fresh as F, Hold as H};
    let expected = [(100.0, F), (101.0, F), (102.0, F), (102.0, H), (102.0, H), (102.0, H)];
    assert_eq!(run(&mut controller, 0..6), expected);
    assert_eq!(controller.gate().unwrap().counts().outside, 3);
}

/// Acts with the step's number as the observation.
fn step(actor: &mut Actor, step: usize) -> (f32, Kind, Option<usize>) {
    let action = actor.act(&[step as f32], NOW).unwrap();
    (action.values[0], action.kind, action.delay)
}

const SOON: Duration = Duration::from_secs(20);

#[test]
fn an_actor_counts_the_delay_from_what_was_executed() {
    use Kind::{Fresh as F, Hold as H, Previous as P};
    let (mock, go) = Mock::gated(policy(1, 0));
    let mut actor = Actor::start(mock, &ControlSpec::new(Mode::Receding, 3, fixed())).unwrap();
    assert_eq!(step(&mut actor, 0), (-1.0, H, None));
    assert_eq!(step(&mut actor, 1), (-1.0, H, None), "still waiting");
    go.send(()).unwrap();
    assert!(actor.wait(SOON));
    assert_eq!(step(&mut actor, 2), (100.0, F, None));
    assert_eq!(step(&mut actor, 3), (101.0, F, None));
    assert_eq!(step(&mut actor, 4), (102.0, F, None));
    assert_eq!(step(&mut actor, 5), (103.0, P, None), "observation handed over");
    assert_eq!(step(&mut actor, 6), (104.0, P, None));
    go.send(()).unwrap();
    assert!(actor.wait(SOON));
    assert_eq!(step(&mut actor, 7), (207.0, F, None), "two executed since step 5");
    assert_eq!(actor.expected_delay(), 2);
    assert_eq!(step(&mut actor, 8), (208.0, P, None));
    // The running chunk ends at 212; the thread stays away.
    for (n, value) in [209.0, 210.0, 211.0, 212.0].into_iter().enumerate() {
        assert_eq!(step(&mut actor, 9 + n), (value, P, None));
    }
    assert_eq!(step(&mut actor, 13), (-1.0, H, None));
    assert_eq!(step(&mut actor, 14), (-1.0, H, None));
    go.send(()).unwrap();
    assert!(actor.wait(SOON));
    // Five were executed since the observation of step 8; the holds are no progress.
    // That observation is old enough for the next to have been handed over in this call.
    assert_eq!(step(&mut actor, 15), (313.0, P, None));
    drop(go);
    let counts = actor.stop();
    assert_eq!((counts.held, counts.chunks, counts.expired), (4, 3, 0));
}

#[test]
fn an_actor_waits_no_longer_than_its_deadline() {
    let (mut mock, _) = Mock::new(1, policy(1, 0));
    mock.act = Box::new(|made| {
        if made > 0 {
            std::thread::sleep(Duration::from_secs(2));
        }
        Ok(())
    });
    let spec = ControlSpec { deadline_ms: 20.0, ..ControlSpec::new(Mode::Receding, 4, fixed()) };
    let mut actor = Actor::start(mock, &spec).unwrap();
    let begun = Instant::now();
    assert_eq!(step(&mut actor, 0).1, Kind::Hold);
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_millis(20) && waited < Duration::from_secs(1), "{waited:?}");
    assert!(actor.wait(SOON));
    assert_eq!(step(&mut actor, 1), (100.0, Kind::Fresh, None));
}

#[test]
fn a_chunk_within_the_deadline_is_not_late() {
    let (mock, _) = Mock::new(1, policy(1, 0));
    let spec = ControlSpec { deadline_ms: 20_000.0, ..ControlSpec::new(Mode::Receding, 2, fixed()) };
    let mut actor = Actor::start(mock, &spec).unwrap();
    let actions: Vec<_> = (0..5).map(|n| step(&mut actor, n)).collect();
    let expected = [(100.0, Some(0)), (101.0, None), (202.0, Some(0)), (203.0, None), (304.0, Some(0))];
    assert_eq!(actions, expected.map(|(v, delay)| (v, Kind::Fresh, delay)));
}

#[test]
fn failures_of_the_thread_become_holds_and_a_typed_error() {
    let (mut mock, _) = Mock::new(1, policy(1, 0));
    let mut calls = 0;
    mock.act = Box::new(move |_| {
        calls += 1;
        match calls {
            2 => Err(PolicyError::NonFinite { what: "actions", value: f32::NAN, element: 0 }),
            4 => panic!("out of paint"),
            _ => Ok(()),
        }
    });
    let spec = ControlSpec { deadline_ms: 20_000.0, ..ControlSpec::new(Mode::Receding, 7, fixed()) };
    let mut actor = Actor::start(mock, &spec).unwrap();
    assert_eq!(step(&mut actor, 0).1, Kind::Hold);
    assert!(matches!(actor.take_fault(), Some(ControlError::Inference(PolicyError::NonFinite { .. }))));
    assert_eq!(step(&mut actor, 1).1, Kind::Fresh, "tried again");
    assert!(actor.fault().is_none() && actor.is_alive());
    (2..8).for_each(|n| assert_eq!(step(&mut actor, n).1, Kind::Fresh));
    // The panic comes with a row to go.
    assert_eq!(step(&mut actor, 8).1, Kind::Fresh);
    let fault = actor.fault().unwrap().to_string();
    assert_eq!(fault, "the inference thread panicked: out of paint");
    (9..12).for_each(|n| assert_eq!(step(&mut actor, n), (-1.0, Kind::Hold, None)));
    assert!(!actor.is_alive());
}

#[test]
fn a_reset_robot_ignores_the_chunk_under_way() {
    let (mock, go) = Mock::gated(policy(1, 0));
    let mut actor = Actor::start(mock, &ControlSpec::new(Mode::Receding, 3, fixed())).unwrap();
    step(&mut actor, 0);
    actor.reset(0, None).unwrap();
    go.send(()).unwrap();
    assert!(actor.wait(SOON));
    assert_eq!(step(&mut actor, 40), (-1.0, Kind::Hold, None), "of the episode before");
    go.send(()).unwrap();
    assert!(actor.wait(SOON));
    assert_eq!(step(&mut actor, 41).0, 240.0);
    drop(go);
}

/// Dropping the actor ends the thread, which drops the source.
#[test]
fn dropping_an_actor_ends_its_thread() {
    struct Told(Sender<std::thread::ThreadId>);
    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.send(std::thread::current().id());
        }
    }
    let (told, dropped) = channel();
    let told = Told(told);
    let (mut mock, _) = Mock::new(1, policy(1, 0));
    mock.act = Box::new(move |_| {
        let _ = &told;
        Ok(())
    });
    let mut actor = Actor::start(mock, &ControlSpec::new(Mode::Receding, 3, fixed())).unwrap();
    step(&mut actor, 0);
    assert!(dropped.try_recv().is_err());
    drop(actor);
    let thread = dropped.try_recv().unwrap();
    assert_ne!(thread, std::thread::current().id(), "it lived on the thread");
}

/// What the gate refused was not executed: it is tried again, no row is skipped, and a newer observation is asked at once.
#[test]
fn a_gate_hold_is_no_progress() {
    use Kind::{Fresh as F, Hold as H};
    for mode in [Mode::Receding, Mode::Ensemble { decay: 0.0 }, Mode::RealTime] {
        let (mut mock, asked) = Mock::new(1, policy(1, 0));
        // Row 1 of the first chunk is far outside; those after it are not.
        let warm_ups = if mode == Mode::RealTime { 2 } else { 1 };
        mock.say = Box::new(move |made, obs, i| match (made == warm_ups, i) {
            (true, 1) => 1e6,
            (true, _) => i as f32,
            _ => 50.0 + obs + i as f32,
        });
        let safety = SafetySpec { low: vec![-1.0], high: vec![100.0], ..SafetySpec::new(10.0) };
        let spec = ControlSpec { safety: Some(safety), ..ControlSpec::new(mode, 6, fixed()) };
        let mut controller = Controller::new(mock, &spec).unwrap();
        // Step 0: row 0. Step 1: row 1 is refused. Step 2: a chunk of that step's observation, from its first row.
        assert_eq!(run(&mut controller, 0..4), [(0.0, F), (0.0, H), (52.0, F), (53.0, F)], "{mode:?}");
        let asked = asked.lock().unwrap();
        let at: Vec<f32> = asked.iter().filter(|a| a.previous.is_none()).map(|a| a.obs[0]).collect();
        assert_eq!(at, [0.0, 2.0], "{mode:?}: what was refused is not continued");
    }
}

/// Where inference is slow, the refused row itself is next, and what follows it is not skipped.
#[test]
fn a_robot_goes_on_where_the_gate_stopped_it() {
    let (mut mock, _) = Mock::new(1, policy(1, 0));
    mock.say = Box::new(|_, _, i| [0.0, 1.0, 9.0, 3.0, 4.0, 5.0, 6.0, 7.0][i]);
    // A jump of 8 is too fast from a walk; from rest the third row is, too, but the robot must not run past it.
    let safety = SafetySpec { velocity: vec![30.0], too_fast: Reaction::Hold, ..SafetySpec::new(10.0) };
    let spec = ControlSpec { safety: Some(safety), ..ControlSpec::new(Mode::Receding, 8, fixed()) };
    let mut controller = Controller::new(mock, &spec).unwrap().with_delay(4);
    let actions: Vec<(f32, Kind)> = run(&mut controller, 0..10);
    let kinds: Vec<Kind> = actions.iter().map(|(_, kind)| *kind).collect();
    // Held for want of a chunk in steps 0 to 3, by the gate from step 6 on; asked again at step 7.
    assert_eq!(kinds.iter().filter(|k| **k == Kind::Hold).count(), 8, "{actions:?}");
    assert!(actions.iter().all(|(value, _)| *value < 2.5), "no row behind the refused one left: {actions:?}");
}

/// Every chunk that the gate refuses leaves no deadlock: old ones do not outvote what a newer observation says.
#[test]
fn an_ensemble_gets_past_a_refused_past() {
    let (mut mock, _) = Mock::new(1, policy(1, 0));
    mock.say = Box::new(|made, _, i| if made <= 3 && i > 2 { f32::NAN } else { i as f32 });
    let safety = SafetySpec::new(10.0);
    let spec = ControlSpec { safety: Some(safety), ..ControlSpec::ensemble(fixed()) };
    let mut controller = Controller::new(mock, &spec).unwrap();
    let kinds: Vec<Kind> = run(&mut controller, 0..8).into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(kinds.iter().filter(|k| **k == Kind::Hold).count(), 1, "{kinds:?}");
}

/// The delay is what a robot executes meanwhile: calls in which it is blind or held by the gate do not count.
#[test]
fn delays_are_counted_in_executed_actions() {
    let (mock, asked) = Mock::new(1, policy(1, 0));
    let spec = ControlSpec { delays: 1, ..ControlSpec::new(Mode::RealTime, 3, fixed()) };
    let mut controller = Controller::new(mock, &spec).unwrap().with_delay(4);
    let act = |controller: &mut Controller, obs: f32| controller.act(&[obs], NOW).unwrap().delay;
    // The first chunk comes at step 4 and is asked for anew at step 7, after three actions.
    (0..8).for_each(|step| assert_eq!(act(&mut controller, step as f32), (step == 4).then_some(0)));
    // Blind for two of the four calls that the second takes.
    act(&mut controller, f32::NAN);
    act(&mut controller, f32::NAN);
    act(&mut controller, 10.0);
    assert_eq!(act(&mut controller, 11.0), Some(2), "two were executed");
    assert_eq!(controller.counts().longest_delay, 4, "the first robot had nothing to execute");
    // The next request is told so.
    (12..16).for_each(|step| assert_ne!(act(&mut controller, step as f32), Some(9)));
    let asked = asked.lock().unwrap();
    let delays: Vec<usize> = asked.iter().skip(2).map(|a| a.previous.as_ref().unwrap().1[0]).collect();
    assert_eq!(delays[..2], [4, 2]);
}

/// One inference of 110 ms at 20 ms a step, a policy trained for three actions of delay: nothing fails.
#[test]
fn a_late_inference_asks_no_more_than_the_policy_was_trained_for() {
    let mut spec = policy(1, 0);
    spec.prefix = Some(crate::policy::PrefixSpec { max_delay: 3 });
    let (mut mock, asked) = Mock::new(1, spec.clone());
    let most = Arc::new(AtomicUsize::new(0));
    let seen = most.clone();
    mock.check = Box::new(move |previous| {
        let delay = previous.map_or(0, |p| p.delay[0]);
        seen.fetch_max(delay, Ordering::Relaxed);
        match delay > 3 {
            true => Err(PolicyError::NoPrefix),
            false => Ok(()),
        }
    });
    let settings = ControlSpec { delay: 3, ..ControlSpec::new(Mode::RealTime, 2, fixed()) };
    let mut controller = Controller::new(mock, &settings).unwrap().with_delay(6);
    run(&mut controller, 0..60);
    let counts = controller.counts();
    assert_eq!((counts.failures, counts.longest_delay), (0, 6));
    assert!(counts.beyond_prefix > 3 && counts.chunks > 6, "{counts:?}");
    assert_eq!(most.load(Ordering::Relaxed), 3);
    assert!(asked.lock().unwrap().len() > 5);
    // A longer delay from the start is a setting that cannot be meant.
    let (mock, _) = Mock::new(1, spec);
    let settings = ControlSpec { delay: 4, ..settings };
    let error = Controller::new(mock, &settings).err().unwrap().to_string();
    assert!(error.starts_with("delay: found 4, needed at most 3"), "{error}");
}

/// Two robots, one of whose chunks fails: the other goes on, and the failed one asks again.
#[test]
fn a_robot_whose_chunk_fails_costs_no_other_its_own() {
    let broken = |made: usize| if made == 2 { Some(1) } else { None };
    let (mut mock, _) = Mock::new(2, policy(1, 0));
    mock.fails = Box::new(broken);
    let spec = ControlSpec::new(Mode::Receding, 2, fixed());
    let mut controller = Controller::new(mock, &spec).unwrap();
    let (mut mock, _) = Mock::new(2, policy(1, 0));
    mock.fails = Box::new(broken);
    let mut actor = Actor::start(mock, &ControlSpec { deadline_ms: 20_000.0, ..spec }).unwrap();
    for step in 0..5 {
        let obs = [step as f32, 10.0 + step as f32];
        // The second pass (step 2) gives the second robot nothing: its first chunk goes on, and it asks again.
        let want = [(100.0, 110.0), (101.0, 111.0), (202.0, 112.0), (203.0, 313.0), (404.0, 314.0)][step];
        let action = controller.act(&obs, NOW).unwrap();
        assert_eq!((action.values[0], action.values[1]), want, "step {step}");
        let action = actor.act(&obs, NOW).unwrap();
        assert_eq!((action.values[0], action.values[1]), want, "step {step}");
    }
    assert_eq!(controller.counts().failures, 1);
    let fault = actor.take_fault().unwrap();
    assert!(matches!(fault, ControlError::Chunk { robot: 1, .. }), "{fault}");
    assert_eq!(fault.to_string(), "the chunk of robot 1 failed: a value is NaN or infinite");
}
