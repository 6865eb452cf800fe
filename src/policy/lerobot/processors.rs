//! The processors of a LeRobot policy: what is done to values before and after the network.
//!
//! LeRobot 0.4 and later write two lists of steps, `policy_preprocessor.json` and `policy_postprocessor.json`. Each step is
//! one that is carried out here, or one that is known to change no value, or it is refused by name: a step passed over in
//! silence gives motion that is wrong and looks plausible.

use super::config::{Config, keys_of, object};
use super::statistics::Statistics;
use super::{Import, MODEL};
use crate::policy::{PolicyError, Result};
use safetensors::SafeTensors;
use serde_json::{Map, Value};

pub(super) const PREPROCESSOR: &str = "policy_preprocessor.json";
pub(super) const POSTPROCESSOR: &str = "policy_postprocessor.json";

/// A step that does something.
pub(super) enum Step {
    /// Observations under other keys: (from, to).
    Rename(Vec<(String, String)>),
    /// Observations normalised on their way to the network, or actions brought back to physical units.
    Normalize(Statistics),
    /// The newest state is remembered here, for [`Step::Absolute`].
    Relative(Relative),
    /// What was remembered is added to the actions.
    Absolute,
}

/// `relative_actions_processor`: which action dimensions are relative.
pub(super) struct Relative {
    exclude: Vec<String>,
    names: Option<Vec<String>>,
}

impl Relative {
    /// Which of `dims` action dimensions are relative. As LeRobot: one whose name holds an excluded name is not, capital
    /// letters aside; without names of the actions, all are.
    pub(super) fn mask(&self, dims: usize) -> Vec<bool> {
        let exclude: Vec<String> =
            self.exclude.iter().filter(|n| !n.is_empty()).map(|n| n.to_lowercase()).collect();
        let names = self.names.as_deref().unwrap_or_default();
        let relative = |d: usize| match names.get(d).map(|n| n.to_lowercase()) {
            Some(name) => !exclude.iter().any(|token| name.contains(token)),
            None => true,
        };
        (0..dims).map(relative).collect()
    }
}

/// Both lists.
pub(super) struct Processors {
    pub(super) before: Vec<Step>,
    pub(super) after: Vec<Step>,
    /// The statistics lie in the model's own file, as before LeRobot 0.4.
    pub(super) old: bool,
}

impl Processors {
    /// Reads the steps of a directory.
    pub(super) fn find(at: &Import<'_>, config: &Config, model: &SafeTensors<'_>) -> Result<Processors> {
        let there = |file: &str| at.dir.join(file).is_file();
        let old = Statistics::in_model(model);
        match (there(PREPROCESSOR), there(POSTPROCESSOR)) {
            (true, true) => {}
            (false, after) if old => {
                // A list that was left beside must say nothing more.
                if after {
                    relative_pair(at, &[], &steps(at, POSTPROCESSOR)?)?;
                }
                let step = || Statistics::old(at, config).map(Step::Normalize);
                return Ok(Processors { before: vec![step()?], after: vec![step()?], old: true });
            }
            (false, _) => {
                let what = format!(
                    "no normaliser statistics: found neither {PREPROCESSOR} nor normalize_inputs.* in {MODEL}"
                );
                return Err(at.bad(PREPROCESSOR, what));
            }
            (true, false) => {
                return Err(at.bad(POSTPROCESSOR, format!("it is missing beside {PREPROCESSOR}")));
            }
        }
        let (before, after) = (steps(at, PREPROCESSOR)?, steps(at, POSTPROCESSOR)?);
        relative_pair(at, &before, &after)?;
        let carried = |all: Vec<Parsed>| all.into_iter().filter_map(|p| p.step).collect();
        let found = Processors { before: carried(before), after: carried(after), old: false };
        found.same_action_mode(at)?;
        Ok(found)
    }

    /// Actions must come back the way they went in.
    fn same_action_mode(&self, at: &Import<'_>) -> Result<()> {
        let modes = |steps: &[Step]| -> Result<Vec<String>> {
            let all = steps.iter().filter_map(|s| match s {
                Step::Normalize(n) => Some(n.action_mode()),
                _ => None,
            });
            Ok(all.filter(|m| m != "IDENTITY").collect())
        };
        let (before, mut after) = (modes(&self.before)?, modes(&self.after)?);
        after.reverse();
        if before != after {
            let list = |m: &[String]| if m.is_empty() { "IDENTITY".to_string() } else { m.join(", ") };
            let what = format!(
                "unnormalizer_processor: actions are undone by {}, and {PREPROCESSOR} normalises them by {}: the two do not \
                 belong together",
                list(&after),
                list(&before)
            );
            return Err(at.bad(POSTPROCESSOR, what));
        }
        Ok(())
    }
}

