//! What subcommands share: the device, progress bars, Ctrl-C.

use super::errors::{INTERRUPTED, OutputClosed};
use super::output::Colour;
use advect::data::{DataSpec, EpisodeChoice, WriteLock};
use advect::device::{Cpu, Device, DeviceChoice, GpuOptions};
use advect::graph::Precision;
use advect::kernel::matmul::MatrixUnit;
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Options of every subcommand.
#[derive(clap::Args, Debug, Clone)]
pub struct Global {
    /// auto, cpu, gpu, an index of `advect devices`, or part of a name; all for sample and bench
    ///
    /// auto is a real GPU if there is one, else the CPU; gpu takes a software adapter too; all shares a batch out over
    /// every real GPU by its speed.
    #[arg(long, global = true, env = "ADVECT_DEVICE", default_value = "auto", hide_default_value = true)]
    pub device: DeviceChoice,
    /// Threads of the CPU executor [default: all]
    #[arg(long, global = true, env = "ADVECT_THREADS", value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
}

fn threads(text: &str) -> Result<usize, String> {
    number_in(text, 1, 1024)
}

/// A whole number within bounds, or what was needed.
pub fn number_in(text: &str, least: usize, most: usize) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ => Err(format!("needed a whole number from {least} to {most}")),
    }
}

/// Which episodes of the data are meant.
#[derive(clap::Args, Debug, Clone)]
pub struct Chosen {
    /// Take these episodes only, as 0:50,60 (from 0; 50 is not among them)
    ///
    /// Of several data sets they are counted through, in the order given.
    #[arg(long, value_name = "LIST")]
    episodes: Option<EpisodeChoice>,
    /// Leave out episodes of fewer steps
    #[arg(long, value_name = "N", value_parser = least_steps)]
    min_episode: Option<usize>,
    /// Leave out episodes that did not succeed
    #[arg(long)]
    successful_only: bool,
}

impl Chosen {
    /// Has the last word over a configuration's [data] table.
    pub fn apply(&self, data: &mut DataSpec) {
        data.episodes = self.episodes.clone().or(data.episodes.take());
        data.min_episode = self.min_episode.or(data.min_episode);
        data.successful_only |= self.successful_only;
    }
}

fn least_steps(text: &str) -> Result<usize, String> {
    number_in(text, 1, u32::MAX as usize)
}

/// What a subcommand is given.
pub struct Context {
    global: Global,
}

impl Context {
    pub(super) fn new(global: Global) -> Context {
        Context { global }
    }

    /// What `--device` says.
    pub fn device_choice(&self) -> &DeviceChoice {
        &self.global.device
    }

    /// The CPU executor, as wide as `--threads` says.
    pub fn cpu(&self) -> anyhow::Result<Cpu> {
        Ok(match self.global.threads {
            Some(threads) => Cpu::with_threads(threads)?,
            None => Cpu::new()?,
        })
    }

    /// The devices asked for: every real GPU for `all`, else the one; says on stderr which.
    pub fn open_all(&self, precision: Precision) -> anyhow::Result<Vec<Device>> {
        if self.global.device != DeviceChoice::All {
            return Ok(vec![self.open_for(precision)?]);
        }
        let devices = match &Device::open_all(&options(precision)?)?[..] {
            // There is no real GPU.
            [Device::Cpu(_)] => vec![Device::Cpu(self.cpu()?)],
            gpus => gpus.to_vec(),
        };
        for device in &devices {
            note_line(&format!("device: {}{}", device.describe(), units(device, precision)));
        }
        Ok(devices)
    }

    /// Opens the device asked for, as tuned, and says on stderr which it is.
    pub fn open(&self) -> anyhow::Result<Device> {
        self.open_for(Precision::F32)
    }

    /// As [`open`](Context::open); for half precision with the matrix units, if the device has any.
    pub fn open_for(&self, precision: Precision) -> anyhow::Result<Device> {
        let device = match &self.global.device {
            DeviceChoice::Cpu => Device::Cpu(self.cpu()?),
            choice => match Device::open_with(choice, &options(precision)?)? {
                // `auto` came to the CPU.
                Device::Cpu(_) => Device::Cpu(self.cpu()?),
                gpu => gpu,
            },
        };
        let software = device.gpu().is_some_and(|gpu| gpu.report().is_software());
        let note = if software { " (software: far slower than --device cpu)" } else { "" };
        let tuned = match device.gpu().and_then(|gpu| gpu.tuning()) {
            Some(tuning) => {
                format!(" (tuned: {} of {} guesses changed)", tuning.changed(), tuning.measured())
            }
            None => String::new(),
        };
        note_line(&format!("device: {}{note}{tuned}{}", device.describe(), units(&device, precision)));
        Ok(device)
    }
}

