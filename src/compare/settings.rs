//! What the runs of one folder must have in common.

use super::{CompareError, Network, Result, Task};
use crate::device::Device;
use crate::train::{RunConfig, resume};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Version of the records: another one measures something else.
const FORMAT: u32 = 2;
/// Windows per step.
const BATCH: usize = 256;

/// The settings of a comparison, methods and seeds apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Version of the records.
    pub format: u32,
    /// The task.
    pub task: String,
    /// Fingerprint of the training episodes.
    pub data: String,
    /// Optimiser steps.
    pub steps: u64,
    /// The device.
    pub device: String,
    /// Name of the network.
    pub network: String,
    /// The configuration that every method changes.
    pub config: RunConfig,
}

impl Settings {
    /// The settings for a task.
    ///
    /// # Errors
    /// [`CompareError::Range`] if the task does not fit the network.
    pub fn new(task: &Task, network: Network, steps: u64, device: &Device) -> Result<Settings> {
        let mut config = RunConfig { batch_size: BATCH, ..RunConfig::default() }.in_steps(steps);
        config.log_every = steps.div_ceil(100).max(1);
        (config.validate_every, config.save_every) = (steps.max(1), 5000);
        task.configure(&mut config);
        config.network = network.spec(task)?;
        config.check()?;
        Ok(Settings {
            format: FORMAT,
            task: task.name.clone(),
            data: resume::fingerprint(&task.train),
            steps,
            device: device.describe(),
            network: network.name().into(),
            config,
        })
    }

    /// # Errors
    /// [`CompareError::Settings`] naming every setting in which `stored` differs.
    pub fn agree(&self, stored: &Settings, folder: &Path) -> Result<()> {
        let value = |s: &Settings| serde_json::to_value(s).unwrap_or_default();
        let (a, b) = (value(stored), value(self));
        let Some(stored) = a.as_object() else { return Ok(()) };
        let mut all: Vec<String> = Vec::new();
        for (key, a) in stored.iter().filter(|(key, a)| b.get(key.as_str()) != Some(*a)) {
            let b = &b[key.as_str()];
            match (key.as_str(), a.as_object()) {
                ("config", Some(config)) => all.extend(
                    config
                        .iter()
                        .filter(|(k, v)| b.get(k.as_str()) != Some(*v))
                        .map(|(k, v)| format!("{k} was {v}, found {}", b[k.as_str()])),
                ),
                ("data", _) => all.push("the training data are others".into()),
                _ => all.push(format!("{key} was {a}, found {b}")),
            }
        }
        match all.is_empty() {
            true => Ok(()),
            false => Err(CompareError::Settings { folder: folder.into(), difference: all.join("; ") }),
        }
    }
}
