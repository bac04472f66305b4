//! What became of each message, as the handlers saw it.

use super::Steady;
use buslane::Event;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::{
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const HOUR_US: u64 = 3_600_000_000;

/// The books of a run.
pub(super) struct Books {
    poison: u64,
    /// Which messages were handled.
    seen: Vec<AtomicBool>,
    /// The last message of each key.
    last: Vec<AtomicU64>,
    handled: AtomicU64,
    again: AtomicU64,
    violations: AtomicU64,
    first: OnceLock<Instant>,
    latency: Mutex<Histogram<u64>>,
}

/// What a publisher writes into a payload: the number of the message, and when it was published.
pub(super) fn payload(number: u64, sent: Duration) -> Value {
    json!({ "n": number, "sent_us": micros(sent), "currency": "EUR", "sku": "sku-7", "customer": "c-123" })
}

/// The number of the message with this body.
pub(super) fn number(body: &[u8]) -> u64 {
    let body: Value = serde_json::from_slice(body).expect("JSON");
    body["payload"]["n"].as_u64().expect("a number")
}

fn now_us() -> u64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Books {
    pub(super) fn new(run: &Steady) -> Self {
        let count = |number: u64| usize::try_from(number).expect("a number that fits");
        Self {
            poison: run.poison,
            seen: (0..count(run.messages)).map(|_| AtomicBool::new(false)).collect(),
            last: (0..count(run.keys)).map(|_| AtomicU64::new(0)).collect(),
            handled: AtomicU64::new(0),
            again: AtomicU64::new(0),
            violations: AtomicU64::new(0),
            first: OnceLock::new(),
            latency: Mutex::new(Histogram::new_with_bounds(1, HOUR_US, 3).expect("good bounds")),
        }
    }

    /// Handles a message: those of poisoned keys fail.
    pub(super) fn handle(&self, event: &Event) -> Result<(), &'static str> {
        self.first.get_or_init(Instant::now);
        let key: u64 = event.aggregate_id["order-".len()..].parse().expect("a key of this program");
        if key < self.poison {
            return Err("this order fails for ever");
        }
        let note: Value = event.payload.parse().expect("a payload of this program");
        let number = |name: &str| note[name].as_u64().expect("a number");
        let n = number("n");
        let at = usize::try_from(n).expect("a number that fits");
        if self.seen[at].swap(true, Relaxed) {
            self.again.fetch_add(1, Relaxed);
            return Ok(());
        }
        let before = self.last[usize::try_from(key).expect("a key that fits")].swap(n + 1, Relaxed);
        if before > n {
            self.violations.fetch_add(1, Relaxed);
        }
        let latency = now_us().saturating_sub(number("sent_us"));
        self.latency.lock().expect("no panics").saturating_record(latency.max(1));
        self.handled.fetch_add(1, Relaxed);
        Ok(())
    }

    pub(super) fn handled(&self) -> u64 {
        self.handled.load(Relaxed)
    }

    pub(super) fn again(&self) -> u64 {
        self.again.load(Relaxed)
    }

    pub(super) fn violations(&self) -> u64 {
        self.violations.load(Relaxed)
    }

    pub(super) fn since_first(&self) -> Duration {
        self.first.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    pub(super) fn latency_ms(&self, quantile: f64) -> f64 {
        self.latency.lock().expect("no panics").value_at_quantile(quantile) as f64 / 1e3
    }
}
