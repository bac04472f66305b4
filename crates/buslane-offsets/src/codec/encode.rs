//! Chooses what to write about a picture: the shortest metadata that names every finished offset, or if none fits, the
//! metadata that names most of them. What it names is done; what it does not name runs again. It never names an open one.

use super::{bits, packed, runs, text};
use crate::picture::Picture;

/// Below this many bytes zstd is not tried: it costs more time than it saves characters.
const SMALL: usize = 200;
/// How many done runs are looked at. Far more than fit, and few enough for the walk to stay short on a torn picture.
const MAX_RUNS: usize = 8_192;
/// How often zstd is tried for a format.
const TRIES: usize = 3;
/// Bits are not packed when they are so many times what says everything already: a sparse map, best said in runs.
const HOPELESS: u64 = 16;
/// Format byte and number of bits.
const BITS_HEAD: usize = 5;
/// Bytes of an open and a done run.
const RUN: usize = 8;

pub(crate) struct Encoded {
    pub(crate) metadata: String,
    /// Finished offsets that it does not name.
    pub(crate) left_out: u64,
}

/// An upper bound for the bytes of metadata that leaves nothing out.
pub(crate) fn bound(done_runs: u64, positions: u64) -> u64 {
    let (as_runs, as_bits) = (1 + done_runs.saturating_mul(RUN as u64), BITS_HEAD as u64 + positions.div_ceil(8));
    as_runs.min(as_bits)
}

/// The best metadata of at most `limit` characters.
pub(crate) fn encode(picture: &Picture<'_>, limit: usize) -> Encoded {
    let runs = picture.runs(MAX_RUNS);
    // A walk that saw all runs has counted; counting bits takes as long again.
    let saw_all = runs.len() < MAX_RUNS * 2;
    let total = if saw_all { lengths(&runs).map(u64::from).sum() } else { picture.done() };
    let mut best = Best { budget: limit / 4 * 3, named: 0, bytes: Vec::new() };
    if total > 0 && best.budget > 1 {
        choose(picture, &runs, total, &mut best);
    }
    Encoded { metadata: text::write(&best.bytes), left_out: total - best.named }
}

fn choose(picture: &Picture<'_>, runs: &[u32], total: u64, best: &mut Best) {
    let plain_runs = (best.budget - 1) / RUN;
    let plain_positions = best.budget.saturating_sub(BITS_HEAD) as u64 * 8;
    best.see(run_body(b'e', runs, plain_runs));
    let named_by_runs = best.named;
    best.see(bit_body(b'o', picture, plain_positions));
    if best.named == total && best.bytes.len() < SMALL {
        return;
    }
    let Some(mut packer) = packed::Packer::new() else { return };
    if best.named < named_by_runs.saturating_mul(4) {
        best.squeeze(&mut packer, plain_runs as u64, runs.len() as u64 / 2, |count| {
            run_body(b'p', runs, usize::try_from(count).unwrap_or(usize::MAX))
        });
    }
    if best.named < total || picture.len() / 8 < HOPELESS * best.bytes.len() as u64 {
        best.squeeze(&mut packer, plain_positions, picture.len(), |count| bit_body(b's', picture, count));
    }
}

/// How long the done runs are.
fn lengths(bounds: &[u32]) -> impl Iterator<Item = u32> {
    bounds.chunks_exact(2).map(|run| run[1] - run[0])
}

/// What to write, and how many finished offsets it names.
struct Body {
    bytes: Vec<u8>,
    named: u64,
}

struct Best {
    /// How many bytes fit.
    budget: usize,
    named: u64,
    bytes: Vec<u8>,
}

impl Best {
    /// Whether it fits.
    fn see(&mut self, body: Body) -> bool {
        let fits = body.bytes.len() <= self.budget;
        let is_shorter = body.named == self.named && body.bytes.len() < self.bytes.len();
        if fits && (body.named > self.named || is_shorter) {
            (self.named, self.bytes) = (body.named, body.bytes);
        }
        fits
    }

    /// Looks for the largest part of a picture that fits when packed. `plain` units fit without, there are `all`.
    fn squeeze(&mut self, packer: &mut packed::Packer, plain: u64, all: u64, body: impl Fn(u64) -> Body) {
        let mut units = all.min(plain.saturating_mul(4));
        let mut fitted = 0;
        for _ in 0..TRIES {
            let plain_body = body(units);
            let Some(packed) = packer.pack(&plain_body.bytes[1..]) else { return };
            let size = packed.len() as u64 + 1;
            let bytes = plain_body.bytes[..1].iter().copied().chain(packed).collect();
            if self.see(Body { bytes, named: plain_body.named }) {
                fitted = units;
            } else if fitted > 0 {
                return;
            }
            // As many as would fit if the rest packs as this did, less a tenth because it does not.
            let next =
                (units.saturating_mul(self.budget as u64) / size / 10 * 9).min(all).min(units.saturating_mul(16));
            let is_worth_it = if fitted > 0 {
                next > fitted + fitted / 4 || (next == all && fitted < all)
            } else {
                next > plain && next < units
            };
            if !is_worth_it {
                return;
            }
            units = next;
        }
    }
}

/// The longest `count` done runs; the others are said to be open, so the bytes of a run buy as much as they can.
fn run_body(format: u8, bounds: &[u32], count: usize) -> Body {
    let mut bytes = vec![format];
    if bounds.len() / 2 <= count {
        runs::write(bounds.iter().copied(), &mut bytes);
        return Body { bytes, named: lengths(bounds).map(u64::from).sum() };
    }
    if count == 0 {
        return Body { bytes, named: 0 };
    }
    let mut sorted: Vec<u32> = lengths(bounds).collect();
    let (_, shortest, _) = sorted.select_nth_unstable_by(count - 1, |a, b| b.cmp(a));
    let shortest = *shortest;
    // Of runs as long as the shortest that has room, the first ones.
    let mut ties = count - sorted[..count].iter().filter(|length| **length > shortest).count();
    let mut named = 0;
    let kept = bounds.chunks_exact(2).filter(|run| {
        let length = run[1] - run[0];
        let is_kept = length > shortest || (length == shortest && ties > 0);
        ties -= usize::from(length == shortest && is_kept);
        named += if is_kept { u64::from(length) } else { 0 };
        is_kept
    });
    runs::write(kept.flatten().copied(), &mut bytes);
    Body { bytes, named }
}

/// The first `count` positions, up to the last done one among them.
fn bit_body(format: u8, picture: &Picture<'_>, count: u64) -> Body {
    let (positions, map, named) = picture.bits(count);
    let mut bytes = Vec::with_capacity(BITS_HEAD + map.len());
    bytes.push(format);
    bits::write(u32::try_from(positions).unwrap_or(u32::MAX), &map, &mut bytes);
    Body { bytes, named }
}
