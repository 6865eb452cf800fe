//! A ROS 2 recording: joint states at 100 Hz from 10.00 s to 10.49 s, commands at 50 Hz from 10.03 s to 10.41 s.

use super::{fault, here, load};
use advect::data::{DataSpec, Episodes, Source};
use proptest::prelude::*;

const SPEC: &str =
    "obs = ['/joint_states.position', '/gripper.width']\naction = '/cmd_vel.angular.z'\nfps = 25.0";

#[test]
fn topics_become_steps_that_hold_the_newest_message() {
    for name in ["zstd.mcap", "lz4.mcap", "plain.mcap"] {
        let loaded = load(name, SPEC);
        let episodes = loaded.episodes;
        // From 10.03 s, when all have spoken, to 10.41 s, the last command; the gripper's only message holds.
        assert_eq!((episodes.lengths(), episodes.fps()), (&[10][..], Some(25.0)), "{name}");
        let obs: Vec<f32> =
            (0..10).flat_map(|n| [(4 * n + 3) as f32 + 0.5, (103 + 4 * n) as f32, 0.25, -0.5]).collect();
        assert_eq!(episodes.obs(), obs, "{name}");
        let action: Vec<f32> = (0..10).map(|n| (2 * n) as f32 + 0.25).collect();
        assert_eq!(episodes.action(), action, "{name}");
        let names = episodes.obs_names().expect("names");
        assert_eq!(names, ["b_joint", "a", "/gripper.width[0]", "/gripper.width[1]"]);
        let said = |words: &str| loaded.notes.iter().any(|note| note.contains(words));
        assert!(
            said("resampled at 25 Hz") && said("'/gripper.width': a message is held for 0.39 s"),
            "{:?}",
            loaded.notes
        );
    }
    // A whole message is all of its numbers, and other types are read too.
    let spec = "obs = ['/cmd_vel.linear', '/gripper.force', '/gripper.closed']\naction = '/cmd_vel.linear.x'\nfps = 50.0";
    let episodes = load("zstd.mcap", spec).episodes;
    assert_eq!(episodes.obs()[5..10], [-1.5, 0.0, 0.0, -3.0, 1.0]);
    assert_eq!(episodes.lengths(), [20]);
}

#[test]
fn what_cannot_be_resampled_is_named() {
    for (toml, words) in [
        ("", "say which topics are what, and the rate: [data] obs = "),
        (
            "",
            "topics: /cmd_vel (geometry_msgs/msg/Twist), /gripper (my_msgs/msg/Grip), /joint_states (sensor_msgs/msg/JointState)",
        ),
        (
            "obs = '/odom.x'\naction = '/cmd_vel.linear'\nfps = 5.0",
            "no message on the topic '/odom'; topics: /cmd_vel",
        ),
        (
            "obs = '/cmd_vel.x'\naction = '/cmd_vel.linear'\nfps = 5.0",
            "geometry_msgs/Twist has no field 'x'; present: linear, angular",
        ),
        (
            "obs = '/joint_states.name'\naction = '/cmd_vel.linear'\nfps = 5.0",
            "'/joint_states.name' holds no numbers",
        ),
        ("obs = '/joint_states'\naction = '/cmd_vel.linear'\nfps = 5.0", "a column is a topic and a field"),
    ] {
        let text = fault("zstd.mcap", toml);
        assert!(text.contains(words), "{words}: {text}");
    }
    let text = fault("swapped.mcap", SPEC);
    assert!(
        text.contains("the names beside the values change from [\"b_joint\", \"a\"] to [\"a\", \"b_joint\"]"),
        "{text}"
    );
}

#[test]
fn a_damaged_chunk_is_named_and_a_cut_recording_is_read_as_far_as_it_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bag.mcap");
    let bytes = std::fs::read(here("plain.mcap")).expect("bytes");
    let load = |bytes: &[u8]| {
        std::fs::write(&file, bytes).expect("written");
        Episodes::load(&file, &toml::from_str::<DataSpec>(SPEC).expect("a table"))
    };
    // The last joint of one message; every record is as long as before.
    let joint = 113f64.to_le_bytes();
    let at = bytes.windows(8).position(|window| window == joint).expect("a joint's position");
    let mut damaged = bytes.clone();
    damaged[at] ^= 1;
    let text = load(&damaged).expect_err("damaged").to_string();
    assert!(text.contains("a chunk is damaged") && text.contains("CRC"), "{text}");

    let loaded = load(&bytes[..bytes.len() / 2]).expect("readable");
    assert!(loaded.episodes.lengths()[0] < 10);
    assert!(
        loaded.notes.iter().any(|note| note.contains("bag.mcap: the recording was cut off")),
        "{:?}",
        loaded.notes
    );
    assert!(load(&bytes[..4]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn damaged_files_are_errors_or_data(
        cut in prop::option::of(any::<prop::sample::Index>()), packed: bool,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = std::fs::read(here(if packed { "lz4.mcap" } else { "plain.mcap" })).expect("bytes");
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.mcap");
        std::fs::write(&path, bytes).expect("written");
        let spec: DataSpec = toml::from_str(SPEC).expect("a table");
        let _ = Source::open(&path, &spec).and_then(|source| source.episodes(&spec));
    }
}
