//! The final table, for people and as JSON.

use crate::{
    options::Role,
    recovery::Summary,
    story::Story,
    tally::{Counts, Tally, percentile_ms},
};
use buslane::EventBus;
use indicatif::HumanCount;
use serde::Serialize;
use std::{fs::File, io::Write, path::Path};

/// What is written to `--report`. Others read it: keys are never renamed.
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
    rollout: Option<Story>,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
    p999: f64,
}

/// What the table says beside the report.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// How the run ended.
    pub(crate) title: String,
    /// Who chose the pool.
    pub(crate) chosen_by: String,
    /// Regular messages that failed, which is final.
    pub(crate) dropped: u64,
    /// Messages that some other run has published.
    pub(crate) foreign: u64,
    /// What else a person should know.
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
        tally: &Tally,
        counts: &Counts,
        role: Role,
        recovery: Summary,
        rollout: Option<Story>,
    ) -> Self {
        let latencies = tally.latencies();
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
        rows.extend(self.rollout.iter().flat_map(Story::rows));
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
