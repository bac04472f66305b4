//! The verdict on the two pools (SPEC T1): ratios within the pairs, their median and interval, and
//! the limits.
//!
//! Pure: turns measurements into the report. Starts nothing and prints nothing.

use serde::{Deserialize, Serialize};
use xtask_base::table;

/// The JSON line of one run.
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

/// Limit of the median ratio actor / keyed.
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

/// The middle of the values; the mean of the two middle ones when their number is even.
///
/// # Panics
///
/// On no values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}

/// The 95 % interval of the median: the percentile bootstrap with 2,000 resamples.
///
/// # Panics
///
/// On no values.
pub(crate) fn median_interval(values: &[f64]) -> (f64, f64) {
    const RESAMPLES: usize = 2000;
    let mut random = SplitMix64(0x5eed);
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let resample: Vec<f64> =
                values.iter().map(|_| values[random.below(values.len())]).collect();
            median(&resample)
        })
        .collect();
    medians.sort_unstable_by(f64::total_cmp);
    (medians[RESAMPLES / 40], medians[RESAMPLES - 1 - RESAMPLES / 40])
}

/// A small random number generator (Steele, Lea, Flood 2014): enough to draw indices, not for
/// secrets.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "the result is below `bound`, which is a usize"
    )]
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::{Pair, Run, judge, median, median_interval, render};

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

    #[test]
    fn medians() {
        for (values, expected) in
            [(&[3.0][..], 3.0), (&[4.0, 1.0, 2.0], 2.0), (&[4.0, 1.0, 2.0, 3.0], 2.5)]
        {
            assert!((median(values) - expected).abs() < 1e-12, "{values:?}");
        }
    }

    #[test]
    fn the_interval_holds_the_median_and_repeats() {
        let values: Vec<f64> = (0..21).map(|i| 1.0 + f64::from(i) / 100.0).collect();
        let (low, high) = median_interval(&values);
        assert!(low < median(&values) && median(&values) < high, "{low} {high}");
        assert!(
            low > values[4] && high < values[16],
            "{low} {high}: order statistics 6 and 16 bound it in theory"
        );
        assert_eq!(median_interval(&values), (low, high));
    }

    #[test]
    fn equal_values_have_an_interval_of_no_width() {
        assert_eq!(median_interval(&[1.5; 9]), (1.5, 1.5));
    }

    #[test]
    fn the_interval_covers_the_true_median_about_as_often_as_it_says() {
        let mut random = super::SplitMix64(7);
        let mut covered = 0;
        for _ in 0..200 {
            let values: Vec<f64> = (0..20)
                .map(|_| f64::from(u32::try_from(random.below(1_000_000)).unwrap()) / 1e6)
                .collect();
            let (low, high) = median_interval(&values);
            covered += u32::from(low <= 0.5 && 0.5 <= high);
        }
        assert!((180..=200).contains(&covered), "{covered} of 200");
    }
}
