//! Medians and their intervals. Deterministic: the same figures give the same interval on every
//! machine and run.

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
    use super::{median, median_interval};

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