/// A step as it was written.
struct Parsed {
    name: String,
    enabled: bool,
    step: Option<Step>,
}

/// Reads one list.
fn steps(at: &Import<'_>, file: &'static str) -> Result<Vec<Parsed>> {
    let list = at.json(file)?;
    keys_of(&list, &["name", "steps"]).map_err(|what| at.bad(file, what))?;
    let Some(all) = list.get("steps").and_then(Value::as_array) else {
        return Err(at.bad(file, "it has no list \"steps\"".into()));
    };
    all.iter().enumerate().map(|(i, step)| parse(at, file, i, step)).collect()
}

/// The step's name in LeRobot's registry. One that is named by its class is looked up only if LeRobot itself has it.
fn name_of(step: &Map<String, Value>) -> std::result::Result<String, String> {
    const CLASSES: [(&str, &str); 11] = [
        ("RenameObservationsProcessorStep", "rename_observations_processor"),
        ("AddBatchDimensionProcessorStep", "to_batch_processor"),
        ("AddBatchDimensionActionStep", "to_batch_processor_action"),
        ("AddBatchDimensionObservationStep", "to_batch_processor_observation"),
        ("AddBatchDimensionComplementaryDataStep", "to_batch_processor_complementary_data"),
        ("DeviceProcessorStep", "device_processor"),
        ("IdentityProcessorStep", "identity"),
        ("NormalizerProcessorStep", "normalizer_processor"),
        ("UnnormalizerProcessorStep", "unnormalizer_processor"),
        ("RelativeActionsProcessorStep", "relative_actions_processor"),
        ("AbsoluteActionsProcessorStep", "absolute_actions_processor"),
    ];
    match (step.get("registry_name"), step.get("class")) {
        (Some(Value::String(name)), _) => Ok(name.clone()),
        (None, Some(Value::String(class))) => {
            let own = class.strip_prefix("lerobot.processor.").and_then(|c| c.rsplit('.').next());
            let known = CLASSES.iter().find(|(c, _)| own == Some(c));
            known
                .map(|(_, name)| name.to_string())
                .ok_or_else(|| format!("the step {class:?} is not known here, and may change values"))
        }
        _ => Err("it has neither \"registry_name\" nor \"class\"".into()),
    }
}

