//! Encodes a snapshot as metadata: the shortest that names every done offset, or if none fits, the
//! one that names the most of them. Metadata never names an open offset; done offsets that it
//! leaves out run again.

use super::{compress, write_bits, write_runs, write_text};
use crate::snapshot::CommitSnapshot;

/// Bytes below which zstd is not tried, because it costs more time than it saves characters.
const SMALL: usize = 200;
/// Done runs that are considered: far more than fit, but few enough to scan quickly when the
/// snapshot is fragmented.
const MAX_RUNS: usize = 4_096;
/// Attempts with zstd for a format, after the first estimate.
const TRIES: usize = 2;
/// The largest ratio between the units of one attempt and those of the attempt before it.
const MAX_GROWTH: usize = 64;
/// The largest ratio between all units and the uncompressed ones at which a complete body is
/// compressed only to shorten it.
const MAX_SHORTENING: usize = 4;
/// Bytes of the format and of the number of bits.
const BITS_HEAD: usize = 5;
/// Bytes of an open and a done run.
const RUN: usize = 8;

pub(crate) struct Encoded {
    pub(crate) metadata: String,
    /// Done offsets that it does not name.
    pub(crate) left_out: u64,
}

/// An upper bound for the bytes of metadata that leaves nothing out.
pub(crate) fn bound(done_runs: u64, positions: u64) -> u64 {
    let (as_runs, as_bits) =
        (1 + done_runs.saturating_mul(RUN as u64), BITS_HEAD as u64 + positions.div_ceil(8));
    as_runs.min(as_bits)
}

/// The best metadata of at most `limit` characters.
pub(crate) fn encode(snapshot: &CommitSnapshot<'_>, limit: usize) -> Encoded {
    let total = snapshot.done();
    let mut best = Best { budget: limit / 4 * 3, named: 0, bytes: Vec::new() };
    if total > 0 && best.budget > 1 {
        choose(snapshot, total, &mut best);
    }
    Encoded { metadata: write_text(&best.bytes), left_out: total - best.named }
}

fn choose(snapshot: &CommitSnapshot<'_>, total: u64, best: &mut Best) {
    let bounds = snapshot.runs(MAX_RUNS);
    let longest = LongestRuns::of(&bounds);
    let runs = Encoding {
        format: b'e',
        compressed: b'p',
        plain: (best.budget - 1) / RUN,
        all: longest.len(),
        body: &|count| run_body(&longest, count),
    };
    let bits = Encoding {
        format: b'o',
        compressed: b's',
        plain: best.budget.saturating_sub(BITS_HEAD) * 8,
        all: usize::try_from(snapshot.len()).unwrap_or(usize::MAX),
        body: &|count| bit_body(snapshot, count),
    };
    let (as_runs, as_bits) = (runs.plain_body(), bits.plain_body());
    best.offer(runs.format, &as_runs);
    best.offer(bits.format, &as_bits);
    if best.named == total && best.bytes.len() < SMALL {
        return;
    }
    let estimates = [(&runs, &as_runs), (&bits, &as_bits)]
        .map(|(encoding, body)| best.estimate(encoding, body, total));
    let [more_runs, more_bits] =
        estimates.each_ref().map(|estimate| estimate.as_ref().map_or(0, |found| found.units));
    // A run names as many offsets as it is long; each bit is taken to name as many as those of the
    // uncompressed body did on average.
    let by_runs = longest.named(more_runs);
    let by_bits =
        (as_bits.named.saturating_mul(more_bits as u64) / bits.plain.max(1) as u64).min(total);
    let [estimated_runs, estimated_bits] = estimates;
    let mut encodings = [(by_runs, runs, estimated_runs), (by_bits, bits, estimated_bits)];
    encodings.sort_by_key(|(promised, ..)| std::cmp::Reverse(*promised));
    for (promised, encoding, estimate) in encodings {
        if let Some(estimate) = estimate
            && promised > best.named
        {
            best.fill(&encoding, &estimate);
        }
    }
}

/// One way to encode the first units of a snapshot; a unit is a run or a position.
struct Encoding<'a> {
    format: u8,
    /// The format of the same body under zstd.
    compressed: u8,
    /// The number of units that fit uncompressed.
    plain: usize,
    /// The number of units of the whole snapshot.
    all: usize,
    body: &'a dyn Fn(usize) -> Body,
}

