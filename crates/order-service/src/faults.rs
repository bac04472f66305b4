//! Which messages fail, and how. Decided when they are published and written into them, so that
//! every process that may handle them agrees.

use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// What goes wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// Its first attempt fails.
    Once,
    /// Every attempt fails.
    Poison,
    /// Its handler rejects it.
    Reject,
    /// Its first attempt panics.
    Panic,
}

/// The faults of a run, as a pure function of the event's number.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) seed: u64,
    pub(crate) events: u64,
    /// Events that fail for good, one in each of as many equal parts of the run.
    pub(crate) poison: u64,
    /// Percent of the events that fail once.
    pub(crate) fail_once: f64,
    /// The event whose handler panics.
    pub(crate) panic_at: Option<u64>,
    /// Aggregates with poison have no other fault: after a dead letter an aggregate's messages get
    /// one attempt each until one succeeds, so one that fails once could become a second dead
    /// letter.
    pub(crate) spared: HashSet<String>,
}

impl Faults {
    pub(crate) fn of(&self, event: u64, aggregate: &str) -> Option<Fault> {
        if self.is_poison(event) {
            let part = self.part_of(event);
            return Some(if part % 4 == 3 { Fault::Reject } else { Fault::Poison });
        }
        if self.spared.contains(aggregate) {
            return None;
        }
        if self.panic_at == Some(event) {
            return Some(Fault::Panic);
        }
        (draw(self.seed, Stream::Once, event) < self.fail_once / 100.0).then_some(Fault::Once)
    }

    pub(crate) fn is_poison(&self, event: u64) -> bool {
        self.poison > 0 && event == self.poison_in(self.part_of(event))
    }

    /// All events that fail for good.
    pub(crate) fn poisonous(&self) -> impl Iterator<Item = u64> {
        (0..self.poison).map(|part| self.poison_in(part))
    }

    fn poison_in(&self, part: u64) -> u64 {
        let (start, end) = (self.start_of(part), self.start_of(part + 1));
        start + mix(self.seed, Stream::Poison, part) % (end - start)
    }

    fn part_of(&self, event: u64) -> u64 {
        narrow(u128::from(event) * u128::from(self.poison) / u128::from(self.events))
    }

    fn start_of(&self, part: u64) -> u64 {
        narrow((u128::from(part) * u128::from(self.events)).div_ceil(u128::from(self.poison)))
    }
}

fn narrow(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// Independent sequences of numbers from one seed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    Aggregate,
    Topic,
    Kind,
    Total,
    Once,
    Poison,
    Cache,
}

/// The `n`-th number of a sequence: SplitMix64.
pub(crate) fn mix(seed: u64, stream: Stream, n: u64) -> u64 {
    let mut z = seed ^ (stream as u64 + 1).wrapping_mul(0xd6e8_feb8_6659_fd93);
    z = z.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The same as a number from 0 to 1, 1 excluded.
#[allow(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
fn draw(seed: u64, stream: Stream, n: u64) -> f64 {
    (mix(seed, stream, n) >> 11) as f64 / (1u64 << 53) as f64
}
