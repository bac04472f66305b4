//! The verdict on the two pools (SPEC T1): ratios within the pairs, their median and interval, and
//! the limits.
//!
//! Pure: takes what was measured, gives the report. Starts nothing and prints nothing.

use serde::{Deserialize, Serialize};

use super::stats::{median, median_interval};
use xtask_base::table;

/// What the worker prints for one run.
#[derive(Deserialize, Clone)]
pub(crate) struct Run {
    pub(crate) pool: String,
    pub(crate) messages: u64,
    pub(crate) seconds: f64,
    pub(crate) throughput_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) peak_rss_bytes: f64,
    /// Latency in microseconds and how many messages had it.
    pub(crate) histogram: Vec<(f64, u64)>,
}

pub(crate) struct Pair {
    pub(crate) keyed: Run,
    pub(crate) actor: Run,
}

/// What the median ratio actor / keyed must keep to.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl Limit {
    fn is_kept_by(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(limit) => ratio >= limit,
            Self::AtMost(limit) => ratio <= limit,
        }
    }
}

pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) value: fn(&Run) -> f64,
    /// `None`: shown beside the others, not judged.
    limit: Option<Limit>,
}

pub(crate) const METRICS: [Metric; 5] = [
    Metric {
        name: "throughput_per_second",
        value: |run| run.throughput_per_second,
        limit: Some(Limit::AtLeast(0.95)),
    },
    Metric { name: "p50_us", value: |run| run.p50_us, limit: None },
    Metric { name: "p99_us", value: |run| run.p99_us, limit: Some(Limit::AtMost(1.05)) },
    Metric { name: "p999_us", value: |run| run.p999_us, limit: None },
    Metric {
        name: "peak_rss_bytes",
        value: |run| run.peak_rss_bytes,
        limit: Some(Limit::AtMost(1.10)),
    },
];

#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) pairs: usize,
    pub(crate) messages_per_run: u64,
    pub(crate) metrics: Vec<Verdict>,
    pub(crate) pass: bool,
}

#[derive(Serialize)]
pub(crate) struct Verdict {
    pub(crate) name: &'static str,
    keyed_median: f64,
    actor_median: f64,
    /// Median of actor / keyed within the pairs.
    ratio_median: f64,
    ratio_interval_95: (f64, f64),
    /// Of each pair, so that runs that were made in parts can be judged together.
    ratios: Vec<f64>,
    limit: Option<Limit>,
    pub(crate) pass: bool,
}

/// Judges the median of the ratios within the pairs.
pub(crate) fn judge(pairs: &[Pair]) -> Report {
    let verdict = |metric: &Metric| {
        let side = |side: fn(&Pair) -> &Run| -> Vec<f64> {
            pairs.iter().map(|pair| (metric.value)(side(pair))).collect()
        };
        let (keyed, actor) = (side(|pair| &pair.keyed), side(|pair| &pair.actor));
        let ratios: Vec<f64> =
            actor.iter().zip(&keyed).map(|(actor, keyed)| actor / keyed).collect();
        let ratio = median(&ratios);
        Verdict {
            name: metric.name,
            keyed_median: median(&keyed),
            actor_median: median(&actor),
            ratio_median: ratio,
            ratio_interval_95: median_interval(&ratios),
            ratios,
            limit: metric.limit,
            pass: metric.limit.is_none_or(|limit| limit.is_kept_by(ratio)),
        }
    };
    let metrics: Vec<Verdict> = METRICS.iter().map(verdict).collect();
    let pass = metrics.iter().all(|verdict| verdict.pass);
    Report {
        pairs: pairs.len(),
        messages_per_run: pairs.first().map_or(0, |pair| pair.keyed.messages),
        metrics,
        pass,
    }
}

/// The table for people.
pub(crate) fn render(report: &Report) -> String {
    let row = |verdict: &Verdict| {
        let (low, high) = verdict.ratio_interval_95;
        let (limit, result) = match verdict.limit {
            None => ("-".to_owned(), "shown"),
            Some(Limit::AtLeast(limit)) => (format!(">= {limit:.2}"), word(verdict.pass)),
            Some(Limit::AtMost(limit)) => (format!("<= {limit:.2}"), word(verdict.pass)),
        };
        vec![
            verdict.name.to_owned(),
            table::number(verdict.keyed_median),
            table::number(verdict.actor_median),
            format!("{:.4}", verdict.ratio_median),
            format!("{low:.4} .. {high:.4}"),
            limit,
            result.to_owned(),
        ]
    };
    let header = ["median of", "keyed", "actor", "actor/keyed", "95 % interval", "limit", "result"];
    table::render(&header, &report.metrics.iter().map(row).collect::<Vec<_>>())
}

fn word(pass: bool) -> &'static str {
    if pass { "ok" } else { "FAILED" }
}

#[cfg(test)]
mod tests {
    use super::{Pair, Run, judge, render};

    fn pairs(change: impl Fn(&mut Run)) -> Vec<Pair> {
        let keyed = Run {
            pool: "keyed".to_owned(),
            messages: 10,
            seconds: 0.5,
            throughput_per_second: 20.0,
            p50_us: 5.0,
            p99_us: 9.5,
            p999_us: 10.0,
            peak_rss_bytes: 1000.0,
            histogram: vec![(5.0, 9), (9.5, 1)],
        };
        let mut actor = keyed.clone();
        change(&mut actor);
        (0..5).map(|_| Pair { keyed: keyed.clone(), actor: actor.clone() }).collect()
    }

    #[test]
    fn each_limit_is_judged_by_the_median_ratio() {
        assert!(judge(&pairs(|_| {})).pass);
        assert!(judge(&pairs(|run| run.throughput_per_second *= 0.951)).pass);
        assert!(!judge(&pairs(|run| run.throughput_per_second *= 0.949)).pass);
        assert!(judge(&pairs(|run| run.p99_us *= 1.049)).pass);
        assert!(!judge(&pairs(|run| run.p99_us *= 1.051)).pass);
        assert!(judge(&pairs(|run| run.peak_rss_bytes *= 1.099)).pass);
        assert!(!judge(&pairs(|run| run.peak_rss_bytes *= 1.101)).pass);
        assert!(judge(&pairs(|run| run.p999_us *= 3.0)).pass, "shown only");
    }

    #[test]
    fn one_wild_pair_does_not_decide() {
        let mut all = pairs(|_| {});
        all[0].actor.p99_us *= 100.0;
        let report = judge(&all);
        assert!(report.pass);
        assert!(
            report
                .metrics
                .iter()
                .any(|verdict| verdict.name == "p99_us" && verdict.ratio_interval_95.0 <= 1.0)
        );
        assert!(render(&report).contains("<= 1.05"));
    }
}
