//! Signals to a child process, by the shell: a small system has no program `kill`.

use std::process::{Child, Command};

/// Sends the signal (INT, TERM) to a child.
pub fn signal(child: &Child, name: &str) {
    let line = format!("kill -{name} {}", child.id());
    let told = Command::new("sh").args(["-c", &line]).status().expect("a shell");
    assert!(told.success(), "{line}");
}
