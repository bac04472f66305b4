//! The audit: what was published, and what handlers, dead letters and log lines showed. Nothing
//! else of the bus is asked.

use crate::input::{POLICIES, Policy};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

/// Number of findings that are kept.
const FINDINGS: usize = 50;
/// A dead letter with a larger body may hold a part of it: it has headers too, and must fit.
const WHOLE: usize = 300_000;

/// Where a message stands: place of its topic, partition, offset.
pub(crate) type Position = (usize, u32, u64);

/// One message on its way to the broker.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) topic: usize,
    pub(crate) kind: String,
    pub(crate) aggregate: Option<u64>,
    digest: u64,
    size: usize,
}

impl Sent {
    pub(crate) fn new(topic: usize, kind: String, aggregate: Option<u64>, body: &[u8]) -> Self {
        Self { topic, kind, aggregate, digest: digest(body), size: body.len() }
    }
}

/// Where a message showed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Handled,
    DeadLetter,
    Skipped,
}

/// The records of one position.
#[derive(Debug, Default)]
struct Entry {
    sent: Option<Sent>,
    handled: u64,
    dead_letters: u64,
    skipped: u64,
    /// When it was handled first, counted in messages.
    turn: u64,
    /// A body that is not the one that was published.
    is_altered: bool,
    digest: Option<(End, u64)>,
}

impl Entry {
    const fn has_ended(&self) -> bool {
        self.handled + self.dead_letters + self.skipped > 0
    }
}

#[derive(Debug)]
struct Pages {
    entries: HashMap<Position, Entry>,
    open: u64,
    published: u64,
    refused: BTreeMap<String, u64>,
    turns: u64,
    last_event: Instant,
}

/// The records of all positions.
#[derive(Debug)]
pub(crate) struct Audit(Mutex<Pages>);

impl Default for Audit {
    fn default() -> Self {
        Self(Mutex::new(Pages {
            entries: HashMap::new(),
            open: 0,
            published: 0,
            refused: BTreeMap::new(),
            turns: 0,
            last_event: Instant::now(),
        }))
    }
}

/// The progress of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) published: u64,
    /// Published and not accounted for.
    pub(crate) open: u64,
}

impl Audit {
    /// The broker has stored a message.
    pub(crate) fn stored(&self, sent: Sent, partition: u32, offset: u64) {
        let mut pages = self.0.lock();
        let entry = pages.entries.entry((sent.topic, partition, offset)).or_default();
        entry.sent = Some(sent);
        let is_open = !entry.has_ended();
        pages.open += u64::from(is_open);
        pages.published += 1;
    }

    /// The broker has not taken a message, or has not answered for it.
    pub(crate) fn refused(&self, sent: &Sent, reason: &str) {
        let mut pages = self.0.lock();
        *pages.refused.entry(format!("{}: {reason}", sent.kind)).or_default() += 1;
    }

    /// A message showed up; `body` is what it held, where that can be seen.
    pub(crate) fn ended(&self, position: Position, end: End, body: Option<&[u8]>) {
        let found = body.map(|body| (end, digest(body)));
        let mut pages = self.0.lock();
        pages.last_event = Instant::now();
        pages.turns += 1;
        let turn = pages.turns;
        let entry = pages.entries.entry(position).or_default();
        let was_open = entry.sent.is_some() && !entry.has_ended();
        match end {
            End::Handled => {
                if entry.handled == 0 {
                    entry.turn = turn;
                }
                entry.handled += 1;
            }
            End::DeadLetter => entry.dead_letters += 1,
            End::Skipped => entry.skipped += 1,
        }
        match (entry.digest, found) {
            (Some(first), Some(found)) => entry.is_altered |= first.1 != found.1,
            (None, found) => entry.digest = found,
            _ => {}
        }
        pages.open -= u64::from(was_open);
    }

    pub(crate) fn counts(&self) -> Counts {
        let pages = self.0.lock();
        Counts { published: pages.published, open: pages.open }
    }

    /// Time since a message showed up.
    pub(crate) fn silent_for(&self) -> Duration {
        self.0.lock().last_event.elapsed()
    }

