//! robomimic, Minari, ALOHA.

use super::{LENGTHS, all, beside, fault, here, load, values};
use advect::data::{DataSpec, Episodes, Source};
use proptest::prelude::*;

#[test]
fn robomimic_is_read_in_the_order_of_its_demonstrations() {
    for name in ["robomimic.hdf5", "robomimic_latest.hdf5"] {
        let loaded = load(name, "");
        let episodes = loaded.episodes;
        assert_eq!((episodes.lengths(), episodes.fps()), (&LENGTHS[..], Some(20.0)), "{name}");
        assert_eq!(episodes.obs(), beside(&all(3, 1.0), 3, &all(1, 1.0), 1), "{name}");
        assert_eq!(episodes.action(), all(2, -1.0), "{name}");
        let inputs: Vec<_> = episodes.obs_inputs().iter().map(|i| (i.name.as_str(), i.dim)).collect();
        assert_eq!(inputs, [("observation/robot0_eef_pos", 3), ("observation/robot0_gripper_qpos", 1)]);
        let said = |words: &str| loaded.notes.iter().any(|note| note.contains(words));
        assert!(said("skipped image columns: agentview_image (uint8 2x2x3)"), "{:?}", loaded.notes);
        assert!(said("observations: robot0_eef_pos, robot0_gripper_qpos; [data] obs chooses others"));
        let chosen =
            load(name, "obs = 'obs/robot0_eef_pos'\nepisode_success = 'rewards'\nfps = 10.0").episodes;
        assert_eq!((chosen.obs(), chosen.fps()), (&all(3, 1.0)[..], Some(10.0)), "{name}");
        assert_eq!(chosen.success(), Some(&[true, false, true][..]), "{name}");
    }
}

#[test]
fn minari_has_an_observation_more_than_actions() {
    let whole = |episode: usize, n: usize| values(episode, n, 1, 1.0).into_iter().map(f32::floor);
    let goals: Vec<f32> = LENGTHS.iter().enumerate().flat_map(|(e, &n)| whole(e, n)).collect();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("data")).expect("a folder");
    std::fs::copy(here("minari.hdf5"), folder.path().join("data/main_data.hdf5")).expect("copied");
    let spec = DataSpec { episode_success: Some("infos/success".into()), ..DataSpec::default() };
    for path in [here("minari.hdf5"), folder.path().to_path_buf(), folder.path().join("data")] {
        let loaded = Episodes::load(&path, &spec).expect("readable");
        assert_eq!(loaded.episodes.lengths(), LENGTHS);
        assert_eq!(loaded.episodes.obs(), beside(&goals, 1, &all(2, 1.0), 2));
        assert_eq!(loaded.episodes.action(), all(1, -1.0));
        assert_eq!(loaded.episodes.success(), Some(&[false, true, false][..]));
        assert!(loaded.notes.iter().any(|note| note.contains("one observation more than actions")));
    }
}

#[test]
fn a_file_that_is_one_episode_is_read() {
    let episodes = load("aloha.hdf5", "").episodes;
    assert_eq!(episodes.lengths(), [4]);
    assert_eq!((episodes.obs(), episodes.action()), (&values(0, 4, 2, 1.0)[..], &values(0, 4, 2, -1.0)[..]));
}

#[test]
fn fewer_steps_than_values_may_be_transposed() {
    let notes = load("transposed.hdf5", "").notes;
    let said = "fewer steps (2) than values of an action (3): Julia and MATLAB write arrays transposed";
    assert!(notes.iter().any(|note| note.contains(said)), "{notes:?}");
    assert!(load("aloha.hdf5", "").notes.iter().all(|note| !note.contains("transposed")));
}

#[test]
fn a_file_of_episodes_end_to_end_is_cut_where_it_says_that_they_end() {
    let loaded = load("d4rl.hdf5", "");
    assert_eq!(loaded.episodes.lengths(), super::LENGTHS);
    assert_eq!((loaded.episodes.obs(), loaded.episodes.action()), (&all(3, 1.0)[..], &all(2, -1.0)[..]));
    let said = |note: &String| note.contains("episodes end where 'terminals' or 'timeouts' is set");
    assert!(loaded.notes.iter().any(said), "{:?}", loaded.notes);
}

#[test]
fn what_is_not_there_is_named() {
    for (toml, words) in [
        ("action = 'a'", "not readable as HDF5: /data/demo_0: no 'a'; present: "),
        ("obs = 'x'", "no observation 'x'; present: agentview_image, robot0_eef_pos, robot0_gripper_qpos"),
        ("episode_success = 'x'", "/data/demo_0/: no 'x' that says whether the episode succeeded"),
    ] {
        let text = fault("robomimic.hdf5", toml);
        assert!(text.contains(words), "{words}: {text}");
    }
    let text = fault("minari.hdf5", "obs = 'observations/goal'");
    assert!(text.contains("no observation 'goal'; present: desired_goal, observation"), "{text}");
    // A picture may be asked for by its name, and is flattened.
    assert_eq!(load("robomimic.hdf5", "obs = 'agentview_image'").episodes.obs_dim(), 12);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn damaged_files_are_errors_or_data(
        latest: bool, cut in prop::option::of(any::<prop::sample::Index>()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let name = if latest { "robomimic_latest.hdf5" } else { "minari.hdf5" };
        let mut bytes = std::fs::read(here(name)).expect("bytes");
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.hdf5");
        std::fs::write(&path, bytes).expect("written");
        let source = Source::open(&path, &DataSpec::default());
        let _ = source.and_then(|source| source.episodes(&DataSpec::default()));
    }
}
