//! `advect serve` as a process.

use crate::toy::{observation, policy, state};
use advect::serve::{ClientOptions, PolicyClient};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A server that is killed with its test.
struct Serving {
    child: Child,
    url: String,
    out: BufReader<ChildStdout>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(folder: &std::path::Path, args: &[&str]) -> Serving {
    policy().save(folder.join("toy.safetensors")).expect("saved");
    let mut command = Command::new(env!("CARGO_BIN_EXE_advect"));
    for name in ["ADVECT_DEVICE", "ADVECT_THREADS", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
        .current_dir(folder)
        .args(["serve", "toy.safetensors", "--port", "0", "--device", "cpu"])
        .args(args);
    command.env("ROBOT_KEY", "s3cret").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let mut out = BufReader::new(child.stdout.take().expect("stdout"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    let url = line.split(' ').find(|word| word.starts_with("ws://")).unwrap_or_else(|| panic!("{line}"));
    Serving { url: url.into(), child, out }
}

#[test]
fn the_command_serves_until_it_is_told_to_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut serving =
        start(folder.path(), &["--max-batch", "4", "--solver", "euler:2", "--deadline-ms", "50"]);
    let mut client = PolicyClient::connect(&serving.url, &ClientOptions::default()).expect("a connection");
    assert_eq!(client.metadata_of("policy"), Some(&"toy".into()));
    assert_eq!(client.metadata_of("solver"), Some(&"euler:2".into()));
    client.infer(&[state(&observation(0))], None).expect("a reply");
    if cfg!(unix) {
        crate::signal::signal(&serving.child, "TERM");
        let status = serving.child.wait().expect("it ends");
        let (mut out, mut err) = (String::new(), String::new());
        serving.out.read_to_string(&mut out).expect("read");
        serving.child.stderr.take().expect("stderr").read_to_string(&mut err).expect("read");
        assert_eq!((status.code(), out.as_str()), (Some(0), ""), "{err}");
        assert!(err.contains("stopped") && !err.contains("panicked"), "{err}");
        assert!(client.infer(&[state(&observation(0))], None).is_err());
    }
}

#[cfg(unix)]
#[test]
fn nobody_needs_to_read_what_it_prints() {
    let folder = tempfile::tempdir().expect("a folder");
    policy().save(folder.path().join("toy.safetensors")).expect("saved");
    let mut child = Command::new(env!("CARGO_BIN_EXE_advect"))
        .current_dir(folder.path())
        .args(["serve", "toy.safetensors", "--port", "0", "--device", "cpu", "--max-batch", "1"])
        .env_remove("RUST_LOG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    // As `advect serve ... | head -0` does.
    drop(child.stdout.take());
    let mut line = String::new();
    let mut err = BufReader::new(child.stderr.take().expect("stderr"));
    while !line.contains("ws://") {
        line.clear();
        if err.read_line(&mut line).expect("a line") == 0 {
            panic!("it ended: {:?}", child.wait());
        }
    }
    let url = line.split(' ').find(|word| word.starts_with("ws://")).expect("an address").to_string();
    let client = PolicyClient::connect(&url, &ClientOptions::default());
    let reply = client.map(|mut client| client.infer(&[state(&observation(0))], None).map(drop));
    child.kill().expect("killed");
    child.wait().expect("it ends");
    assert!(matches!(reply, Ok(Ok(()))), "{reply:?}");
}

#[test]
fn a_key_from_the_environment_and_a_warning_without_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let serving = start(folder.path(), &["--max-batch", "1", "--key-env", "ROBOT_KEY"]);
    assert!(PolicyClient::connect(&serving.url, &ClientOptions::default()).is_err());
    let options = ClientOptions { key: Some("s3cret".into()), ..ClientOptions::default() };
    PolicyClient::connect(&serving.url, &options).expect("let in");
    drop(serving);

    let mut open = start(folder.path(), &["--max-batch", "1", "--host", "0.0.0.0"]);
    open.child.kill().expect("killed");
    let mut err = String::new();
    open.child.stderr.take().expect("stderr").read_to_string(&mut err).expect("read");
    assert!(err.contains("warning: 0.0.0.0") && err.contains("no key"), "{err}");
}
