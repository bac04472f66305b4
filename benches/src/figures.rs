//! Figures beside their limits: measured in turns, judged by medians, one JSON line each.
#![allow(clippy::print_stdout, reason = "the lines are what the programs are for")]

use std::fs;
use std::time::Duration;

use serde_json::json;
use tokio::runtime::{Builder, Runtime};

/// How a figure is judged.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// By itself.
    ValueAtMost(f64),
    /// By itself.
    ValueAtLeast(f64),
    /// As a multiple of its limit.
    RatioAtMost(f64),
    /// As a part of its limit.
    RatioAtLeast(f64),
}

/// Prints figures and remembers whether all were good.
#[derive(Debug)]
pub struct Figures {
    chosen: Vec<String>,
    all_good: bool,
}

impl Figures {
    /// The figures whose names begin with one of `chosen`; all when it is empty.
    #[must_use]
    pub const fn new(chosen: Vec<String>) -> Self {
        Self { chosen, all_good: true }
    }

    /// Whether every figure met its target.
    #[must_use]
    pub const fn all_good(&self) -> bool {
        self.all_good
    }

    /// Whether a figure was chosen.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.chosen.is_empty() || self.chosen.iter().any(|start| name.starts_with(start.as_str()))
    }

    /// Whether a figure whose name begins so may have been chosen.
    #[must_use]
    pub fn wants_some_of(&self, group: &str) -> bool {
        self.wants(group) || self.chosen.iter().any(|start| start.starts_with(group))
    }

    /// Measures `(value, limit)` in turns, if the figure was chosen, and judges it.
    pub fn figure(
        &mut self,
        turns: usize,
        name: &str,
        target: Target,
        turn: impl FnMut() -> (f64, f64),
    ) {
        if self.wants(name) {
            let turns: Vec<(f64, f64)> = std::iter::repeat_with(turn).take(turns).collect();
            self.judge(name, target, &turns);
        }
    }

    /// Prints the medians of `(value, limit)`, if the figure was chosen. The ratio is the median of
    /// the ratios of the turns.
    pub fn judge(&mut self, name: &str, target: Target, turns: &[(f64, f64)]) {
        if !self.wants(name) {
            return;
        }
        let value = median(turns.iter().map(|turn| turn.0));
        let limit = median(turns.iter().map(|turn| turn.1));
        let ratio = median(turns.iter().map(|turn| turn.0 / turn.1));
        let (pass, target) = match target {
            Target::ValueAtMost(most) => (value <= most, format!("value <= {most}")),
            Target::ValueAtLeast(least) => (value >= least, format!("value >= {least}")),
            Target::RatioAtMost(most) => (ratio <= most, format!("ratio <= {most}")),
            Target::RatioAtLeast(least) => (ratio >= least, format!("ratio >= {least}")),
        };
        let line = json!({
            "name": name, "value": value, "limit": limit, "ratio": ratio, "target": target, "pass": pass,
            "turns": turns.len(),
            "value_range": range(turns.iter().map(|turn| turn.0)),
            "limit_range": range(turns.iter().map(|turn| turn.1)),
            "ratio_range": range(turns.iter().map(|turn| turn.0 / turn.1)),
        });
        println!("{line}");
        self.all_good &= pass;
    }
}

/// The lowest and the highest value: of three to nine turns a median has no narrower interval.
fn range(values: impl Iterator<Item = f64>) -> [f64; 2] {
    values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| {
        [low.min(value), high.max(value)]
    })
}

/// The cost of a number of messages.
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

/// A runtime of two worker threads, as all figures are stated for.
///
/// # Panics
/// When the machine refuses threads.
#[must_use]
pub fn two_threads() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime of two threads")
}
