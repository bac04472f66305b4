//! Readings of the process: the time of its runtime, and its resident memory. Pure rules take both
//! as arguments.

use std::time::Instant;

/// The clock that the runtime sleeps by, so that a test can pause it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Resident memory in bytes; `None` where the system does not report it. Only Linux does so
/// without a library.
pub(crate) fn resident_memory() -> Option<u64> {
    resident_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn resident_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o3_resident_memory_is_read() {
        assert_eq!(
            resident_in("Name:\tx\nVmRSS:\t   12345 kB\nThreads:\t2\n"),
            Some(12_345 * 1_024)
        );
        assert_eq!(resident_in("Name:\tx\n"), None);
        if cfg!(target_os = "linux") {
            assert!(resident_memory().unwrap() > 100_000);
        }
    }
}
