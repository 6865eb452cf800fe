//! Limits of memory: what a software driver would end the program with is an error before it.

use serde_json::Value;
use std::process::Command;

fn advect() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_advect"));
    command.env("ADVECT_CACHE_DIR", "off").env_remove("ADVECT_DEVICE").env_remove("RUST_LOG");
    command
}

/// llvmpipe ends the whole process when memory runs out in it, so under such a limit it is not opened.
#[cfg(target_os = "linux")]
#[test]
fn a_software_driver_without_room_is_an_error() {
    let listing = advect().args(["devices", "--json"]).output().expect("the command starts");
    let listing: Value = serde_json::from_slice(&listing.stdout).expect("JSON");
    let software = |a: &&Value| a["device_type"] == "software";
    let Some(adapter) = listing["adapters"].as_array().expect("a list").iter().find(software) else {
        assert!(std::env::var_os("ADVECT_REQUIRE_GPU").is_none(), "no software adapter: {listing}");
        eprintln!("NOT RUN: no software adapter");
        return;
    };
    let index = adapter["index"].to_string();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -v 1000000 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_advect")]);
    let args = ["bench", "--workload", "mlp256", "--device", &index, "--seconds", "0.1"];
    let output = limited.args(args).env("ADVECT_CACHE_DIR", "off").output().expect("sh starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let last = text.lines().last().unwrap_or_default();
    for words in ["error: ", "ulimit -v", "needs 1024 MiB", "use the CPU executor"] {
        assert!(last.contains(words), "{words}: {text}");
    }
}
