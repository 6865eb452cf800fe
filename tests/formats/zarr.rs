//! Diffusion policy's replay buffers, of both formats.

use super::{LENGTHS, all, fault, here, load};
use advect::data::{DataSpec, Episodes, Source};
use std::io::Write as _;
use std::path::Path;

#[test]
fn replay_buffers_of_both_formats_are_read() {
    for name in ["zarr2", "zarr2_others", "zarr3", "zarr3_shards", "zarr2.zarr.zip", "zarr3.zarr.zip"] {
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
    let file = set.join("data/action/.zarray");
    let text = std::fs::read_to_string(&file).expect("text");
    let filtered =
        text.replace("\"filters\": null", "\"filters\": [{\"id\": \"delta\", \"dtype\": \"<f4\"}]");
    assert_ne!(text, filtered);
    std::fs::write(&file, filtered).expect("written");
    let text = Episodes::load(&set, &DataSpec::default()).expect_err("a fault").to_string();
    assert!(text.contains("found the filter delta, needed none"), "{text}");
    let set = copy();
    std::fs::remove_dir_all(set.join("meta/episode_ends")).expect("removed");
    let text = Episodes::load(&set, &DataSpec::default()).expect_err("a fault").to_string();
    assert!(text.contains("no array 'meta/episode_ends', which says where episodes end"), "{text}");
}

/// A folder's files in a zip archive, with the folder's name before theirs.
fn zipped(folder: &Path, name: &str, to: &Path) {
    let mut zip = npyz::zip::ZipWriter::new(std::fs::File::create(to).expect("a file"));
    let mut folders = vec![folder.to_path_buf()];
    while let Some(inner) = folders.pop() {
        for entry in std::fs::read_dir(&inner).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path.strip_prefix(folder).expect("inside").to_string_lossy().replace('\\', "/");
            zip.start_file(format!("{name}/{inside}"), Default::default()).expect("a file");
            zip.write_all(&std::fs::read(&path).expect("bytes")).expect("written");
        }
    }
    zip.finish().expect("written");
}

#[test]
fn a_folder_may_be_packed_with_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("replay.zip");
    for name in ["zarr2", "zarr3", "zarr3_shards"] {
        zipped(&here(name), "replay.zarr", &path);
        let loaded = Episodes::load(&path, &DataSpec::default()).expect("readable").episodes;
        assert_eq!((loaded.lengths(), loaded.obs()), (&LENGTHS[..], &all(2, 1.0)[..]), "{name}");
    }
    let whole = std::fs::read(&path).expect("bytes");
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("written");
    assert!(Episodes::load(&path, &DataSpec::default()).is_err());
    // A byte of a chunk: the archive's checksum sees it.
    let stored = here("zarr2.zarr.zip");
    let mut bytes = std::fs::read(&stored).expect("bytes");
    let name = b"data/state/0.0";
    let at = bytes.windows(name.len()).position(|window| window == name).expect("the chunk");
    bytes[at + name.len() + 60] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    assert!(Episodes::load(&path, &DataSpec::default()).is_err());
}

#[test]
fn shards_that_are_not_read_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let set = folder.path().join("set");
    super::copy(&here("zarr3_shards"), &set);
    let file = set.join("data/state/zarr.json");
    let text = std::fs::read_to_string(&file).expect("text");
    let chunk =
        text.split("sharding_indexed").nth(1).and_then(|rest| rest.split("codecs").next()).expect("shape");
    for (from, to, words) in [
        (chunk, chunk.replace('1', "3"), "found shards of [8, 2] in chunks of [2, 3], needed whole chunks"),
        ("crc32c", "zstd".into(), "found an index that is packed, needed bytes and crc32c"),
        ("\"bytes\"", "\"transpose\"".into(), "stored with 'transpose', needed blosc"),
    ] {
        assert!(text.contains(from), "{text}");
        std::fs::write(&file, text.replacen(from, &to, 1)).expect("written");
        let found = Episodes::load(&set, &DataSpec::default()).expect_err(words).to_string();
        assert!(found.contains(words), "{words}: {found}");
    }
}

#[test]
fn damaged_chunks_are_errors_or_data() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, chunk) in [
        ("zarr2", "data/keypoint/0.0.0"),
        ("zarr2_others", "data/state/0.0"),
        ("zarr3", "data/state/c/0/0"),
        ("zarr3_shards", "data/state/c/0/0"),
    ] {
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
