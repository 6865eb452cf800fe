//! How much more memory the system lets this process map.
//!
//! A software driver compiles kernels inside this process, and when an allocation of its compiler fails it ends the process
//! (llvmpipe of Mesa 22.3 does so under `ulimit -v`). No error of ours can come after that, so a limit that is too near is an error
//! before the driver is opened.

use super::DeviceError;

/// What a software driver may take with a plan of ordinary size: llvmpipe took 0.2 to 0.5 GB for a sampler.
const SOFTWARE_DRIVER: u64 = 1 << 30;

/// Whether a software driver has room in this process.
///
/// # Errors
/// [`DeviceError::Open`] if a limit of the process's address space leaves less than 1 GiB.
pub(super) fn for_software(device: &str) -> Result<(), DeviceError> {
    match left() {
        Some(have) if have < SOFTWARE_DRIVER => Err(DeviceError::Open {
            device: device.to_owned(),
            message: format!(
                "a software driver works inside this program and needs {} MiB of memory there, but the limit on it \
                 (ulimit -v) leaves {} MiB; raise the limit or use the CPU executor with 'cpu'",
                SOFTWARE_DRIVER >> 20,
                have >> 20
            ),
        }),
        _ => Ok(()),
    }
}

/// Bytes of address space that this process may still map; None where there is no limit, or none that can be known.
fn left() -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).ok();
    between(&read("limits")?, &read("status")?)
}

/// [`left`] from the texts of Linux's `/proc/self/limits` and `/proc/self/status`.
fn between(limits: &str, status: &str) -> Option<u64> {
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let limit: u64 = limit.split_whitespace().next()?.parse().ok()?;
    let mapped = status.lines().find_map(|line| line.strip_prefix("VmSize:"))?;
    let kib: u64 = mapped.split_whitespace().next()?.parse().ok()?;
    Some(limit.saturating_sub(kib.saturating_mul(1024)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_less_what_is_mapped_is_left() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max cpu time              unlimited            unlimited            seconds   \n\
                      Max address space         900000000            unlimited            bytes     \n";
        let status = "Name:\tadvect\nVmPeak:\t  500000 kB\nVmSize:\t  400000 kB\nVmLck:\t       0 kB\n";
        assert_eq!(between(limits, status), Some(900_000_000 - 400_000 * 1024));
        assert_eq!(between(&limits.replace("900000000", "unlimited"), status), None);
        assert_eq!(between(&limits.replace("900000000", "1000"), status), Some(0));
        assert_eq!(between("", ""), None);
    }
}
