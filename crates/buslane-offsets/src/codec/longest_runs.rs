//! Selects the longest runs. Counts them by length, because runs have few different lengths and the
//! encoder asks for several counts.

/// Runs of at least this length are stored one by one.
const LONG: u32 = 4_096;

pub(super) struct LongestRuns<'a> {
    /// Start and end of each done run.
    bounds: &'a [u32],
    /// For each length up to `LONG`, the number of runs that are at least as long, and the number
    /// of their offsets.
    from: Vec<(usize, u64)>,
    /// The lengths of the runs of at least `LONG`, the longest first.
    long: Vec<u32>,
}

/// A selection: the runs longer than `length`, and `ties` runs of that length.
struct Selection {
    length: u32,
    ties: usize,
    named: u64,
}

impl<'a> LongestRuns<'a> {
    pub(super) fn of(bounds: &'a [u32]) -> Self {
        let mut from = vec![(0, 0); LONG as usize + 1];
        let mut long = Vec::new();
        for run in bounds.as_chunks::<2>().0 {
            let length = run[1] - run[0];
            from[length.min(LONG) as usize].0 += 1;
            from[length.min(LONG) as usize].1 += u64::from(length);
            if length >= LONG {
                long.push(length);
            }
        }
        long.sort_unstable_by(|a, b| b.cmp(a));
        let (mut runs, mut offsets) = (0, 0);
        for sum in from.iter_mut().rev() {
            runs += sum.0;
            offsets += sum.1;
            *sum = (runs, offsets);
        }
        Self { bounds, from, long }
    }

    pub(super) const fn len(&self) -> usize {
        self.bounds.len() / 2
    }

    /// The number of offsets in the longest `count` runs.
    pub(super) fn named(&self, count: usize) -> u64 {
        self.select(count).named
    }

    /// The bounds of the longest `count` runs, in order. Among runs of equal length, the first ones
    /// are selected.
    pub(super) fn bounds(&self, count: usize) -> Vec<u32> {
        if count >= self.len() {
            return self.bounds.to_vec();
        }
        let Selection { length: shortest, mut ties, .. } = self.select(count);
        let (mut kept, mut end) = (vec![[0; 2]; count + 1], 0);
        for run in self.bounds.as_chunks::<2>().0 {
            let length = run[1] - run[0];
            let is_tie = length == shortest && ties > 0;
            // Always written, because a processor cannot predict which runs are long.
            kept[end] = *run;
            end += usize::from(length > shortest || is_tie);
            ties -= usize::from(is_tie);
        }
        kept.truncate(count);
        kept.into_flattened()
    }

    fn select(&self, count: usize) -> Selection {
        if let Some(&length) = self.long.get(count) {
            let longer = self.long[..count].iter();
            let ties = longer.clone().filter(|other| **other == length).count();
            return Selection { length, ties, named: longer.map(|other| u64::from(*other)).sum() };
        }
        let more = self.from.partition_point(|(runs, _)| *runs > count);
        let Some(length) = more.checked_sub(1) else {
            return Selection { length: 0, ties: 0, named: self.from[0].1 };
        };
        let (longer, offsets) = self.from[more];
        let ties = count - longer;
        Selection {
            length: u32::try_from(length).unwrap_or(LONG),
            ties,
            named: offsets + (length * ties) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LONG, LongestRuns};

    /// The same selection by sorting all runs.
    fn sorted(bounds: &[u32], count: usize) -> (u64, Vec<u32>) {
        let mut runs: Vec<&[u32]> = bounds.chunks_exact(2).collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run[1] - run[0]));
        runs.truncate(count);
        runs.sort_by_key(|run| run[0]);
        (runs.iter().map(|run| u64::from(run[1] - run[0])).sum(), runs.concat())
    }

    #[test]
    fn the_longest_runs_are_those_that_sorting_finds() {
        for lengths in [
            &[3, 1, 3, 2, 3, 1][..],
            &[LONG, LONG - 1, 5, LONG + 7, LONG, LONG + 7],
            &[9; 20],
            &[1],
        ] {
            let mut at = 0;
            let mut bounds = Vec::new();
            for length in lengths {
                bounds.extend([at + 2, at + 2 + length]);
                at += 2 + length;
            }
            let longest = LongestRuns::of(&bounds);
            for count in 0..=lengths.len() {
                assert_eq!(
                    (longest.named(count), longest.bounds(count)),
                    sorted(&bounds, count),
                    "{lengths:?} {count}"
                );
            }
        }
    }
}