fn parse(at: &Import<'_>, file: &'static str, index: usize, step: &Value) -> Result<Parsed> {
    let bad = |what: String| at.bad(file, format!("step {index}: {what}"));
    let step = object(step).map_err(bad)?;
    let name = name_of(step).map_err(bad)?;
    let bad = |what: String| at.bad(file, format!("step {index} ({name}): {what}"));
    keys_of(step, &["registry_name", "class", "config", "state_file"]).map_err(bad)?;
    let none = Map::new();
    let config = match step.get("config") {
        None => &none,
        Some(config) => object(config).map_err(|e| bad(format!("config: {e}")))?,
    };
    let keys = |known: &[&str]| keys_of(config, known).map_err(bad);
    let elsewhere = |needed: &str| match file == needed {
        true => Ok(()),
        false => Err(bad(format!("it belongs into {needed}"))),
    };
    let normalizes = matches!(name.as_str(), "normalizer_processor" | "unnormalizer_processor");
    if !normalizes && step.contains_key("state_file") {
        return Err(bad("it has a \"state_file\", which is not read for this step".into()));
    }
    let (mut enabled, mut carried) = (true, None);
    match name.as_str() {
        "to_batch_processor"
        | "to_batch_processor_action"
        | "to_batch_processor_observation"
        | "to_batch_processor_complementary_data"
        | "identity" => keys(&[])?,
        "device_processor" => {
            keys(&["device", "float_dtype"])?;
            match config.get("float_dtype") {
                None | Some(Value::Null) => {}
                Some(Value::String(d))
                    if matches!(d.as_str(), "float32" | "float" | "float64" | "double") => {}
                Some(other) => {
                    return Err(bad(format!(
                        "float_dtype {other} rounds values: needed null, \"float32\" or \"float64\""
                    )));
                }
            }
        }
        "rename_observations_processor" => {
            elsewhere(PREPROCESSOR)?;
            keys(&["rename_map"])?;
            let mut names = Vec::new();
            for (from, to) in config.get("rename_map").map(object).transpose().map_err(bad)?.unwrap_or(&none)
            {
                let to =
                    to.as_str().ok_or_else(|| bad(format!("rename_map: {from:?} has no name for {to}")))?;
                if names.iter().any(|(_, other)| other == to) {
                    return Err(bad(format!("rename_map: two keys become {to:?}")));
                }
                names.push((from.clone(), to.to_string()));
            }
            carried = Some(Step::Rename(names));
        }
        "normalizer_processor" | "unnormalizer_processor" => {
            elsewhere(if name == "normalizer_processor" { PREPROCESSOR } else { POSTPROCESSOR })?;
            let state = step.get("state_file").filter(|s| !s.is_null());
            let state = match state
                .map(|s| {
                    s.as_str().ok_or_else(|| bad(format!("state_file: found {s}, needed a file's name")))
                })
                .transpose()?
            {
                None => None,
                // Only a file of the directory itself.
                Some(s) if std::path::Path::new(s).components().count() != 1 || s.starts_with('.') => {
                    return Err(bad(format!("state_file: found {s:?}, needed a file's name")));
                }
                Some(s) => Some(s.to_string()),
            };
            carried = Some(Step::Normalize(Statistics::of(at, config, state, bad)?));
        }
        "relative_actions_processor" | "absolute_actions_processor" => {
            enabled = match config.get("enabled") {
                None => false,
                Some(Value::Bool(on)) => *on,
                Some(other) => return Err(bad(format!("enabled: found {other}, needed true or false"))),
            };
            let relative = name == "relative_actions_processor";
            match relative {
                true => keys(&["enabled", "exclude_joints", "action_names"])?,
                false => keys(&["enabled"])?,
            }
            let texts = |key: &str| -> Result<Option<Vec<String>>> {
                let Some(value) = config.get(key).filter(|v| !v.is_null()) else { return Ok(None) };
                let all = value.as_array().into_iter().flatten().map(|v| v.as_str().map(str::to_string));
                match (value.is_array(), all.collect::<Option<Vec<String>>>()) {
                    (true, Some(names)) => Ok(Some(names)),
                    _ => Err(bad(format!("{key}: found {value}, needed a list of names"))),
                }
            };
            let step = match relative {
                true => Step::Relative(Relative {
                    exclude: texts("exclude_joints")?.unwrap_or_default(),
                    names: texts("action_names")?,
                }),
                false => Step::Absolute,
            };
            if enabled {
                elsewhere(if relative { PREPROCESSOR } else { POSTPROCESSOR })?;
                carried = Some(step);
            }
        }
        _ => return Err(bad("this step is not known here, and may change values".into())),
    }
    Ok(Parsed { name, enabled, step: carried })
}

/// Steps that make actions relative and absolute again come in pairs. LeRobot reads what the first relative step of the list
/// remembered, whether that one is enabled or not.
fn relative_pair(at: &Import<'_>, before: &[Parsed], after: &[Parsed]) -> Result<()> {
    const NAMES: [&str; 2] = ["relative_actions_processor", "absolute_actions_processor"];
    let count = |steps: &[Parsed], name: &str, on: bool| {
        steps.iter().filter(|s| s.name == name && (s.enabled || !on)).count()
    };
    let on = [count(before, NAMES[0], true), count(after, NAMES[1], true)];
    match on {
        [0, 0] => Ok(()),
        [1, 1] if count(before, NAMES[0], false) == 1 => Ok(()),
        [relative, absolute] => {
            let (file, name) =
                if relative > absolute { (PREPROCESSOR, NAMES[0]) } else { (POSTPROCESSOR, NAMES[1]) };
            let what = format!(
                "{name}: found {relative} enabled {} in {PREPROCESSOR} and {absolute} enabled {} in {POSTPROCESSOR} \
                 (of {} and {}): needed one pair",
                NAMES[0],
                NAMES[1],
                count(before, NAMES[0], false),
                count(after, NAMES[1], false)
            );
            Err(PolicyError::Import { dir: at.dir.into(), file: file.into(), what })
        }
    }
}
