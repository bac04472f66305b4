//! A latency distribution: the runs' histograms added up and accumulated. Knows nothing of how it
//! is drawn.

/// One distribution: latencies in microseconds with the share of messages that were no slower.
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Curve {
    /// Sorts and accumulates a histogram of (microseconds, count); equal latencies may stand in it
    /// several times.
    #[allow(clippy::cast_precision_loss, reason = "message counts are far below 2^53")]
    pub(crate) fn new(name: &str, mut histogram: Vec<(f64, u64)>) -> Self {
        histogram.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        histogram.dedup_by(|next, kept| {
            let same = next.0.total_cmp(&kept.0).is_eq();
            kept.1 += if same { next.1 } else { 0 };
            same
        });
        let total: u64 = histogram.iter().map(|(_, count)| count).sum();
        let mut seen = 0;
        let points = histogram
            .into_iter()
            .filter(|&(_, count)| count > 0)
            .map(|(latency, count)| {
                seen += count;
                // A logarithmic axis has no 0: what is below a tenth of a microsecond is drawn
                // there.
                (latency.max(0.1), seen as f64 / total as f64)
            })
            .collect();
        Self { name: name.to_owned(), points }
    }

    /// The latency that this share of the messages kept to.
    pub(crate) fn at(&self, share: f64) -> f64 {
        self.points
            .iter()
            .find(|(_, reached)| *reached >= share)
            .or(self.points.last())
            .map_or(0.0, |(latency, _)| *latency)
    }
}

#[cfg(test)]
mod tests {
    use super::Curve;

    #[test]
    fn a_histogram_becomes_a_distribution() {
        let curve = Curve::new("a", vec![(30.0, 1), (10.0, 5), (20.0, 3), (10.0, 1), (40.0, 0)]);
        assert_eq!(curve.points, [(10.0, 0.6), (20.0, 0.9), (30.0, 1.0)]);
        assert_eq!([0.5, 0.9, 0.99].map(|share| curve.at(share)), [10.0, 20.0, 30.0]);
    }
}
