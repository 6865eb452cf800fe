//! The methods. To add one: a line in [`METHODS`].

use super::{CompareError, NFES, Result, Task};
use crate::flow::solver::DiscreteMethod;
use crate::flow::{Coupling, Path, Solver, TimeLaw};
use crate::nn::{NetworkSpec, TimeInput};
use crate::objective::Objective;
use crate::objective::act::ActObjective;
use crate::objective::classifier_free::ClassifierFree;
use crate::objective::consistency::Consistency;
use crate::objective::denoising::Denoising;
use crate::objective::mean_flow::MeanFlow;
use crate::objective::mip::Mip;
use crate::objective::shortcut::Shortcut;
use crate::objective::streaming::Streaming;
use crate::objective::vq_bet::VqBet;
use crate::policy::{NormKind, SamplerOptions, Scope};
use crate::train::RunConfig;

/// How many evaluations a method can sample with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Evaluations {
    /// Any number: each of [`NFES`].
    Any,
    /// Only these; for the others of [`NFES`] the reason why not.
    Only(&'static [usize], &'static str),
}

/// A way of generating actions.
pub struct Method {
    /// Its id on the command line.
    pub id: &'static str,
    /// What it is, in a line.
    pub what: &'static str,
    /// Its changes to the run's configuration, after the task's and the network's.
    pub configure: fn(&mut RunConfig),
    /// The evaluations that it can sample with.
    pub evaluations: Evaluations,
    /// Its sampler for one of these.
    pub options: fn(usize) -> SamplerOptions,
    /// Why it cannot do a task with a network; `None` if it can.
    pub refuses: fn(&Task, &NetworkSpec) -> Option<&'static str>,
    /// The method whose trained flow it straightens, of the same seed; it must come earlier in the table.
    pub straightens: Option<&'static str>,
}

/// Euler steps of a flow, an evaluation each.
fn euler(nfe: usize) -> SamplerOptions {
    SamplerOptions { solver: Solver::euler(nfe), ..SamplerOptions::default() }
}

/// Denoising by DDPM or DDIM, a step an evaluation.
fn denoise(method: DiscreteMethod, steps: usize) -> SamplerOptions {
    SamplerOptions { solver: Solver::Discrete { method, steps }, ..SamplerOptions::default() }
}

/// Diffusion policy's denoising of actions within its clip.
fn diffusion(c: &mut RunConfig) {
    c.objective = Objective::Denoising(Denoising::default());
    c.action_normalizer = NormKind::MinMax;
}

/// An action after the other from where the robot is: one normaliser for all, and a network of single actions.
fn streams(task: &Task, network: &NetworkSpec) -> Option<&'static str> {
    match network {
        _ if task.relative_to.is_empty() => {
            Some("it starts from where the robot is, and these actions are absolute")
        }
        _ if task.windows.horizon != STREAMED => Some("it takes one evaluation for each of 16 actions"),
        NetworkSpec::Unet1d(_) => {
            Some("its network sees one action at a time, which is no sequence for a U-Net")
        }
        _ => None,
    }
}

/// Actions of a streamed chunk.
const STREAMED: usize = 16;

/// For methods that take whatever there is.
fn everything(_: &Task, _: &NetworkSpec) -> Option<&'static str> {
    None
}

/// For methods that do something with the observation.
fn observed(task: &Task, _: &NetworkSpec) -> Option<&'static str> {
    match task.unconditional {
        true => Some("all observations are alike"),
        false => None,
    }
}

/// Whatever takes Euler steps, as many as are asked for.
const fn flow(id: &'static str, what: &'static str, configure: fn(&mut RunConfig)) -> Method {
    Method {
        id,
        what,
        configure,
        evaluations: Evaluations::Any,
        options: euler,
        refuses: everything,
        straightens: None,
    }
}

