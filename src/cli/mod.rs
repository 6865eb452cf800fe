//! The command line: one file per subcommand, and what they share.
//!
//! To add a subcommand: a file with a `clap::Args` struct that implements [`Run`] (its doc comment is its help), a `mod`
//! line and a line in [`commands!`].

mod bench;
mod common;
mod compare;
mod data;
mod demo;
mod devices;
mod errors;
mod files;
mod import;
mod output;
mod sample;
mod selftest;
mod serve;
mod train;
mod tune;
mod weights;

use clap::{Parser, Subcommand};
use common::Context;
use std::process::ExitCode;

/// What a subcommand does.
trait Run {
    /// Runs it.
    fn run(self, cx: &Context) -> anyhow::Result<()>;
}

macro_rules! commands {
    ($($variant:ident($args:ty)),* $(,)?) => {
        #[derive(Subcommand)]
        enum Command { $($variant($args)),* }

        impl Run for Command {
            fn run(self, cx: &Context) -> anyhow::Result<()> {
                match self { $(Command::$variant(args) => args.run(cx)),* }
            }
        }
    };
}

commands! {
    Demo(demo::Demo),
    Devices(devices::Devices),
    Train(train::Train),
    Sample(sample::Sample),
    Import(import::Import),
    Data(data::Data),
    Serve(serve::Serve),
    Bench(bench::Bench),
    Tune(tune::Tune),
    Compare(compare::Compare),
    Selftest(selftest::Selftest),
}

/// Train and sample flow-matching robot policies on any GPU (Vulkan, Metal, DX12) or on the CPU.
#[derive(Parser)]
#[command(name = "advect", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    global: common::Global,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  advect demo                             train and sample on Push-T, and see the report
  advect devices                          what there is, and what auto takes
  advect train --data demos.npz --out policy.safetensors
  advect sample policy.safetensors --obs obs.npy --batch 64 --out actions.npy
  advect data inspect demos.npz           what is in it, and what in it ruins training
  advect serve policy.safetensors         robots ask for actions over OpenPI's WebSocket wire
  advect selftest --device gpu            whether this GPU and driver can be trusted
  advect bench --batch 1,64,1024          how many action chunks a second
  advect tune                             measure this GPU's kernels and keep the fastest
  advect compare --task two-moons         every objective on the same data

Exit codes: 0 ok, 1 failure, 2 usage, 130 Ctrl-C.
RUST_LOG=advect=debug shows what the engine does.";

/// Parses, runs, and turns what came of it into an exit code.
pub fn main() -> ExitCode {
    quiet_loader();
    common::Interrupt::install();
    common::ignore_file_size_signal();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return errors::usage(&error),
    };
    errors::log();
    errors::exit_code(cli.command.run(&Context::new(cli.global)))
}

/// On a Linux machine without a desktop session, Mesa's device selection layer looks for one all the same and writes
/// `error: XDG_RUNTIME_DIR is invalid` to stderr for each look. We draw nothing: it need not look.
fn quiet_loader() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: this is the first thing that the process does; it has no other thread yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
