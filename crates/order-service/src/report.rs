//! The figures of a run (counters, latencies, recovery mode), and the final report as a table and
//! as JSON.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use buslane::config::{BacklogConfig, RecoveryConfig};
use buslane::{BusEvent, Config, EventBus, RateLimit, RecoveryPhase};
use hdrhistogram::Histogram;
use indicatif::HumanCount;
use parking_lot::Mutex;
use serde::Serialize;

use super::options::Role;
use super::rollout::RolloutHistory;

/// The content of `--report`. Other programs read it: keys are never renamed.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    backend: &'static str,
    pool: &'static str,
    published: u64,
    handled: u64,
    failed_attempts: u64,
    dead_lettered: u64,
    order_violations: u64,
    lost: u64,
    duplicates: u64,
    restarts: u64,
    seconds: f64,
    throughput_per_second: f64,
    latency_ms: Latency,
    recovery: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout: Option<RolloutHistory>,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
    p999: f64,
}

/// Notes that the table shows beside the report.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// How the run ended.
    pub(crate) title: String,
    /// The source of the pool's choice.
    pub(crate) chosen_by: String,
    /// Regular messages that failed, which is final.
    pub(crate) dropped: u64,
    /// Messages of other runs.
    pub(crate) foreign: u64,
    /// Further remarks.
    pub(crate) remarks: Vec<String>,
}

pub(crate) fn create(path: &Path) -> Result<File, String> {
    File::create(path)
        .map_err(|why| format!("--report {}: cannot be written: {why}", path.display()))
}

impl Report {
    #[allow(clippy::cast_precision_loss, reason = "no run has 2^53 messages")]
    pub(crate) fn new(
        bus: &EventBus,
        counters: &Counters,
        counts: &Counts,
        role: Role,
        recovery: Summary,
        rollout: Option<RolloutHistory>,
    ) -> Self {
        let latencies = counters.latencies();
        let work = if role.consumes() { counts.handled } else { counts.published };
        let lost =
            if role == Role::All { counts.published.saturating_sub(counts.ended()) } else { 0 };
        Self {
            backend: bus.config().backend().as_str(),
            pool: bus.status().pool,
            published: counts.published,
            handled: counts.handled,
            failed_attempts: counts.failed_attempts,
            dead_lettered: counts.dead_lettered,
            order_violations: counts.violations,
            lost,
            duplicates: counts.duplicates,
            restarts: bus.pool_stats().restarts,
            seconds: counts.seconds,
            throughput_per_second: if counts.seconds > 0.0 {
                work as f64 / counts.seconds
            } else {
                0.0
            },
            latency_ms: Latency {
                p50: percentile_ms(&latencies, 0.50),
                p99: percentile_ms(&latencies, 0.99),
                p999: percentile_ms(&latencies, 0.999),
            },
            recovery,
            rollout,
        }
    }

    /// Whether nothing was lost and no order violated.
    pub(crate) const fn is_good(&self) -> bool {
        self.lost == 0 && self.order_violations == 0
    }

    #[allow(clippy::print_stdout, reason = "the table is what the program is for")]
    pub(crate) fn print(&self, notes: &Notes) {
        let count = |number: u64| HumanCount(number).to_string();
        let Latency { p50, p99, p999 } = self.latency_ms;
        let mut rows = vec![
            ("pool", format!("{} (chosen by {})", self.pool, notes.chosen_by)),
            ("broker", self.backend.to_owned()),
            ("published", count(self.published)),
            ("handled", count(self.handled)),
            ("retried (failed attempts)", count(self.failed_attempts)),
            ("dead-lettered", count(self.dead_lettered)),
            ("regular, failed for good", count(notes.dropped)),
            ("order violations", count(self.order_violations)),
            ("lost", count(self.lost)),
            ("duplicates", count(self.duplicates)),
            ("actor restarts", count(self.restarts)),
            ("time", format!("{:.2} s", self.seconds)),
            ("throughput", format!("{:.0} messages/s", self.throughput_per_second)),
            ("latency p50 / p99 / p99.9", format!("{p50:.1} / {p99:.1} / {p999:.1} ms")),
        ];
        let Summary { entered, left, seconds } = self.recovery;
        if entered > 0 {
            rows.push((
                "recovery mode",
                format!("entered {entered}, left {left}, on for {seconds:.1} s"),
            ));
        }
        if notes.foreign > 0 {
            rows.push(("of other runs, ignored", count(notes.foreign)));
        }
        rows.extend(self.rollout.iter().flat_map(RolloutHistory::rows));
        println!("\n{}\n", notes.title);
        for (name, value) in rows {
            println!("  {name:<26} {value}");
        }
        for remark in &notes.remarks {
            println!("\n  {remark}");
        }
    }

    pub(crate) fn write(&self, mut file: File) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        writeln!(file, "{text}").map_err(|error| format!("--report: not written: {error}"))
    }
}

/// Latencies are kept in microseconds up to an hour, to three digits.
const HOUR_US: u64 = 3_600_000_000;
const SHARDS: usize = 4;

