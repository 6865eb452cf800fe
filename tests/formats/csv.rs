//! Tables of text.

use super::{LENGTHS, all, fault, load};
use advect::data::{DataSpec, Episodes};

#[test]
fn columns_are_found_by_name_and_by_what_continues_it() {
    for obs in ["'q'", "['q_0', 'q_1']"] {
        let loaded = load("table.csv", &format!("obs = {obs}\naction = 'command'"));
        let episodes = loaded.episodes;
        assert_eq!((episodes.lengths(), episodes.fps()), (&LENGTHS[..], Some(20.0)));
        assert_eq!((episodes.obs(), episodes.action()), (&all(2, 1.0)[..], &all(1, -1.0)[..]));
        assert_eq!(episodes.obs_names().expect("names"), ["q_0", "q_1"]);
    }
    let text = fault("table.csv", "");
    assert!(
        text.contains("no column 'obs'; present: t, episode, q_0, q_1, command, note. Say which"),
        "{text}"
    );
    let text = fault("table.csv", "obs = 'q'");
    assert!(text.contains("no column 'action'"), "{text}");
    let text = fault("table.csv", "obs = 'note'\naction = 'command'");
    assert!(text.contains("line 3, column 'note': found 'x', needed a number"), "{text}");
    let text = fault("table.csv", "obs = 'q'\naction = 'command'\nfps = 50.0");
    assert!(
        text.contains("row 1 (from 0), column 't': found 0.050000 s after the row before, needed 0.020000 s"),
        "{text}"
    );
}

#[test]
fn tables_that_do_not_serve_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.csv");
    let read = |text: &str| {
        std::fs::write(&path, text).expect("written");
        Episodes::load(&path, &DataSpec::default())
    };
    for (text, words) in [
        ("obs,action\n1,2\n3\n", "line 3: found 1 cells, needed 2"),
        ("obs,action\n1,2\n,4\n", "line 3, column 'obs': found '', needed a number"),
        ("obs,action\n1,nan\n", "action: found NaN at row 0"),
        ("1,2\n3,4\n", "the first line holds numbers"),
        ("obs,action,obs\n1,2,3\n", "two columns are called 'obs'"),
        ("obs,action\n", "rows: found no episode"),
        (
            "obs,action,episode\n1,2,0\n1,2,1\n1,2,0\n",
            "column 'episode': episode 0 goes on after another one",
        ),
        ("t,obs,action\n0,1,2\n0.1,1,2\n0.2,1,2\n0.5,1,2\n", "found 0.300000 s after the row before"),
    ] {
        let found = read(text).expect_err(words).to_string();
        assert!(found.contains(words), "{words}: {found}");
    }
    let loaded = read("obs.x,obs.y,action,on\n1,2,3,true\n4,5,6,false\n").expect("sound");
    assert_eq!((loaded.episodes.obs(), loaded.episodes.fps()), (&[1.0, 2.0, 4.0, 5.0][..], None));
    assert!(loaded.notes[1].contains("all rows are one episode"), "{:?}", loaded.notes);
    let loaded = read("obs,action,done\n1,2,0\n1,2,1\n1,2,0\n1,2,0\n").expect("sound");
    assert_eq!(loaded.episodes.lengths(), [2, 2], "the last was cut");
    assert!(loaded.notes[1].contains("episodes end where 'done' is set"), "{:?}", loaded.notes);
    let text = read("obs;action\n1,5;2\n").expect_err("a comma").to_string();
    assert!(text.contains("found '1,5', needed a number with a decimal point, not a comma"), "{text}");
}
