//! `advect selftest`: whether a device computes what it should.

use super::Run;
use super::common::{Context, Interrupt, print, print_json, progress};
use super::errors::{Failed, Interrupted};
use super::output::{Colour, Table, count, error, short};
use advect::graph::Precision;
use advect::selftest::{self, At, Report, SelfTestError};
use std::path::{Path, PathBuf};

/// Check that a device and its driver compute what they should: every kernel, whole passes, goldens
///
/// Every kernel variant that the device can run is compared with its CPU twin and an f64 oracle over odd shapes, with
/// poisoned outputs and canaries behind every buffer; then random numbers, whole sampling passes, and that the same seed
/// gives the same bits twice. Exits with 1 if anything is wrong.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  advect selftest
  advect selftest --device gpu
  advect selftest --golden ~/advect/tests/golden
  advect selftest --device gpu --json > selftest.json    the file to send with a bug report")]
pub struct Selftest {
    /// Folder of golden cases [default: tests/golden, if the current folder has it]
    #[arg(long, env = "ADVECT_GOLDEN_DIR", value_name = "DIR")]
    golden: Option<PathBuf>,
    /// Print JSON: everything that was found
    #[arg(long)]
    json: bool,
}

impl Run for Selftest {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        // With the matrix units, if there are any: they are what needs the test most.
        let device = cx.open_for(Precision::F16)?;
        let interrupt = Interrupt::catch()?;
        let bar = progress(1);
        let mut go_on = |at: At<'_>| {
            bar.set_length(at.of as u64);
            bar.set_position(at.done as u64);
            bar.set_message(at.what.to_owned());
            !interrupt.pressed()
        };
        let shipped = Path::new("tests/golden");
        let golden = self.golden.as_deref().or(shipped.is_dir().then_some(shipped));
        let report = selftest::run(&device, golden, &mut go_on);
        bar.finish_and_clear();
        let report = report.map_err(|error| match error {
            SelfTestError::Stopped => anyhow::Error::from(Interrupted),
            other => other.into(),
        })?;
        if self.json {
            print_json(&report)?
        } else {
            print(&render(&report, Colour::stdout()))?
        }
        if report.passed { Ok(()) } else { Err(Failed.into()) }
    }
}

fn render(report: &Report, colour: Colour) -> String {
    let verdict = |passed: bool| if passed { colour.green("ok") } else { colour.red("FAILED") };
    let on = if report.adapter.is_some() { ">variants" } else { ">threads" };
    let mut table = Table::new(&["kernel", on, ">cases", ">vs f64", ">vs twin", "verdict"]);
    for kernel in &report.kernels {
        table.row(vec![
            kernel.kernel.to_owned(),
            kernel.variants.len().to_string(),
            kernel.cases().to_string(),
            error(kernel.oracle_error()),
            error(kernel.twin_error()),
            verdict(kernel.passed()),
        ]);
    }
    let mut out = table.render(colour) + "\n";
    let mut checks = Table::new(&["check", "found", "verdict"]);
    for check in &report.checks {
        checks.row(vec![check.name.to_owned(), check.detail.clone(), verdict(check.passed)]);
    }
    out += &(checks.render(colour) + "\n");
    if let Some(golden) = &report.golden {
        let found = format!("{} met, {} missed", golden.passed.len(), golden.failed.len());
        let closest = golden.closest().map_or_else(String::new, |c| {
            format!("; nearest to its tolerance: {}, {} of {:.0e}", c.file, error(c.error), c.tolerance)
        });
        out += &format!("golden cases of {}: {found}{closest}\n", golden.folder);
        if golden.passed.is_empty() {
            out += &format!("{}: no golden case was met in {}\n", colour.red("failed"), golden.folder);
        }
        out += "\n";
    }
    for skipped in &report.skipped {
        out += &format!("not run: {} ({})\n", skipped.variant, skipped.reason);
    }
    for failure in report.failures() {
        out += &format!("{}: {failure}\n", colour.red("failed"));
    }
    let tried = format!("{} in {} s", count(report.cases(), "case"), short(report.seconds));
    out + &match report.passed {
        true => format!("{}: {} computes what it should ({tried})\n", colour.green("PASSED"), report.device),
        false => format!("{}: do not trust {} ({tried})\n", colour.red("FAILED"), report.device),
    }
}