/// Running counters.
pub(crate) struct Counters {
    pub(crate) published: AtomicU64,
    /// Messages whose handler said done, each counted once.
    pub(crate) handled: AtomicU64,
    pub(crate) failed_attempts: AtomicU64,
    pub(crate) dead_lettered: AtomicU64,
    /// Regular messages whose handler failed, which is final.
    pub(crate) dropped: AtomicU64,
    pub(crate) violations: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    /// Messages of other runs.
    pub(crate) foreign: AtomicU64,
    first_ns: AtomicU64,
    last_ns: AtomicU64,
    latency: [Mutex<Histogram<u64>>; SHARDS],
}

/// The counts of one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) published: u64,
    pub(crate) handled: u64,
    pub(crate) failed_attempts: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) dropped: u64,
    pub(crate) violations: u64,
    pub(crate) duplicates: u64,
    pub(crate) foreign: u64,
    /// Time from the first to the last event.
    pub(crate) seconds: f64,
}

impl Counts {
    /// Messages that are over.
    pub(crate) const fn ended(&self) -> u64 {
        self.handled + self.dead_lettered + self.dropped
    }
}

impl Counters {
    pub(crate) fn new() -> Self {
        let histogram = || {
            Histogram::new_with_bounds(1, HOUR_US, 3).expect("constant bounds that are in order")
        };
        Self {
            published: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            failed_attempts: AtomicU64::new(0),
            dead_lettered: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            violations: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            foreign: AtomicU64::new(0),
            first_ns: AtomicU64::new(u64::MAX),
            last_ns: AtomicU64::new(0),
            latency: std::array::from_fn(|_| Mutex::new(histogram())),
        }
    }

    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Marks an event: seconds are counted from the first to the last of them.
    pub(crate) fn happened(&self, now_ns: u64) {
        if self.first_ns.load(Relaxed) > now_ns {
            self.first_ns.fetch_min(now_ns, Relaxed);
        }
        self.last_ns.fetch_max(now_ns, Relaxed);
    }

    /// Time of the last event; 0 before the first.
    pub(crate) fn last_ns(&self) -> u64 {
        self.last_ns.load(Relaxed)
    }

    /// `messages` took `ns` each.
    pub(crate) fn took(&self, ns: u64, messages: u64) {
        // The last digits of a time are as good as a random shard.
        let shard = usize::try_from(ns).unwrap_or(0) % SHARDS;
        self.latency[shard].lock().saturating_record_n(ns / 1000, messages);
    }

    pub(crate) fn latencies(&self) -> Histogram<u64> {
        let mut all = self.latency[0].lock().clone();
        for shard in &self.latency[1..] {
            all.add(&*shard.lock()).expect("histograms of the same bounds");
        }
        all
    }

    pub(crate) fn counts(&self) -> Counts {
        let (first, last) = (self.first_ns.load(Relaxed), self.last_ns.load(Relaxed));
        // Ended messages are read before published ones, so that they are never more.
        let (handled, dead_lettered) =
            (self.handled.load(Relaxed), self.dead_lettered.load(Relaxed));
        let dropped = self.dropped.load(Relaxed);
        Counts {
            handled,
            dead_lettered,
            dropped,
            published: self.published.load(Relaxed),
            failed_attempts: self.failed_attempts.load(Relaxed),
            violations: self.violations.load(Relaxed),
            duplicates: self.duplicates.load(Relaxed),
            foreign: self.foreign.load(Relaxed),
            seconds: std::time::Duration::from_nanos(last.saturating_sub(first)).as_secs_f64(),
        }
    }
}

/// A percentile in milliseconds.
#[allow(clippy::cast_precision_loss, reason = "an hour in microseconds fits a double exactly")]
pub(crate) fn percentile_ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}

/// Recovery mode in the report.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) entered: u64,
    pub(crate) left: u64,
    /// Time in recovery mode.
    pub(crate) seconds: f64,
}

/// Listens to a bus.
#[derive(Clone, Default)]
pub(crate) struct Recoveries(Arc<Mutex<(Summary, Option<Instant>)>>);

impl Recoveries {
    pub(crate) fn of(bus: &EventBus) -> Self {
        let recoveries = Self::default();
        let into = recoveries.clone();
        bus.on_event(move |event| into.record(event));
        recoveries
    }

    fn record(&self, event: &BusEvent) {
        let BusEvent::Recovery { before, now } = event else { return };
        let (summary, since) = &mut *self.0.lock();
        match (before, now.phase) {
            (RecoveryPhase::Off, _) => {
                summary.entered += 1;
                *since = Some(Instant::now());
            }
            (_, RecoveryPhase::Off) => {
                summary.left += 1;
                summary.seconds += since.take().map_or(0.0, |since| since.elapsed().as_secs_f64());
            }
            _ => {}
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        let (mut summary, since) = *self.0.lock();
        summary.seconds += since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        summary
    }
}

/// Sets unconfigured values: 20,000 messages a second, a check every second, a ramp of 5 seconds.
pub(crate) fn hasten(config: &mut Config) {
    if config.recovery == RecoveryConfig::default() && config.backlog == BacklogConfig::default() {
        config.recovery.rate = Some(RateLimit::new(20_000, 2_000));
        config.recovery.ramp = Duration::from_secs(5);
        config.backlog.check_interval = Duration::from_secs(1);
        // What is spread over many partitions is a backlog too.
        config.backlog.messages = 100;
    }
}
