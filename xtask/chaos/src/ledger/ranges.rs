//! A set of numbers that are mostly without gaps, in little memory however many there are.

/// Ranges, both ends included, in order; neighbours never touch.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    ranges: Vec<(u64, u64)>,
    count: u64,
}

impl Ranges {
    /// Whether it was not there before.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= number);
        if after > 0 && number <= self.ranges[after - 1].1 {
            return false;
        }
        self.count += 1;
        let joins_before = after > 0 && self.ranges[after - 1].1 + 1 == number;
        let joins_after = self.ranges.get(after).is_some_and(|(first, _)| number + 1 == *first);
        match (joins_before, joins_after) {
            (true, true) => self.ranges[after - 1].1 = self.ranges.remove(after).1,
            (true, false) => self.ranges[after - 1].1 = number,
            (false, true) => self.ranges[after].0 = number,
            (false, false) => self.ranges.insert(after, (number, number)),
        }
        true
    }

    /// How many numbers it has.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// How many numbers from `first` to the highest are not there.
    pub(super) fn missing_from(&self, first: u64) -> u64 {
        self.ranges.last().map_or(0, |(_, last)| (last + 1 - first).saturating_sub(self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::Ranges;

    #[test]
    fn numbers_in_any_order_are_one_range_in_the_end() {
        let mut ranges = Ranges::default();
        for number in [5, 3, 9, 4, 1, 2, 8] {
            assert!(ranges.insert(number) && !ranges.insert(number), "{number}");
        }
        assert_eq!((ranges.count(), ranges.missing_from(0), ranges.missing_from(1)), (7, 3, 2));
        for number in [0, 6, 7] {
            assert!(ranges.insert(number));
        }
        assert_eq!((ranges.ranges.as_slice(), ranges.missing_from(0)), (&[(0, 9)][..], 0));
    }
}
