//! Chooses what to write about a picture: the shortest metadata that names every finished offset,
//! or if none fits, the metadata that names most of them. What it names is done; what it does not
//! name runs again. It never names an open one.

use super::longest::Longest;
use super::{bits, packed, runs, text};
use crate::picture::Picture;

/// Below this many bytes zstd is not tried: it costs more time than it saves characters.
const SMALL: usize = 200;
/// How many done runs are looked at. Far more than fit, and few enough for the walk to stay short
/// on a torn picture.
const MAX_RUNS: usize = 4_096;
/// How often zstd is tried for a format, after a first look at what fits without.
const TRIES: usize = 2;
/// How many times more may fit next than was packed.
const PACKS: usize = 64;
/// How many times what fits without zstd is packed only to be shorter than what says as much.
const SHORTER: usize = 4;
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
    let (as_runs, as_bits) =
        (1 + done_runs.saturating_mul(RUN as u64), BITS_HEAD as u64 + positions.div_ceil(8));
    as_runs.min(as_bits)
}

/// The best metadata of at most `limit` characters.
pub(crate) fn encode(picture: &Picture<'_>, limit: usize) -> Encoded {
    let total = picture.done();
    let mut best = Best { budget: limit / 4 * 3, named: 0, bytes: Vec::new() };
    if total > 0 && best.budget > 1 {
        choose(picture, total, &mut best);
    }
    Encoded { metadata: text::write(&best.bytes), left_out: total - best.named }
}

fn choose(picture: &Picture<'_>, total: u64, best: &mut Best) {
    let bounds = picture.runs(MAX_RUNS);
    let longest = Longest::of(&bounds);
    let runs = Way {
        format: b'e',
        packed: b'p',
        plain: (best.budget - 1) / RUN,
        all: longest.len(),
        body: &|count| run_body(&longest, count),
    };
    let bits = Way {
        format: b'o',
        packed: b's',
        plain: best.budget.saturating_sub(BITS_HEAD) * 8,
        all: usize::try_from(picture.len()).unwrap_or(usize::MAX),
        body: &|count| bit_body(picture, count),
    };
    let (as_runs, as_bits) = (runs.plain_body(), bits.plain_body());
    best.see(runs.format, &as_runs);
    best.see(bits.format, &as_bits);
    if best.named == total && best.bytes.len() < SMALL {
        return;
    }
    let looks =
        [(&runs, &as_runs), (&bits, &as_bits)].map(|(way, body)| best.look(way, body, total));
    let [more_runs, more_bits] =
        looks.each_ref().map(|look| look.as_ref().map_or(0, |look| look.reach));
    // A run names as much as it is long, bits about as much each as those that were looked at.
    let by_runs = longest.named(more_runs);
    let by_bits =
        (as_bits.named.saturating_mul(more_bits as u64) / bits.plain.max(1) as u64).min(total);
    let [look_runs, look_bits] = looks;
    let mut ways = [(by_runs, runs, look_runs), (by_bits, bits, look_bits)];
    ways.sort_by_key(|(promised, ..)| std::cmp::Reverse(*promised));
    for (promised, way, look) in ways {
        if let Some(look) = look
            && promised > best.named
        {
            best.squeeze(&way, &look);
        }
    }
}

/// A way to say the front of a picture, which is so many units long: runs or positions.
struct Way<'a> {
    format: u8,
    /// The format of the same when packed.
    packed: u8,
    /// How many units fit without packing.
    plain: usize,
    all: usize,
    body: &'a dyn Fn(usize) -> Body,
}

impl Way<'_> {
    fn plain_body(&self) -> Body {
        (self.body)(self.plain.min(self.all))
    }
}

/// What to write behind the format byte, and how many finished offsets it names.
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
    fn see(&mut self, format: u8, body: &Body) -> bool {
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

    /// Packs what fits without, to learn how well it packs. How many units would fit if the rest
    /// packs as well, and the size of those that were packed; none when they are not more.
    fn look(&mut self, way: &Way<'_>, plain: &Body, total: u64) -> Option<Look> {
        if self.named == total && plain.named < total {
            // Everything is said: what is left is to say it shorter.
            if way.all <= way.plain * SHORTER {
                self.pack(way, &(way.body)(way.all))?;
            }
            return None;
        }
        let units = way.plain.min(way.all);
        let size = self.pack(way, plain)?.size;
        let reach = (units.saturating_mul(self.budget) / size)
            .min(way.all)
            .min(units.saturating_mul(PACKS));
        (reach > units).then_some(Look { size, reach })
    }

    /// Looks for the largest part of a picture that fits when packed.
    fn squeeze(&mut self, way: &Way<'_>, look: &Look) {
        let (mut units, mut size) = (way.plain, look.size);
        let mut next = look.reach;
        for _ in 0..TRIES {
            let Some(packed) = self.pack(way, &(way.body)(next)) else { return };
            // What each unit more has cost, less a tenth because the next ones cost more.
            let more = (next - units).saturating_mul(self.budget.saturating_sub(size))
                / packed.size.saturating_sub(size).max(1);
            let reach = (units + more / 10 * 9).min(way.all).min(next.saturating_mul(PACKS));
            if packed.fits {
                (units, size) = (next, packed.size);
            }
            if reach <= units + units / 4 && (reach < way.all || units == way.all) {
                return;
            }
            next = reach;
        }
    }

    fn pack(&mut self, way: &Way<'_>, body: &Body) -> Option<Packed> {
        let bytes = packed::pack(&body.bytes)?;
        let size = bytes.len() + 1;
        Some(Packed { size, fits: self.see(way.packed, &Body { bytes, named: body.named }) })
    }
}

/// What packing a first part has shown.
struct Look {
    /// The size of what fits without packing.
    size: usize,
    /// How many units may fit.
    reach: usize,
}

struct Packed {
    size: usize,
    fits: bool,
}

/// The longest `count` done runs; the others are said to be open, so the bytes of a run buy as much
/// as they can.
fn run_body(longest: &Longest<'_>, count: usize) -> Body {
    Body { bytes: runs::write(&longest.bounds(count)), named: longest.named(count) }
}

/// The first `count` positions, up to the last done one among them.
fn bit_body(picture: &Picture<'_>, count: usize) -> Body {
    let (positions, map, named) = picture.bits(count as u64);
    Body { bytes: bits::write(u32::try_from(positions).unwrap_or(u32::MAX), &map), named }
}
