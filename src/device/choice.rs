//! Which device is meant by `auto|cpu|gpu|<index>|<part of the name>`. Pure functions over the adapters' reports.

use super::{AdapterKind, AdapterReport, AutoVerdict, DeviceError};
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// What a person asked for. Parsing never fails; resolving against the machine may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A real GPU if there is one (discrete before integrated before others), else the CPU executor.
    #[default]
    Auto,
    /// The CPU executor.
    Cpu,
    /// A GPU: a real one if there is one, else a software adapter.
    Gpu,
    /// Every real GPU (the CPU executor if there is none): for what can be shared out.
    All,
    /// The adapter at this place in [`enumerate`](super::enumerate).
    Index(usize),
    /// The best adapter whose name contains this, in any case.
    Name(String),
}

impl FromStr for DeviceChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let text = text.trim();
        Ok(match text.to_lowercase().as_str() {
            "" | "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            "gpu" => Self::Gpu,
            "all" => Self::All,
            _ => text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Index),
        })
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu => f.write_str("gpu"),
            Self::All => f.write_str("all"),
            Self::Index(index) => write!(f, "{index}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// What a choice comes to on one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    /// The CPU executor.
    Cpu,
    /// The adapter with this index.
    Adapter(usize),
}

/// Resolves a choice against the adapters of a machine.
pub(super) fn resolve(choice: &DeviceChoice, reports: &[AdapterReport]) -> Result<Pick, DeviceError> {
    let unknown = || DeviceError::UnknownDevice { asked: choice.to_string(), available: available(reports) };
    match choice {
        DeviceChoice::Cpu => Ok(Pick::Cpu),
        DeviceChoice::Auto => Ok(real_gpus(reports).first().map_or(Pick::Cpu, |&i| Pick::Adapter(i))),
        DeviceChoice::All => Err(DeviceError::Several),
        DeviceChoice::Gpu => best(reports, |r| r.compute).ok_or_else(no_adapter),
        DeviceChoice::Index(index) => {
            if reports.iter().any(|r| r.index == *index) {
                return Ok(Pick::Adapter(*index));
            }
            // '4090' is more likely a model than the 4091st adapter.
            let model = index.to_string();
            let numbers = |r: &AdapterReport| r.name.split(|c: char| !c.is_ascii_digit()).any(|n| n == model);
            best(reports, numbers).ok_or_else(unknown)
        }
        DeviceChoice::Name(name) => {
            let name = name.to_lowercase();
            best(reports, |r| r.name.to_lowercase().contains(&name)).ok_or_else(unknown)
        }
    }
}

/// Indices of the real GPUs that can compute, the one `auto` prefers first.
pub(super) fn real_gpus(reports: &[AdapterReport]) -> Vec<usize> {
    let mut real: Vec<_> = reports.iter().filter(|r| r.compute && !r.is_software()).collect();
    real.sort_by_key(|r| rank(r));
    real.iter().map(|r| r.index).collect()
}

/// Indices of the real GPUs, each once: a card that several drivers show counts for the one that `auto` would take.
pub(super) fn all_gpus(reports: &[AdapterReport]) -> Vec<usize> {
    let report = |index: usize| reports.iter().find(|r| r.index == index);
    let mut taken: Vec<&AdapterReport> = Vec::new();
    for found in real_gpus(reports).into_iter().filter_map(report) {
        // Cards of one name under one backend are several; under another they are the same ones again.
        if taken.iter().all(|t| t.name != found.name || t.backend == found.backend) {
            taken.push(found);
        }
    }
    taken.iter().map(|r| r.index).collect()
}

/// Writes into every report whether `auto` takes it and why.
pub(super) fn judge(reports: &mut [AdapterReport]) {
    let taken = real_gpus(reports).first().copied();
    let taken_name = taken.and_then(|i| reports.iter().find(|r| r.index == i)).map(|r| r.name.clone());
    for report in reports {
        let is_taken = taken == Some(report.index);
        let reason = match (&taken_name, report.device_type) {
            _ if is_taken && report.device_type == AdapterKind::Discrete => "a discrete GPU".to_owned(),
            _ if is_taken => "the best GPU here".to_owned(),
            _ if !report.compute => "it runs no compute shaders".to_owned(),
            (_, AdapterKind::Software) => {
                "a software adapter, slower than the CPU executor; ask for it with gpu, its index or its name"
                    .to_owned()
            }
            (Some(name), _) => format!("'{name}' comes before it"),
            (None, _) => "not considered".to_owned(),
        };
        report.auto = AutoVerdict { taken: is_taken, reason };
    }
}

/// The error for a machine without any adapter.
pub(super) fn no_adapter() -> DeviceError {
    let hint = if cfg!(target_os = "linux") {
        "install a Vulkan driver (Debian/Ubuntu: mesa-vulkan-drivers, or the vendor's) and the loader libvulkan1, \
         then look at `vulkaninfo --summary` (under a limit of memory, as `ulimit -v`, an installed driver looks like \
         none); or use the CPU executor with 'cpu'"
    } else if cfg!(target_os = "windows") {
        "install the GPU vendor's driver (DX12 or Vulkan); or use the CPU executor with 'cpu'"
    } else {
        "this machine shows no Metal or Vulkan device; use the CPU executor with 'cpu'"
    };
    DeviceError::NoAdapter { hint: hint.to_owned() }
}

