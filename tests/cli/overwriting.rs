//! No command writes over what it reads, under whatever name: one error line, exit code 2, and every file as it was.

use crate::bad_input::Bench;

/// Runs a command line of words.
fn refused(bench: &Bench, line: &str, words: &[&str]) {
    bench.fails(&line.split_whitespace().collect::<Vec<_>>(), 2, words);
}

#[test]
fn training_does_not_write_over_its_demonstrations() {
    let bench = Bench::new();
    let mut names = vec!["demos.npz", "./demos.npz", "out/../demos.npz"];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(bench.path("demos.npz"), bench.path("link.npz")).expect("a link");
        std::fs::hard_link(bench.path("demos.npz"), bench.path("hard.npz")).expect("a link");
        names.extend(["link.npz", "hard.npz"]);
    }
    for name in names {
        bench.train_fails(&["--out", name], 2, &["--out", "--data demos.npz"]);
        bench.train_fails(&["--metrics", name], 2, &["--metrics", "--data demos.npz"]);
    }
    bench.train_fails(&["--out", "run.toml"], 2, &["--out run.toml", "--config"]);
    bench.train_fails(&["--metrics", "run.toml"], 2, &["--metrics run.toml", "--config"]);
    for name in ["out/p.safetensors", "out/./p.safetensors.train"] {
        bench.train_fails(&["--metrics", name], 2, &["--metrics", "are one file"]);
    }
    // The state beside the policy is an output, too.
    std::fs::rename(bench.path("demos.npz"), bench.path("d.train")).expect("renamed");
    bench.train_fails(&["--data", "d.train", "--out", "d"], 2, &["state d.train", "--data d.train"]);
}

#[test]
fn sampling_does_not_write_over_what_it_reads() {
    let bench = Bench::new().with_policy();
    std::fs::copy(bench.path("obs.npy"), bench.path("noise.npy")).expect("copied");
    for read in ["p.safetensors", "out/../obs.npy", "noise.npy"] {
        for option in ["--out", "--trajectory", "--log-prob"] {
            bench.sample_fails(&["--noise", "noise.npy", option, read], 2, &[option, read, "reads"]);
        }
    }
    bench.sample_fails(&["--log-prob", "out/../out/a.npy"], 2, &["are one file"]);
    bench.sample_fails(&["--trajectory", "t.npy", "--log-prob", "./t.npy"], 2, &["are one file"]);
}

#[test]
fn other_commands_do_not_either() {
    let bench = Bench::new();
    refused(&bench, "data convert demos.npz ./demos.npz", &["OUT ./demos.npz", "IN demos.npz"]);
    refused(&bench, "data convert demos.npz run.toml --to npz --config run.toml", &["--config run.toml"]);
    let made = bench.command(&["data", "convert", "demos.npz", "set", "--config", "rate.toml"]);
    std::fs::write(bench.path("rate.toml"), "data = { fps = 10 }").expect("written");
    assert!({ made }.output().expect("it starts").status.success());
    for out in ["set/demos.npz", "set/meta/info.json", "set/again"] {
        refused(
            &bench,
            &format!("data convert set {out} --to npz"),
            &["OUT set", "inside the folder that IN set"],
        );
        bench.train_fails(
            &["--data", "set", "--out", out],
            2,
            &["--out set", "inside the folder that --data set"],
        );
    }
    std::fs::rename(bench.path("demos.npz"), bench.path("out/train.npz")).expect("renamed");
    refused(&bench, "compare --task out/train.npz --out ./out", &["--out ./out/train.npz", "--task"]);
    std::fs::rename(bench.path("out/train.npz"), bench.path("out/actions.npy")).expect("renamed");
    refused(&bench, "demo --data out/actions.npy --out out", &["--out out/actions.npy", "--data"]);

    std::fs::write(bench.path("out/config.json"), "{}").expect("written");
    std::fs::write(bench.path("out/model.safetensors"), "x").expect("written");
    for name in ["config.json", "model.safetensors"] {
        refused(&bench, &format!("import out --out out/./{name}"), &["--out", "DIR", name]);
    }
}