    /// Judges all records.
    pub(crate) fn judge(&self) -> Verdict {
        let pages = self.0.lock();
        let mut verdict = Verdict { refused: pages.refused.clone(), ..Verdict::default() };
        let mut turns: BTreeMap<(usize, u64), Vec<(u64, u64)>> = BTreeMap::new();
        let mut entries: Vec<_> = pages.entries.iter().collect();
        entries.sort_unstable_by_key(|(position, _)| **position);
        for (position, entry) in entries {
            let Some(sent) = &entry.sent else {
                // Stored by the broker, though its answer did not come.
                verdict.unanswered += 1;
                continue;
            };
            verdict.take(*position, sent, entry);
            if let Some(aggregate) = sent.aggregate.filter(|_| entry.handled > 0) {
                turns.entry((sent.topic, aggregate)).or_default().push((position.2, entry.turn));
            }
        }
        for ((topic, aggregate), mut turns) in turns {
            turns.sort_unstable();
            let disorders = turns.windows(2).filter(|two| two[1].1 < two[0].1);
            for two in disorders {
                verdict.order_violations += 1;
                verdict.find(format!("{:?}, aggregate {aggregate}: {two:?}", POLICIES[topic]));
            }
        }
        verdict
    }
}

/// The fates of the messages of one kind.
#[derive(Debug, Default, serde::Serialize)]
pub(crate) struct Sum {
    pub(crate) published: u64,
    pub(crate) handled: u64,
    pub(crate) dead_letters: u64,
    pub(crate) skipped: u64,
    pub(crate) lost: u64,
}

/// The fates of all messages.
#[derive(Debug, Default, serde::Serialize)]
pub(crate) struct Verdict {
    pub(crate) kinds: BTreeMap<String, Sum>,
    /// Published, and neither handled nor a dead letter nor skipped.
    pub(crate) lost: u64,
    /// Healthy messages that were handled after a later one of their aggregate.
    pub(crate) order_violations: u64,
    /// Healthy and not handled, or ended as its topic's policy does not say.
    pub(crate) wrong_ends: u64,
    /// Handled, or buried, with another body than the one that was published.
    pub(crate) altered: u64,
    /// Handled more than once: the bus was stopped before it had settled them.
    pub(crate) redelivered: u64,
    /// Consumed, although the broker's answer did not come to the publisher.
    pub(crate) unanswered: u64,
    /// Messages that the broker refused, by kind and reason.
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) findings: Vec<String>,
}

impl Verdict {
    pub(crate) const fn is_good(&self) -> bool {
        self.lost + self.order_violations + self.wrong_ends + self.altered == 0
    }

    fn take(&mut self, position: Position, sent: &Sent, entry: &Entry) {
        let (handled, buried, skipped) =
            (entry.handled > 0, entry.dead_letters > 0, entry.skipped > 0);
        let sum = self.kinds.entry(sent.kind.clone()).or_default();
        sum.published += 1;
        sum.handled += u64::from(handled);
        sum.dead_letters += u64::from(buried);
        sum.skipped += u64::from(skipped);
        sum.lost += u64::from(!entry.has_ended());
        self.redelivered += entry.handled.saturating_sub(1);
        let policy = POLICIES[sent.topic];
        let what = || format!("{policy:?} {position:?}, {}: {entry:?}", sent.kind);
        if !entry.has_ended() {
            self.lost += 1;
            self.find(format!("lost: {}", what()));
            return;
        }
        let is_wrong = match policy {
            _ if sent.aggregate.is_some() => !handled || buried || skipped,
            Policy::DeadLetter => skipped,
            Policy::Skip => buried,
            Policy::Regular => buried || skipped,
        };
        if is_wrong {
            self.wrong_ends += 1;
            self.find(format!("wrong end: {}", what()));
        }
        let differs = entry.digest.is_some_and(|(end, digest)| {
            digest != sent.digest && (end == End::Handled || sent.size < WHOLE)
        });
        if entry.is_altered && sent.size < WHOLE || differs {
            self.altered += 1;
            self.find(format!("altered: {}", what()));
        }
    }

    fn find(&mut self, finding: String) {
        if self.findings.len() < FINDINGS {
            self.findings.push(finding);
        }
    }
}

fn digest(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    hasher.finish()
}