fn options(precision: Precision) -> anyhow::Result<GpuOptions> {
    let mut options = GpuOptions::from_env()?;
    options.cooperative_matrix_if_any = precision == Precision::F16;
    Ok(options)
}

/// Whether products in half precision are done by matrix units.
fn units(device: &Device, precision: Precision) -> &'static str {
    let gpu = device.gpu().filter(|_| precision == Precision::F16);
    match gpu.map(|gpu| MatrixUnit::of(gpu.caps())) {
        None => "",
        Some(Some(_)) if gpu.is_some_and(|gpu| gpu.caps().software) => " (matrix units: imitated, not used)",
        Some(Some(MatrixUnit::M8 | MatrixUnit::M8Narrow)) => " (matrix units: 8x8x8)",
        Some(Some(_)) => " (matrix units: 16x16x16)",
        Some(None) => " (matrix units: none that can be used)",
    }
}

/// A line for people on stderr, dim on a terminal.
pub fn note_line(text: &str) {
    let colour = Colour::of(&std::io::stderr());
    let _ = writeln!(std::io::stderr(), "{}", colour.dim(text));
}

/// A bar on stderr over `len` parts, hidden where stderr is no terminal.
pub fn progress(len: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(len), draw_target());
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {percent:>3} %  {elapsed}  {msg}") {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn draw_target() -> ProgressDrawTarget {
    if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(10)
    } else {
        ProgressDrawTarget::hidden()
    }
}

/// Set by Ctrl-C once [`Interrupt::catch`] was called.
#[derive(Clone, Copy)]
pub struct Interrupt(&'static AtomicBool);

/// Whether Ctrl-C was pressed.
static PRESSED: AtomicBool = AtomicBool::new(false);
/// Whether the work looks at [`PRESSED`].
static LOOKED_AT: AtomicBool = AtomicBool::new(false);
static HANDLER: OnceLock<Result<(), String>> = OnceLock::new();

impl Interrupt {
    /// The first thing that the process does: from here on Ctrl-C (or SIGTERM) ends it with the exit code of an interrupt, not by the
    /// signal itself.
    pub fn install() {
        HANDLER.get_or_init(|| {
            ctrlc::set_handler(|| {
                let pressed_before = PRESSED.swap(true, Ordering::SeqCst);
                if pressed_before || !LOOKED_AT.load(Ordering::SeqCst) {
                    end();
                }
            })
            .map_err(|e| e.to_string())
        });
    }

    /// From here on Ctrl-C sets a flag that the work must look at; a second one ends the process at once.
    pub fn catch() -> anyhow::Result<Interrupt> {
        Interrupt::install();
        LOOKED_AT.store(true, Ordering::SeqCst);
        match HANDLER.get() {
            Some(Err(e)) => anyhow::bail!("cannot listen for Ctrl-C: {e}"),
            _ => Ok(Interrupt(&PRESSED)),
        }
    }

    /// Whether it was pressed.
    pub fn pressed(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Ends the process at once.
fn end() -> ! {
    // SAFETY: it does not return. `exit` would run the destructors of graphics drivers while other threads use them.
    #[cfg(unix)]
    unsafe {
        libc::_exit(INTERRUPTED.into())
    }
    #[cfg(not(unix))]
    std::process::exit(INTERRUPTED.into())
}

/// A write beyond `ulimit -f` is then an error like that of a full disk, and no signal that ends the process with its file half written.
pub fn ignore_file_size_signal() {
    // SAFETY: no handler is installed, so nothing runs when the signal comes.
    #[cfg(unix)]
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// The right to write a file, which no other process may have meanwhile; `option` gives it another name.
pub fn alone(path: &Path, option: &str) -> anyhow::Result<WriteLock> {
    let lock = WriteLock::take(path).with_context(|| format!("cannot write {}", path.display()))?;
    lock.with_context(|| {
        format!(
            "another run is writing {}: wait for its end, or give another name with {option}",
            path.display()
        )
    })
}

/// Writes to stdout. A reader that went away ends the program quietly.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        result => result.context("cannot write to stdout"),
    }
}

/// Writes a value to stdout as JSON.
pub fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}
