//! Sizes that no machine has: one line each, and nothing is taken for them before.

use crate::common::cpu;
use advect::Trainer;
use advect::data::{DataSpec, EpisodeArrays, Episodes};
use advect::train::RunConfig;

fn episodes() -> Episodes {
    let arrays = EpisodeArrays {
        obs: (0..120).map(|i| (i as f32 * 0.3).sin()).collect(),
        action: (0..120).map(|i| (i as f32 * 0.2).cos()).collect(),
        obs_dim: 2,
        action_dim: 2,
        lengths: vec![20; 3],
        ..EpisodeArrays::default()
    };
    Episodes::from_arrays(arrays).unwrap()
}

#[test]
fn absurd_sizes_are_refused_in_a_line() {
    let (device, episodes) = (cpu(), episodes());
    let hidden = "network.kind = 'mlp'\nnetwork.hidden = ";
    for text in [
        format!("{hidden}[1099511627776]"),
        format!("{hidden}[65536, 65536, 65536]"),
        format!("{hidden}[0]"),
        "horizon = 2147483648".into(),
        "horizon = 9223372036854775807".into(),
        "history = 9223372036854775807".into(),
        "history = 2147483648".into(),
        "action_offset = 9223372036854775807".into(),
        "pad_after = 9223372036854775807\nhorizon = 9223372036854775807".into(),
        "batch_size = 9223372036854775807".into(),
        "steps = 9223372036854775807".into(),
        "network.kind = 'transformer'\nnetwork.heads = 0".into(),
        "network.kind = 'transformer'\nnetwork.width = 1099511627776".into(),
        "network.kind = 'unet1d'\nnetwork.down_dims = [1099511627776]".into(),
        "network.kind = 'residual'\nnetwork.blocks = 9223372036854775807".into(),
        "encoder = { kind = 'mlp', widths = [1099511627776], activation = 'relu' }".into(),
        "objective = { act = { width = 1099511627776 } }".into(),
        "objective = { act = { heads = 0 } }".into(),
        "objective = { vq_bet = { width = 65536, codes = 4096, books = 16, latent_dim = 65536 } }".into(),
        "objective = { vq_bet = { codes = 9223372036854775807 } }".into(),
    ] {
        let config: RunConfig = match toml::from_str(&text) {
            Ok(config) => config,
            Err(error) => panic!("{text}: {error}"),
        };
        let said = match Trainer::new(&device, &episodes, &config) {
            Ok(_) => panic!("{text} is taken"),
            Err(error) => error.to_string(),
        };
        assert!(!said.contains('\n') && said.len() < 400, "{text}: {said}");
        // What inspect and train say of the data before counts with the same numbers.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.npz");
        advect::data::write_npz(&path, &episodes).unwrap();
        let sets = advect::data::DataSets::open(&[&path], &DataSpec::default()).unwrap();
        sets.warnings(&config.purpose());
    }
}