/// Kind first; then DX12 after the others (naga's HLSL has no cooperative matrices); then the system's order.
fn rank(report: &AdapterReport) -> (AdapterKind, bool, usize) {
    (report.device_type, report.backend == "dx12", report.index)
}

fn best(reports: &[AdapterReport], fits: impl Fn(&AdapterReport) -> bool) -> Option<Pick> {
    reports.iter().filter(|r| fits(r)).min_by_key(|r| rank(r)).map(|r| Pick::Adapter(r.index))
}

fn available(reports: &[AdapterReport]) -> Vec<String> {
    let adapters = reports.iter().map(|r| format!("{} ({})", r.index, r.name));
    ["auto".to_owned(), "cpu".to_owned()].into_iter().chain(adapters).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::device::DeviceLimits;

    pub fn fake(index: usize, name: &str, device_type: AdapterKind, backend: &'static str) -> AdapterReport {
        AdapterReport {
            index,
            name: name.to_owned(),
            backend,
            driver: String::new(),
            driver_info: String::new(),
            device_type,
            compute: true,
            limits: DeviceLimits::from(&wgpu::Limits::default()),
            subgroups: None,
            shader_f16: false,
            timestamps: false,
            cooperative_matrix: Vec::new(),
            auto: AutoVerdict { taken: false, reason: String::new() },
        }
    }

    fn laptop() -> Vec<AdapterReport> {
        let mut reports = vec![
            fake(0, "llvmpipe (LLVM 15)", AdapterKind::Software, "vulkan"),
            fake(1, "Intel Iris Xe", AdapterKind::Integrated, "vulkan"),
            fake(2, "NVIDIA GeForce RTX 4090", AdapterKind::Discrete, "dx12"),
            fake(3, "NVIDIA GeForce RTX 4090", AdapterKind::Discrete, "vulkan"),
        ];
        judge(&mut reports);
        reports
    }

    fn pick(text: &str, reports: &[AdapterReport]) -> Result<Pick, DeviceError> {
        let Ok(choice) = text.parse::<DeviceChoice>();
        resolve(&choice, reports)
    }

    #[test]
    fn choices_survive_display_and_parse() {
        for text in ["auto", "cpu", "gpu", "all", "3", "Radeon"] {
            let Ok(choice) = text.parse::<DeviceChoice>();
            assert_eq!(choice.to_string(), text);
        }
    }

    #[test]
    fn auto_prefers_discrete_then_integrated_then_the_cpu() {
        let reports = laptop();
        assert_eq!(pick("auto", &reports), Ok(Pick::Adapter(3)));
        assert_eq!(pick("auto", &reports[..2]), Ok(Pick::Adapter(1)));
        assert_eq!(pick("auto", &reports[..1]), Ok(Pick::Cpu), "software only when asked");
        assert_eq!(pick("auto", &[]), Ok(Pick::Cpu));
        let mut no_compute = laptop();
        no_compute[3].compute = false;
        assert_eq!(pick("auto", &no_compute), Ok(Pick::Adapter(2)));
    }

    #[test]
    fn gpu_prefers_real_but_takes_software() {
        let reports = laptop();
        assert_eq!(pick("GPU", &reports), Ok(Pick::Adapter(3)));
        assert_eq!(pick("gpu", &reports[..1]), Ok(Pick::Adapter(0)));
        assert!(matches!(pick("gpu", &[]), Err(DeviceError::NoAdapter { .. })));
    }

    #[test]
    fn all_takes_every_card_once() {
        let mut reports = laptop();
        assert_eq!(all_gpus(&reports), [3, 1], "the same card under dx12 and vulkan is one");
        reports.push(fake(4, "NVIDIA GeForce RTX 4090", AdapterKind::Discrete, "vulkan"));
        assert_eq!(all_gpus(&reports), [3, 4, 1], "two cards of one kind are two");
        assert_eq!(all_gpus(&reports[..1]), [] as [usize; 0], "software is not real");
        assert!(matches!(pick("all", &reports), Err(DeviceError::Several)));
    }

    #[test]
    fn index_name_and_model_number() {
        let reports = laptop();
        assert_eq!(pick("1", &reports), Ok(Pick::Adapter(1)));
        assert_eq!(pick("iris", &reports), Ok(Pick::Adapter(1)));
        assert_eq!(pick("LLVMpipe", &reports), Ok(Pick::Adapter(0)));
        assert_eq!(pick("4090", &reports), Ok(Pick::Adapter(3)));
        for text in ["9", "radeon"] {
            let Err(DeviceError::UnknownDevice { asked, available }) = pick(text, &reports) else {
                panic!("{text} must be unknown")
            };
            assert_eq!(asked, text);
            assert_eq!(available.len(), 6, "auto, cpu and four adapters: {available:?}");
        }
    }

    #[test]
    fn every_report_says_why() {
        let reports = laptop();
        assert_eq!(reports.iter().filter(|r| r.auto.taken).map(|r| r.index).collect::<Vec<_>>(), [3]);
        assert!(reports.iter().all(|r| !r.auto.reason.is_empty()));
        assert!(reports[0].auto.reason.contains("software"));
    }
}