impl Encoding<'_> {
    fn plain_body(&self) -> Body {
        (self.body)(self.plain.min(self.all))
    }
}

/// The bytes behind the format byte, and the number of done offsets that they name.
struct Body {
    bytes: Vec<u8>,
    named: u64,
}

/// The best metadata so far.
struct Best {
    /// The number of bytes that fit.
    budget: usize,
    named: u64,
    bytes: Vec<u8>,
}

impl Best {
    /// Keeps the body if it is better than the best so far. Returns whether it fits.
    fn offer(&mut self, format: u8, body: &Body) -> bool {
        let size = body.bytes.len() + 1;
        let fits = size <= self.budget;
        let is_shorter = body.named == self.named && size < self.bytes.len();
        if fits && (body.named > self.named || is_shorter) {
            self.named = body.named;
            self.bytes.clear();
            self.bytes.push(format);
            self.bytes.extend_from_slice(&body.bytes);
        }
        fits
    }

    /// Compresses the uncompressed body to estimate how many units fit when compressed; `None` when
    /// no more do.
    fn estimate(&mut self, encoding: &Encoding<'_>, plain: &Body, total: u64) -> Option<Estimate> {
        if self.named == total && plain.named < total {
            // Every done offset is named, so only a shorter body is better.
            if encoding.all <= encoding.plain * MAX_SHORTENING {
                self.compress(encoding, &(encoding.body)(encoding.all))?;
            }
            return None;
        }
        let plain_units = encoding.plain.min(encoding.all);
        let size = self.compress(encoding, plain)?.size;
        let units = (plain_units.saturating_mul(self.budget) / size)
            .min(encoding.all)
            .min(plain_units.saturating_mul(MAX_GROWTH));
        (units > plain_units).then_some(Estimate { plain_size: size, units })
    }

    /// Searches for the largest number of units that fit when compressed.
    fn fill(&mut self, encoding: &Encoding<'_>, estimate: &Estimate) {
        let (mut units, mut size) = (encoding.plain, estimate.plain_size);
        let mut next = estimate.units;
        for _ in 0..TRIES {
            let Some(compressed) = self.compress(encoding, &(encoding.body)(next)) else { return };
            // Further units at the cost of the last ones, less a tenth, because they compress
            // worse.
            let more = (next - units).saturating_mul(self.budget.saturating_sub(size))
                / compressed.size.saturating_sub(size).max(1);
            let reach =
                (units + more / 10 * 9).min(encoding.all).min(next.saturating_mul(MAX_GROWTH));
            if compressed.fits {
                (units, size) = (next, compressed.size);
            }
            if reach <= units + units / 4 && (reach < encoding.all || units == encoding.all) {
                return;
            }
            next = reach;
        }
    }

    fn compress(&mut self, encoding: &Encoding<'_>, body: &Body) -> Option<Compressed> {
        let bytes = compress(&body.bytes)?;
        let size = bytes.len() + 1;
        Some(Compressed {
            size,
            fits: self.offer(encoding.compressed, &Body { bytes, named: body.named }),
        })
    }
}

/// What compressing the uncompressed body has shown.
struct Estimate {
    /// The compressed size of the units that fit uncompressed.
    plain_size: usize,
    /// The number of units that may fit when compressed.
    units: usize,
}

struct Compressed {
    size: usize,
    fits: bool,
}

/// Encodes the longest `count` done runs, and the others as open, so that each run names as many
/// offsets as possible.
fn run_body(longest: &LongestRuns<'_>, count: usize) -> Body {
    Body { bytes: write_runs(&longest.bounds(count)), named: longest.named(count) }
}

/// Encodes the first `count` positions, up to the last done one among them.
fn bit_body(snapshot: &CommitSnapshot<'_>, count: usize) -> Body {
    let (positions, map, named) = snapshot.bits(count as u64);
    Body { bytes: write_bits(u32::try_from(positions).unwrap_or(u32::MAX), &map), named }
}

/// Runs of at least this length are stored one by one.
const LONG: u32 = 4_096;

/// Selects the longest runs. Counts runs by length, because they have few different lengths and the
/// encoder asks for several counts.
struct LongestRuns<'a> {
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
