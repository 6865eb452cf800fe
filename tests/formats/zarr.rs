//! Diffusion policy's replay buffers, of both formats.

use super::{LENGTHS, all, fault, here, load};
use advect::data::{DataSpec, Episodes, Source};

#[test]
fn replay_buffers_of_both_formats_are_read() {
    for name in ["zarr2", "zarr2_others", "zarr3"] {
        let loaded = load(name, "");
        assert_eq!(loaded.episodes.lengths(), LENGTHS, "{name}");
        assert_eq!(loaded.episodes.obs(), all(2, 1.0), "{name}");
        assert_eq!(
            (loaded.episodes.action_dim(), loaded.episodes.action()),
            (3, &all(3, -1.0)[..]),
            "{name}"
        );
        let said = |words: &str| loaded.notes.iter().any(|note| note.contains(words));
        assert!(said("observations: state; [data] obs chooses others"), "{:?}", loaded.notes);
        assert!(said("2 rows after the last episode's end are left out"), "{:?}", loaded.notes);
        assert!(said("skipped image columns: img (") && said("2x2x3)"), "{:?}", loaded.notes);
        let wide = load(name, "obs = ['data/keypoint', 'n_contacts']").episodes;
        assert_eq!(wide.obs_dim(), 17, "{name}");
        let rows: Vec<f32> = all(16, 1.0).chunks(16).flat_map(|row| [row, &[3.0]].concat()).collect();
        assert_eq!(wide.obs(), rows, "{name}");
    }
}

#[test]
fn stores_that_do_not_serve_are_named() {
    for (toml, words) in [
        ("obs = 'x'", "no array 'data/x'; present: action, img, keypoint, n_contacts, state"),
        ("obs = '../meta/episode_ends'", "no array 'data/../meta/episode_ends'"),
        ("obs = ['state', 'state']", "found 'observation/state' again"),
    ] {
        let text = fault("zarr3", toml);
        assert!(text.contains(words), "{words}: {text}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let copy = || {
        let set = folder.path().join("set");
        let _ = std::fs::remove_dir_all(&set);
        super::copy(&here("zarr2"), &set);
        set
    };
    for (file, from, to, words) in [
        ("data/state/.zarray", "\"<f4\"", "\"<U8\"", "state: found <U8 of the shape [12, 2], needed numbers"),
        ("data/state/.zarray", "blosc", "pcodec", "compressed with 'pcodec', needed blosc, zstd"),
        ("data/action/.zarray", "14", "99999999999", "needs"),
        ("data/action/.zarray", "14", "-1", "found the shape"),
        ("data/action/.zarray", "\"shape\"", "\"shop\"", "found the shape"),
    ] {
        let set = copy();
        let text = std::fs::read_to_string(set.join(file)).expect("text");
        assert!(text.contains(from), "{text}");
        std::fs::write(set.join(file), text.replacen(from, to, 1)).expect("written");
        let found = Episodes::load(&set, &DataSpec::default()).expect_err(words).to_string();
        assert!(found.contains(words), "{words}: {found}");
    }
    let set = copy();
    std::fs::remove_dir_all(set.join("meta/episode_ends")).expect("removed");
    let text = Episodes::load(&set, &DataSpec::default()).expect_err("a fault").to_string();
    assert!(text.contains("no array 'meta/episode_ends', which says where episodes end"), "{text}");
}

#[test]
fn damaged_chunks_are_errors_or_data() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, chunk) in
        [("zarr2", "data/keypoint/0.0.0"), ("zarr2_others", "data/state/0.0"), ("zarr3", "data/state/c/0/0")]
    {
        let set = folder.path().join(name);
        super::copy(&here(name), &set);
        let whole = std::fs::read(here(name).join(chunk)).expect("bytes");
        let spec: DataSpec = toml::from_str("obs = ['state', 'keypoint']").expect("a table");
        for at in 0..whole.len().min(60) {
            for byte in [0, 1, 127, 255] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                std::fs::write(set.join(chunk), &bytes).expect("written");
                let _ = Source::open(&set, &spec);
            }
            std::fs::write(set.join(chunk), &whole[..at]).expect("written");
            assert!(Source::open(&set, &spec).is_err(), "{name}: {at}");
        }
    }
}
