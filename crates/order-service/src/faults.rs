//! Injected failures. Those of messages are decided when they are published and written into the
//! payload, so that every process agrees; those of a rollout strike handlers on the actor pool.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU64};

use buslane::rollout::Trigger;
use buslane::{EventBus, Rollout};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// The failure of a message.
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

/// Bytes that a leaking handler keeps for each message.
const LEAK: usize = 256 << 10;
/// The most messages that leak: a machine with little memory survives them.
const MOST_LEAKS: usize = 2_048;

/// A defect of the handlers on the actor pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    /// Handlers take this many percent longer.
    Slow(u32),
    /// Handlers of regular messages panic, which costs an actor.
    Restart,
    /// This many of each hundred events are rejected.
    Errors(u32),
    /// Handlers keep memory.
    Leak,
}

impl Defect {
    /// Parses a text such as `restart` or `slow:30`.
    fn named(text: &str) -> Option<Self> {
        let (name, extent) = match text.split_once(':') {
            Some((name, extent)) => (name, Some(extent.parse().ok()?)),
            None => (text, None),
        };
        match (name, extent) {
            ("slow", extent @ (None | Some(1..=10_000))) => Some(Self::Slow(extent.unwrap_or(300))),
            ("errors", extent @ (None | Some(1..=100))) => Some(Self::Errors(extent.unwrap_or(10))),
            ("restart", None) => Some(Self::Restart),
            ("leak", None) => Some(Self::Leak),
            _ => None,
        }
    }

    /// The trigger of the guard that the defect causes.
    pub(crate) const fn trigger(self) -> Trigger {
        match self {
            Self::Slow(_) => Trigger::Latency,
            Self::Restart => Trigger::Restarts,
            Self::Errors(_) => Trigger::Errors,
            Self::Leak => Trigger::Memory,
        }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow(percent) => write!(f, "slow:{percent}"),
            Self::Restart => f.write_str("restart"),
            Self::Errors(percent) => write!(f, "errors:{percent}"),
            Self::Leak => f.write_str("leak"),
        }
    }
}

/// A defect, and the percentage of keys at which it begins: `slow@50`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Injection {
    pub(crate) defect: Defect,
    pub(crate) from: u8,
}

impl FromStr for Injection {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "must be slow, slow:1 to slow:10000, errors, errors:1 to errors:100, restart or leak, and a \
                            percentage from 1 to 100 behind @, as in slow@50";
        let (defect, from) = text.split_once('@').ok_or(RULE)?;
        let defect = Defect::named(defect).ok_or(RULE)?;
        let from = from.parse().ok().filter(|from| (1..=100).contains(from)).ok_or(RULE)?;
        Ok(Self { defect, from })
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.defect, self.from)
    }
}

/// The defect as the handlers apply it: all keys of a rollout, and those that the defect has hit.
pub(crate) struct DefectiveKeys {
    rollout: Rollout,
    injection: Option<Injection>,
    /// Share of the keys that belongs to the actor pool.
    percent: AtomicU8,
    keys: Mutex<Keys>,
    counter: AtomicU64,
    leaks: Mutex<Vec<Vec<u8>>>,
}

#[derive(Default)]
struct Keys {
    seen: HashSet<Bytes>,
    touched: HashSet<Bytes>,
}

impl DefectiveKeys {
    pub(crate) fn new(bus: &EventBus, injection: Option<Injection>) -> Self {
        let rollout = bus.rollout();
        Self {
            percent: AtomicU8::new(rollout.status().percent),
            rollout,
            injection,
            keys: Mutex::default(),
            counter: AtomicU64::new(0),
            leaks: Mutex::default(),
        }
    }

    /// Takes over a new percentage.
    pub(crate) fn stage(&self, percent: u8) {
        self.percent.store(percent, Relaxed);
        if self.injection.is_some_and(|injection| percent < injection.from) {
            self.leaks.lock().clear();
        }
    }

    /// The defect that strikes the handler of an event of this key. A leak has happened when this
    /// returns.
    pub(crate) fn event(&self, topic: &str, key: &Bytes) -> Option<Defect> {
        let defect = self.of(topic, key)?;
        let befalls = match defect {
            Defect::Slow(_) => true,
            Defect::Errors(percent) => {
                // Spread evenly over each hundred.
                let n = self.counter.fetch_add(1, Relaxed) % 100;
                (n + 1) * u64::from(percent) / 100 > n * u64::from(percent) / 100
            }
            Defect::Leak => {
                let mut leaks = self.leaks.lock();
                if leaks.len() < MOST_LEAKS {
                    leaks.push(vec![1; LEAK]);
                }
                true
            }
            Defect::Restart => false,
        };
        self.touched(defect, key, befalls)
    }

    /// The same for a regular message.
    pub(crate) fn regular(&self, topic: &str, key: &Bytes) -> Option<Defect> {
        let defect = self.of(topic, key)?;
        let befalls = matches!(defect, Defect::Slow(_) | Defect::Restart);
        self.touched(defect, key, befalls)
    }

    /// The numbers of keys seen and of keys hit.
    pub(crate) fn keys(&self) -> (usize, usize) {
        let keys = self.keys.lock();
        (keys.seen.len(), keys.touched.len())
    }

    /// A message without a key belongs to neither side.
    fn of(&self, topic: &str, key: &Bytes) -> Option<Defect> {
        if key.is_empty() {
            return None;
        }
        remember(&mut self.keys.lock().seen, key);
        let Injection { defect, from } = self.injection?;
        let is_ill = self.percent.load(Relaxed) >= from
            && self.rollout.pool_of(topic, key).is_ok_and(|pool| pool == "actor");
        is_ill.then_some(defect)
    }

    fn touched(&self, defect: Defect, key: &Bytes, befalls: bool) -> Option<Defect> {
        if befalls {
            remember(&mut self.keys.lock().touched, key);
        }
        befalls.then_some(defect)
    }
}

/// Copies the key, which would keep its whole message alive.
fn remember(keys: &mut HashSet<Bytes>, key: &Bytes) {
    if !keys.contains(key) {
        keys.insert(Bytes::copy_from_slice(key));
    }
}