/// Every method.
pub const METHODS: &[Method] = &[
    flow("cfm", "conditional flow matching, straight path, uniform time", |c| {
        c.objective = Objective::default();
    }),
    flow("cfm-logit-normal", "cfm with logit-normal(0, 1) times", |c| {
        c.time_law = TimeLaw::LogitNormal { mean: 0.0, sd: 1.0 };
    }),
    flow("cfm-beta", "cfm with pi0's beta(1.5, 1) times", |c| {
        c.time_law = TimeLaw::Beta { a: 1.5, b: 1.0, scale: -0.999, shift: 0.999 };
    }),
    flow("vp", "flow matching on the variance-preserving path", |c| c.path = Path::VariancePreserving),
    flow("sb", "flow matching on the Schroedinger bridge path, sigma 0.5", |c| {
        c.path = Path::SchrodingerBridge { sigma: 0.5 };
    }),
    flow("ot-cfm", "cfm with minibatch optimal transport, exact", |c| {
        c.coupling = Coupling::ExactOt { condition_weight: 0.0 };
    }),
    Method {
        refuses: observed,
        ..flow("condition-ot", "ot-cfm that pairs only near-identical observations (weight 100)", |c| {
            c.coupling = Coupling::ExactOt { condition_weight: 100.0 };
        })
    },
    flow(
        "sinkhorn-cfm",
        "cfm with minibatch transport by 10 iterations of Sinkhorn, regularisation 0.2 an action",
        |c| {
            c.coupling =
                Coupling::Sinkhorn { reg: 0.2 * c.horizon as f32, iterations: 10, condition_weight: 0.0 };
        },
    ),
    Method {
        id: "cfm-sde",
        what: "cfm sampled by the stochastic process of the same marginals",
        configure: |c| c.objective = Objective::default(),
        evaluations: Evaluations::Any,
        options: |nfe| denoise(DiscreteMethod::Sde, nfe),
        refuses: everything,
        straightens: None,
    },
    Method {
        straightens: Some("cfm"),
        ..flow("reflow", "rectified flow: cfm retrained on its own pairs, for as many steps again", |c| {
            c.objective = Objective::default();
        })
    },
    Method {
        refuses: observed,
        // With and without the observation.
        evaluations: Evaluations::Only(&[2, 10, 20], "each of its steps asks the network twice"),
        options: |nfe| euler(nfe / 2),
        ..flow(
            "cfg",
            "cfm with classifier-free guidance: a tenth of the observations dropped, weight 1.5",
            |c| {
                c.objective = Objective::ClassifierFree(ClassifierFree::default());
            },
        )
    },
    Method {
        id: "bc",
        what: "behaviour cloning by mean square error",
        configure: |c| c.objective = Objective::behaviour_cloning(),
        evaluations: Evaluations::Only(&[1], "a regression is evaluated once"),
        options: euler,
        refuses: everything,
        straightens: None,
    },
    // Half of its samples have an interval, as MP1's; its derivative by the time wants no frequencies in between.
    flow(
        "mean_flow",
        "MeanFlow: mean velocities, made for one step; an mlp reads the times as they are",
        |c| {
            c.objective = Objective::MeanFlow(MeanFlow { every: 2, ..MeanFlow::default() });
            if let NetworkSpec::Mlp(mlp) = &mut c.network {
                mlp.time = TimeInput::Raw;
            }
        },
    ),
    flow("shortcut", "shortcut models: velocities that know the length of their step", |c| {
        c.objective = Objective::Shortcut(Shortcut::default());
    }),
    flow("consistency", "consistency flow matching, two segments", |c| {
        c.objective = Objective::Consistency(Consistency::default());
    }),
    Method {
        id: "mip",
        what: "minimal iterative policy: two regressions",
        configure: |c| c.objective = Objective::Mip(Mip::default()),
        evaluations: Evaluations::Only(&[2], "it is evaluated twice"),
        options: euler,
        refuses: everything,
        straightens: None,
    },
    Method {
        id: "streaming",
        what: "streaming flow policy: a flow along the trajectory, every step an action",
        configure: |c| {
            c.objective = Objective::Streaming(Streaming::default());
            c.action_scope = Scope::PerDim;
        },
        evaluations: Evaluations::Only(
            &[STREAMED],
            "each of its evaluations makes one of the chunk's actions",
        ),
        options: euler,
        refuses: streams,
        straightens: None,
    },
    Method {
        id: "diffusion-ddpm",
        what: "diffusion policy: 100 steps, noise prediction, sampled by DDPM",
        configure: diffusion,
        evaluations: Evaluations::Only(&[100], "DDPM takes all 100 steps that it was trained for"),
        options: |nfe| denoise(DiscreteMethod::Ddpm, nfe),
        refuses: everything,
        straightens: None,
    },
    Method {
        id: "diffusion-ddim",
        what: "diffusion policy sampled by DDIM",
        configure: diffusion,
        evaluations: Evaluations::Any,
        options: |nfe| denoise(DiscreteMethod::Ddim, nfe),
        refuses: everything,
        straightens: None,
    },
    Method {
        id: "act",
        what: "action chunking transformer with a network of its own: width 64, 2 + 1 layers, 2 of the posterior",
        configure: |c| {
            let small = ActObjective { width: 64, heads: 4, feedforward: 256, ..ActObjective::default() };
            c.objective = Objective::Act(ActObjective { encoder_layers: 2, vae_encoder_layers: 2, ..small });
        },
        evaluations: Evaluations::Only(&[1], "its decoder is evaluated once"),
        options: euler,
        refuses: everything,
        straightens: None,
    },
    Method {
        id: "vq_bet",
        what: "VQ-BeT: codes of quantised chunks as categories, and offsets; networks of its own, width 256",
        configure: |c| c.objective = Objective::VqBet(VqBet::default()),
        evaluations: Evaluations::Only(&[1], "its heads are evaluated once"),
        options: euler,
        refuses: everything,
        straightens: None,
    },
];

