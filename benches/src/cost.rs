//! What a run cost, and what the kernel knows about this process. Linux only.

use std::{fs, time::Duration};

/// What a number of messages cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// How many they were.
    pub messages: u64,
    /// Time that passed.
    pub wall: Duration,
    /// Time that all threads ran.
    pub cpu: Duration,
}

impl Cost {
    /// Runs `work` and measures it.
    pub fn of<T>(messages: u64, work: impl FnOnce() -> T) -> (Self, T) {
        let (cpu, start) = (cpu_time(), std::time::Instant::now());
        let result = work();
        (Self { messages, wall: start.elapsed(), cpu: cpu_time().saturating_sub(cpu) }, result)
    }

    /// Microseconds of processor time a message.
    #[must_use]
    pub fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.count()
    }

    /// Messages a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.count() / self.wall.as_secs_f64()
    }

    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    const fn count(&self) -> f64 {
        self.messages as f64
    }
}

/// Time that the living threads of this process have run, to the nanosecond. Threads that ended are
/// not in it.
#[must_use]
pub fn cpu_time() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanoseconds = |task: fs::DirEntry| -> Option<u64> {
        fs::read_to_string(task.path().join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(tasks.filter_map(nanoseconds).sum())
}

/// The most memory that this process has had resident.
///
/// # Panics
/// Where the kernel does not say it.
#[must_use]
pub fn peak_rss_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a Linux kernel");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("VmHWM in /proc/self/status");
    let kilobytes =
        line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number of kB");
    kilobytes * 1024
}

/// The middle value; of an even number the upper of the two in the middle.
///
/// # Panics
/// On no values.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
