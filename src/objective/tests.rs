use super::denoising::{BetaSchedule, Denoising};
use super::mean_flow::MeanFlow;
use super::{Objective, Sampling};
use crate::flow::{Path, Solver, TimeLaw};
use crate::objective::Task;

fn task() -> Task {
    Task {
        batch: 8,
        horizon: 4,
        action_dim: 2,
        obs: 3,
        path: Path::default(),
        time_law: TimeLaw::Uniform,
        max_delay: None,
        masked: None,
        present: Some(vec![0.0; 2]),
    }
}

/// A name alone stands for the defaults; what is written spells the settings out and reads back to the same.
#[test]
fn names_and_settings_read_back() {
    for name in Objective::NAMES {
        let objective: Objective = serde_json::from_value((*name).into()).unwrap();
        assert_eq!((objective.name(), Some(objective.clone())), (*name, Objective::named(name)));
        // What lies on which manifold has no default.
        assert_eq!(objective.method().check().is_ok(), *name != "riemannian", "{name}");
        let text = serde_json::to_string(&objective).unwrap();
        assert_eq!(serde_json::from_str::<Objective>(&text).unwrap(), objective, "{text}");
        // As a key of a TOML file, beside others.
        #[derive(serde::Serialize, serde::Deserialize)]
        struct File {
            objective: Objective,
        }
        let text = toml::to_string(&File { objective: objective.clone() }).unwrap();
        assert_eq!(toml::from_str::<File>(&text).unwrap().objective, objective, "{text}");
    }
    assert_eq!(serde_json::to_string(&Objective::default()).unwrap(), r#""flow_matching""#);
    let text = serde_json::to_string(&Objective::MeanFlow(MeanFlow::default())).unwrap();
    assert!(text.starts_with(r#"{"mean_flow":{"every":4"#), "{text}");
    for (text, needed) in [
        (r#""flow_machine""#, "needed one of flow_matching"),
        (r#"{"mip":{"t_star":0.9,"t":1}}"#, "unknown field `t`"),
        ("3", "the name of an objective"),
    ] {
        let error = serde_json::from_str::<Objective>(text).unwrap_err().to_string();
        assert!(error.contains(needed), "{text}: {error}");
    }
}

/// What is not named has its default: of every objective, and of what lies within its settings.
#[test]
fn settings_are_given_one_at_a_time() {
    let read = |text: &str| serde_json::from_str::<Objective>(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    for name in Objective::NAMES {
        if !["flow_matching", "behaviour_cloning"].contains(name) {
            assert_eq!(Some(read(&format!("{{{name:?}: {{}}}}"))), Objective::named(name), "{name}");
        }
    }
    let denoising = Denoising { inference_steps: 5, ..Denoising::default() };
    assert_eq!(read(r#"{"denoising": {"inference_steps": 5}}"#), Objective::Denoising(denoising));
    let mean_flow = MeanFlow { every: 2, ..MeanFlow::default() };
    assert_eq!(read(r#"{"mean_flow": {"every": 2}}"#), Objective::MeanFlow(mean_flow));
    let betas = BetaSchedule::Linear { start: 1e-4, end: 0.01 };
    let linear = Denoising { betas, ..Denoising::default() };
    assert_eq!(
        read(r#"{"denoising": {"betas": {"kind": "linear", "end": 0.01}}}"#),
        Objective::Denoising(linear)
    );
}

/// Every objective can be sampled by `euler:4`, or says why not; the clocks are rows of one length and finite.
#[test]
fn clocks_are_whole() {
    for name in Objective::NAMES {
        let objective = Objective::named(name).unwrap();
        match objective.method().sampling(Solver::euler(4), &task()) {
            Ok(Sampling::Flow(_)) => {}
            Ok(Sampling::Steps(steps)) => {
                assert!(!steps.clock.is_empty(), "{name}");
                assert!(steps.clock.iter().all(|r| r.len() == steps.clock[0].len()), "{name}");
                assert!(steps.clock.iter().flatten().all(|v| v.is_finite()), "{name}");
            }
            Err(e) => panic!("{name}: {e}"),
        }
    }
    let refused = Objective::named("mean_flow").unwrap();
    let error = refused.method().sampling("rk4:2".parse().unwrap(), &task()).unwrap_err().to_string();
    assert_eq!(error, "mean_flow is not sampled by rk4:2: needed euler:N");
    let absolute = Task { present: None, ..task() };
    let streaming = Objective::named("streaming").unwrap();
    assert!(streaming.method().sampling(Solver::euler(4), &absolute).is_err());
}

/// The squared cosines of Nichol & Dhariwal: the first and last betas and products of 100 steps, from the diffusers package.
#[test]
fn squared_cosine_schedule() {
    let (betas, products) =
        (BetaSchedule::SquaredCosine.betas(100), BetaSchedule::SquaredCosine.products(100));
    let close = |a: f64, b: f64| (a - b).abs() < 1e-5 * b;
    assert_eq!(betas[99], 0.999);
    for (k, beta, product) in [(0, 0.000_631_281_58, 0.999_368_727), (50, 0.031_546_339, 0.478_264_570)] {
        assert!(close(betas[k], beta) && close(products[k], product), "{k}: {} {}", betas[k], products[k]);
    }
    assert!(products.windows(2).all(|w| w[1] < w[0]));
}

/// A step of DDPM with the true noise keeps the mean on the path: clean and state coefficients of x_k = sqrt(A) x1 + sqrt(1 - A) e
/// give the posterior's mean, whose part of x1 is sqrt(A of the next step).
#[test]
fn ancestral_steps_keep_the_signal() {
    let denoising = Denoising::default();
    let products = denoising.betas.products(100);
    for steps in [10, 50, 100] {
        for (row, k) in denoising.clock(true, steps).iter().zip(denoising.grid(steps)) {
            let before = if k >= 100 / steps { products[k - 100 / steps] } else { 1.0 };
            let signal = f64::from(row[3]) + f64::from(row[5]) * products[k].sqrt();
            assert!((signal - before.sqrt()).abs() < 1e-5, "{steps} {k}: {signal} {before}");
        }
    }
}

/// A grid of steps goes down to 0.
#[test]
fn grids_lead() {
    assert_eq!(Denoising::default().grid(10), [90, 80, 70, 60, 50, 40, 30, 20, 10, 0]);
    assert_eq!(Denoising::default().grid(1), [0]);
}
