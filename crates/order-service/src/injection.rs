//! What is made to go wrong on the actor side of a rollout, from one of its stages on.

use buslane::{EventBus, Rollout, rollout::Trigger};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::HashSet,
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
};

/// What a leaking handler keeps of each message.
const LEAK: usize = 256 << 10;
/// All that leaks: a machine with little memory has to survive it.
const MOST_LEAKS: usize = 2_048;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Illness {
    /// A handler takes so many percent longer.
    Slow(u32),
    /// Handlers of regular messages panic, which costs an actor.
    Restart,
    /// So many of each hundred events are rejected.
    Errors(u32),
    /// Handlers keep memory.
    Leak,
}

impl Illness {
    /// As a text says it, such as `restart` or `slow:30`.
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

    /// What the guard is to see of it.
    pub(crate) const fn trigger(self) -> Trigger {
        match self {
            Self::Slow(_) => Trigger::Latency,
            Self::Restart => Trigger::Restarts,
            Self::Errors(_) => Trigger::Errors,
            Self::Leak => Trigger::Memory,
        }
    }
}

impl fmt::Display for Illness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow(percent) => write!(f, "slow:{percent}"),
            Self::Restart => f.write_str("restart"),
            Self::Errors(percent) => write!(f, "errors:{percent}"),
            Self::Leak => f.write_str("leak"),
        }
    }
}

/// What goes wrong, from which percentage of the keys on: `slow@50`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Injection {
    pub(crate) illness: Illness,
    pub(crate) from: u8,
}

impl FromStr for Injection {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "must be slow, slow:1 to slow:10000, errors, errors:1 to errors:100, restart or leak, and a \
                            percentage from 1 to 100 behind @, as in slow@50";
        let (illness, from) = text.split_once('@').ok_or(RULE)?;
        let illness = Illness::named(illness).ok_or(RULE)?;
        let from = from.parse().ok().filter(|from| (1..=100).contains(from)).ok_or(RULE)?;
        Ok(Self { illness, from })
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.illness, self.from)
    }
}

/// The handlers' side of a rollout: which keys there are, and which of them fell ill.
pub(crate) struct Patients {
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

impl Patients {
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

    /// The percentage is another one now.
    pub(crate) fn stage(&self, percent: u8) {
        self.percent.store(percent, Relaxed);
        if self.injection.is_some_and(|injection| percent < injection.from) {
            self.leaks.lock().clear();
        }
    }

    /// What befalls the handler of an event of this key; a leak has happened when this returns.
    pub(crate) fn event(&self, topic: &str, key: &Bytes) -> Option<Illness> {
        let illness = self.of(topic, key)?;
        let befalls = match illness {
            Illness::Slow(_) => true,
            Illness::Errors(percent) => {
                // Spread evenly over each hundred.
                let n = self.counter.fetch_add(1, Relaxed) % 100;
                (n + 1) * u64::from(percent) / 100 > n * u64::from(percent) / 100
            }
            Illness::Leak => {
                let mut leaks = self.leaks.lock();
                if leaks.len() < MOST_LEAKS {
                    leaks.push(vec![1; LEAK]);
                }
                true
            }
            Illness::Restart => false,
        };
        self.touched(illness, key, befalls)
    }

    /// The same for a regular message.
    pub(crate) fn regular(&self, topic: &str, key: &Bytes) -> Option<Illness> {
        let illness = self.of(topic, key)?;
        let befalls = matches!(illness, Illness::Slow(_) | Illness::Restart);
        self.touched(illness, key, befalls)
    }

    /// Keys that there are, and keys that fell ill.
    pub(crate) fn keys(&self) -> (usize, usize) {
        let keys = self.keys.lock();
        (keys.seen.len(), keys.touched.len())
    }

    /// A message without a key is nobody's.
    fn of(&self, topic: &str, key: &Bytes) -> Option<Illness> {
        if key.is_empty() {
            return None;
        }
        remember(&mut self.keys.lock().seen, key);
        let Injection { illness, from } = self.injection?;
        let is_ill = self.percent.load(Relaxed) >= from
            && self.rollout.pool_of(topic, key).is_ok_and(|pool| pool == "actor");
        is_ill.then_some(illness)
    }

    fn touched(&self, illness: Illness, key: &Bytes, befalls: bool) -> Option<Illness> {
        if befalls {
            remember(&mut self.keys.lock().touched, key);
        }
        befalls.then_some(illness)
    }
}

/// A copy of it: the key itself would keep its whole message alive.
fn remember(keys: &mut HashSet<Bytes>, key: &Bytes) {
    if !keys.contains(key) {
        keys.insert(Bytes::copy_from_slice(key));
    }
}