impl Method {
    /// Whether its objective brings networks of its own in place of the compared one.
    pub fn own_network(&self) -> bool {
        let mut config = RunConfig::default();
        (self.configure)(&mut config);
        matches!(config.objective, Objective::Act(_) | Objective::VqBet(_))
    }

    /// What is not the same for all of some methods, by their ids, as a clause each.
    pub fn differences(ids: &[&str]) -> Vec<String> {
        let chosen = || METHODS.iter().filter(|m| ids.contains(&m.id));
        let own: Vec<&str> = chosen().filter(|m| m.own_network()).map(|m| m.id).collect();
        let mut out: Vec<String> = Vec::new();
        if !own.is_empty() {
            let verb = if own.len() == 1 { "has a network of its own" } else { "have networks of their own" };
            out.push(format!("{} {verb}", own.join(" and ")));
        }
        let again = chosen().filter_map(|m| Some((m.id, m.straightens?)));
        out.extend(
            again.map(|(id, before)| format!("{id} takes as many steps again, from {before}'s weights")),
        );
        out
    }

    /// The methods that a list names, in the table's order: ids separated by commas, or `all`.
    ///
    /// # Errors
    /// [`CompareError::UnknownMethod`].
    pub fn parse(list: &str) -> Result<Vec<&'static Method>> {
        let mut wanted = vec![false; METHODS.len()];
        for id in list.split(',').map(str::trim) {
            match METHODS.iter().position(|m| m.id == id) {
                Some(i) => wanted[i] = true,
                None if id == "all" => wanted.fill(true),
                None => {
                    let known: Vec<&str> = METHODS.iter().map(|m| m.id).collect();
                    return Err(CompareError::UnknownMethod { found: id.into(), known: known.join(", ") });
                }
            }
        }
        Ok(METHODS.iter().zip(wanted).filter(|(_, w)| *w).map(|(m, _)| m).collect())
    }

    /// Every number of evaluations that it gets a row for, each with the reason if it cannot sample so.
    pub fn rows(&self) -> Vec<(usize, Option<&'static str>)> {
        match self.evaluations {
            Evaluations::Any => NFES.map(|n| (n, None)).to_vec(),
            Evaluations::Only(own, reason) => {
                let mut all: Vec<usize> = NFES.iter().chain(own).copied().collect();
                all.sort_unstable();
                all.dedup();
                all.into_iter().map(|n| (n, (!own.contains(&n)).then_some(reason))).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_lists_are_read() {
        let mut ids: Vec<&str> = METHODS.iter().map(|m| m.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), METHODS.len());
        let id = |list: &str| Method::parse(list).unwrap().iter().map(|m| m.id).collect::<Vec<_>>();
        assert_eq!(id("bc, cfm,bc"), ["cfm", "bc"]);
        assert_eq!(id("all").len(), METHODS.len());
        let error = Method::parse("cfm,warp").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.starts_with("unknown method \"warp\": needed all or some of cfm, "), "{error}");
        assert!(Method::parse("").is_err());
    }

    #[test]
    fn what_is_straightened_comes_first() {
        for (i, method) in METHODS.iter().enumerate() {
            if let Some(before) = method.straightens {
                assert!(METHODS[..i].iter().any(|m| m.id == before), "{} before {}", before, method.id);
            }
        }
    }

    #[test]
    fn what_differs_is_said() {
        assert!(Method::differences(&["cfm", "bc", "streaming"]).is_empty());
        let all: Vec<&str> = METHODS.iter().map(|m| m.id).collect();
        assert_eq!(
            Method::differences(&all),
            [
                "act and vq_bet have networks of their own",
                "reflow takes as many steps again, from cfm's weights"
            ]
        );
    }

    #[test]
    fn what_cannot_be_sampled_has_a_reason() {
        let bc = Method::parse("bc").unwrap()[0].rows();
        assert_eq!(bc[0], (1, None));
        assert!(bc[1..].iter().all(|(_, reason)| reason.is_some()) && bc.len() == NFES.len());
        let slow = Method { evaluations: Evaluations::Only(&[100], "no"), ..flow("x", "", |_| ()) };
        assert_eq!(slow.rows().last(), Some(&(100, None)));
    }
}
