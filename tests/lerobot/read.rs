//! What is read is what lerobot has.

use super::{copied, expected, fixture, load, real};
use advect::data::inspect::inspect;
use advect::data::{Columns, DataSpec, Episodes, Kind, Source, WindowSpec, Windows};

#[test]
fn the_fixture_is_read_as_lerobot_reads_it() {
    let source = Source::open(fixture(), &DataSpec::default()).expect("readable");
    assert_eq!((source.kind, source.fault_count), (Kind::LeRobotV3, 0));
    let tasks = source.tasks.clone().expect("tasks");
    assert_eq!(tasks.texts, ["push the block", "lift the block"]);
    let task_index: Vec<f32> = tasks.of_row.iter().map(|&n| n as f32).collect();
    assert_eq!(task_index, expected("task_index"));
    let lines = source.lines();
    assert_eq!(lines, ["skipped image columns: observation.images.top (image 8x8x3)"]);
    assert_eq!(source.unused.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["observation.force"]);

    let episodes = load(&fixture());
    assert_eq!(episodes.obs(), expected("obs"));
    assert_eq!(episodes.action(), expected("action"));
    let lengths: Vec<f32> = episodes.lengths().iter().map(|&n| n as f32).collect();
    assert_eq!(lengths, expected("episode_len"));
    let success: Vec<f32> = episodes.success().expect("known").iter().map(|&s| s.into()).collect();
    assert_eq!(success, expected("episode_success"));
    assert_eq!(episodes.fps(), Some(f64::from(expected("fps")[0])));
    assert_eq!(episodes.obs_names().expect("names"), ["x", "y", "grip", "block_x", "block_y"]);
    assert_eq!(episodes.action_names().expect("names"), ["vx", "vy"]);
    let inputs: Vec<_> = episodes.obs_inputs().iter().map(|i| (i.name.as_str(), i.dim)).collect();
    assert_eq!(inputs, [("observation/state", 3), ("observation/environment_state", 2)]);
}

#[test]
fn columns_are_chosen_by_the_spec() {
    let columns = |names: &[&str]| Some(Columns::Many(names.iter().map(|&n| n.into()).collect()));
    let spec = DataSpec { obs: columns(&["observation.force", "observation.state"]), ..DataSpec::default() };
    let episodes = Episodes::load(fixture(), &spec).expect("readable").episodes;
    let names = episodes.obs_names().expect("names");
    assert_eq!(names, ["observation.force[0]", "observation.force[1]", "x", "y", "grip"]);
    assert_eq!(episodes.obs()[2..5], expected("obs")[..3]);
    let spec =
        DataSpec { obs: Some("observation.state".into()), successful_only: true, ..DataSpec::default() };
    let episodes = Episodes::load(fixture(), &spec).expect("readable").episodes;
    assert_eq!((episodes.obs_dim(), episodes.lengths()), (3, &[20, 17, 24][..]));
    let fault = |spec: DataSpec| Episodes::load(fixture(), &spec).expect_err("a fault").to_string();
    let text = fault(DataSpec { obs: columns(&["observation.images.top"]), ..DataSpec::default() });
    assert!(text.ends_with("column 'observation.images.top': found image, needed numbers"), "{text}");
    let text = fault(DataSpec { action: "act".into(), ..DataSpec::default() });
    assert!(text.contains("info.json: no column 'act'; present: observation.state, "), "{text}");
    let text = fault(DataSpec { episode_success: Some("won".into()), ..DataSpec::default() });
    assert!(text.contains("no column 'won'"), "{text}");
    let text = fault(DataSpec { fps: Some(25.0), ..DataSpec::default() });
    assert!(text.contains("'timestamp', episode 0, frame 1: found 0.05 s"), "{text}");
    assert!(text.contains("needed 0.04 s (1 / fps) within 0.0001 s"), "{text}");
    let slack = DataSpec { fps: Some(25.0), tolerance_s: 0.02, ..DataSpec::default() };
    assert_eq!(Episodes::load(fixture(), &slack).expect("within tolerance").episodes.fps(), Some(25.0));
    let text = fault(DataSpec { tolerance_s: f64::NAN, ..DataSpec::default() });
    assert!(text.starts_with("tolerance_s: found NaN"), "{text}");
}

#[test]
fn several_sets_become_one() {
    let two = Episodes::load_all(&[fixture(), fixture()], &DataSpec::default()).expect("they agree");
    assert_eq!(two.episodes.count(), 8);
    assert_eq!(two.notes.len(), 2, "{:?}", two.notes);
    assert!(two.notes[0].contains("v3: skipped image columns"), "{:?}", two.notes);
    assert_eq!(two.episodes.obs()[..470], two.episodes.obs()[470..]);
    let push_t = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/pusht.npz");
    let text =
        Episodes::load_all(&[fixture(), push_t], &DataSpec::default()).expect_err("they differ").to_string();
    assert!(text.starts_with("values of an observation differs between data sets: 5 in "), "{text}");
    let missing = fixture().join("none");
    let text =
        Episodes::load_all(&[fixture(), missing], &DataSpec::default()).expect_err("missing").to_string();
    assert!(text.ends_with("none: no such file"), "{text}");
    let (folder, _) = copied();
    let text = Episodes::load(folder.path(), &DataSpec::default()).expect_err("no data set").to_string();
    assert!(text.contains("a folder without meta/info.json"), "{text}");
}

/// 100 episodes of a Unitree G1, as a public repository has them.
#[test]
fn a_real_data_set_is_read() {
    let Some(path) = real("a_real_data_set_is_read") else { return };
    let source = Source::open(&path, &DataSpec::default()).expect("readable");
    assert_eq!((source.kind, source.fault_count), (Kind::LeRobotV2, 0));
    assert_eq!(source.lines(), ["skipped image columns: observation.images.cam_high (video 480x640x3)"]);
    let episodes = source.episodes(&DataSpec::default()).expect("sound");
    assert_eq!((episodes.count(), episodes.steps()), (100, 35_965));
    assert_eq!((episodes.obs_dim(), episodes.action_dim(), episodes.fps()), (26, 26, Some(30.0)));
    assert_eq!(episodes.lengths()[..3], [479, 393, 343]);
    let names = episodes.obs_names().expect("names");
    assert_eq!((names[0].as_str(), names[25].as_str()), ("kLeftShoulderPitch", "kRightHandThumbRotation"));
    // The first episode's own statistics, from meta/episodes_stats.jsonl.
    let first = episodes.obs()[..479 * 26].chunks(26).map(|row| row[0]);
    let (min, max) = first.fold((f32::MAX, f32::MIN), |(a, b), x| (a.min(x), b.max(x)));
    assert_eq!((min, max), (-0.772_527_1, -0.702_910_8));
    let spec = WindowSpec { history: 2, horizon: 16, action_offset: 0, pad_after: 7 };
    let ids: Vec<usize> = (0..100).collect();
    assert!(Windows::new(&episodes, &ids, &spec).expect("windows").count() > 30_000);

    let report = inspect(&path, &DataSpec::default(), 16).expect("readable");
    assert_eq!((report.episodes, report.lengths.min > 100), (100, true));
    assert!(report.following.is_some(), "position targets are followed");
}
