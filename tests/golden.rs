//! Every golden case on every executor: the CPU twins, and WGSL on whatever adapter there is.
//!
//! ADVECT_GOLDEN_DIR names another folder of cases.

mod common;

use advect::device::Device;
use advect::selftest::golden::{Outcome, Status, files, run_folder};
use std::path::PathBuf;

fn folder() -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    std::env::var_os("ADVECT_GOLDEN_DIR").unwrap_or_else(|| default.into()).into()
}

/// Runs the folder on a device and fails on any failure.
fn run_on(device: &Device) {
    let folder = folder();
    let outcomes = run_folder(&folder, device).unwrap();
    assert!(!outcomes.is_empty(), "no cases in {}", folder.display());
    assert_eq!(outcomes.len(), files(&folder).unwrap().len());
    let with = |status| outcomes.iter().filter(move |o| o.status == status);
    println!("golden cases on {}:", device.describe());
    for o in with(Status::Passed) {
        println!("  passed {:32} {:8.1e} of {:.0e}  {}", o.file, o.error, o.tolerance, o.message);
    }
    let failed: Vec<&Outcome> = with(Status::Failed).collect();
    let passed = with(Status::Passed).count();
    println!("{passed} of {} passed", outcomes.len());
    let lines: Vec<String> =
        failed.iter().map(|o| format!("{} ({}): {}", o.file, o.case, o.message)).collect();
    assert!(failed.is_empty(), "{}", lines.join("\n"));
    assert_eq!(passed, outcomes.len());
}

#[test]
fn cpu() {
    run_on(&common::cpu());
}

#[test]
fn gpu() {
    if let Some(device) = common::gpu() {
        run_on(&device);
    }
}
