//! The verdict on the two pools (SPEC T1): ratios within the pairs, their median and interval, and the limits.
//!
//! Pure: takes what was measured, gives the report. Starts nothing and prints nothing.

use serde::{Deserialize, Serialize};

use super::stats::{median, median_interval};
use crate::table;

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

pub(crate) enum Limit {
    AtLeast(f64),
    AtMost(f64),
    /// Shown beside the others, not judged.
    None,
}

pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) value: fn(&Run) -> f64,
    limit: Limit,
}

pub(crate) const METRICS: [Metric; 5] = [
    Metric {
        name: "throughput_per_second",
        value: |run| run.throughput_per_second,
        limit: Limit::AtLeast(0.95),
    },
    Metric {
        name: "p50_us",
        value: |run| run.p50_us,
        limit: Limit::None,
    },
    Metric {
        name: "p99_us",
        value: |run| run.p99_us,
        limit: Limit::AtMost(1.05),
    },
    Metric {
        name: "p999_us",
        value: |run| run.p999_us,
        limit: Limit::None,
    },
    Metric {
        name: "peak_rss_bytes",
        value: |run| run.peak_rss_bytes,
        limit: Limit::AtMost(1.10),
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
    /// What the ratio must be, `None` where it is only shown.
    limit: Option<String>,
    pub(crate) pass: bool,
}

pub(crate) fn judge(pairs: &[Pair]) -> Report {
    let metrics: Vec<Verdict> = METRICS
        .iter()
        .map(|metric| {
            let ratios: Vec<f64> = pairs
                .iter()
                .map(|pair| (metric.value)(&pair.actor) / (metric.value)(&pair.keyed))
                .collect();
            let ratio = median(&ratios);
            let (limit, pass) = match metric.limit {
                Limit::AtLeast(limit) => (Some(format!(">= {limit:.2}")), ratio >= limit),
                Limit::AtMost(limit) => (Some(format!("<= {limit:.2}")), ratio <= limit),
                Limit::None => (None, true),
            };
            Verdict {
                name: metric.name,
                keyed_median: median(
                    &pairs
                        .iter()
                        .map(|pair| (metric.value)(&pair.keyed))
                        .collect::<Vec<_>>(),
                ),
                actor_median: median(
                    &pairs
                        .iter()
                        .map(|pair| (metric.value)(&pair.actor))
                        .collect::<Vec<_>>(),
                ),
                ratio_median: ratio,
                ratio_interval_95: median_interval(&ratios),
                limit,
                pass,
            }
        })
        .collect();
    let pass = metrics.iter().all(|verdict| verdict.pass);
    Report {
        pairs: pairs.len(),
        messages_per_run: pairs.first().map_or(0, |pair| pair.keyed.messages),
        metrics,
        pass,
    }
}

pub(crate) fn render(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .metrics
        .iter()
        .map(|verdict| {
            let (low, high) = verdict.ratio_interval_95;
            vec![
                verdict.name.to_owned(),
                format!("{:.0}", verdict.keyed_median),
                format!("{:.0}", verdict.actor_median),
                format!("{:.4}", verdict.ratio_median),
                format!("{low:.4} .. {high:.4}"),
                verdict.limit.clone().unwrap_or_else(|| "-".to_owned()),
                match (&verdict.limit, verdict.pass) {
                    (None, _) => "shown",
                    (_, true) => "ok",
                    (_, false) => "FAILED",
                }
                .to_owned(),
            ]
        })
        .collect();
    table::render(
        &[
            "median of",
            "keyed",
            "actor",
            "actor/keyed",
            "95 % interval",
            "limit",
            "result",
        ],
        &rows,
    )
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
        (0..5)
            .map(|_| Pair {
                keyed: keyed.clone(),
                actor: actor.clone(),
            })
            .collect()
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
