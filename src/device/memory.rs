//! How much memory the host can still give. Linux hands out addresses that it has no memory for and ends the process when
//! they are touched, so a large request is measured first; other systems refuse the request itself.

/// Bytes that the host can still give, as far as the system says: the free memory of the machine and of the control group
/// that the process runs in.
pub fn available() -> Option<u64> {
    let machine = machine()?;
    Some(group().map_or(machine, |group| machine.min(group)))
}

fn machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// What a container may still take (version 2 of the control groups; "max" is no limit).
fn group() -> Option<u64> {
    let number = |name: &str| -> Option<u64> {
        std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse().ok()
    };
    // Cached files count as used, but make room.
    let stat = std::fs::read_to_string("/sys/fs/cgroup/memory.stat").unwrap_or_default();
    let cached = stat.lines().find_map(|l| l.strip_prefix("inactive_file ")?.parse().ok()).unwrap_or(0);
    Some((number("memory.max")? + cached).saturating_sub(number("memory.current")?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_memory() {
        if let Some(bytes) = super::available() {
            assert!(bytes > 1 << 20, "{bytes}");
        }
    }
}
