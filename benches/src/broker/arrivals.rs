//! How long single messages take: published one after the other, the next one after the one before
//! has come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Bytes of a body; the first eight are its number.
const BODY: usize = 247;
/// Messages before the measurement, for connections and memory to be there.
const WARM_UP: usize = 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// When each message was published, and when it came; in nanoseconds.
#[derive(Debug)]
pub struct Arrivals {
    epoch: Instant,
    times: Vec<(AtomicU64, AtomicU64)>,
}

impl Arrivals {
    /// Of so many messages, after those of the warm-up.
    #[must_use]
    pub fn new(messages: usize) -> Arc<Self> {
        Arc::new(Self {
            epoch: Instant::now(),
            times: (0..messages + WARM_UP).map(|_| Default::default()).collect(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The messages to publish, those of the warm-up too.
    pub fn numbers(&self) -> std::ops::Range<usize> {
        0..self.times.len()
    }

    /// The body of a message that is published now.
    #[must_use]
    pub fn publish(&self, number: usize) -> Vec<u8> {
        let mut body = vec![7; BODY];
        body[..8].copy_from_slice(&(number as u64).to_le_bytes());
        self.times[number].0.store(self.now(), Relaxed);
        body
    }

    /// The message with this body has come.
    pub fn arrive(&self, body: &[u8]) {
        let number = body.first_chunk().map_or(u64::MAX, |number| u64::from_le_bytes(*number));
        let now = self.now();
        if let Some((_, arrived)) =
            usize::try_from(number).ok().and_then(|number| self.times.get(number))
        {
            arrived.store(now, Relaxed);
        }
    }

    /// Waits until a message has come.
    ///
    /// # Panics
    /// When it does not come within 30 s.
    pub async fn wait_for(&self, number: usize) {
        let begun = Instant::now();
        while self.times[number].1.load(Relaxed) == 0 {
            assert!(begun.elapsed() < PATIENCE, "message {number} has not come");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The median and the 99th percentile in microseconds.
    #[must_use]
    pub fn percentiles(&self) -> (f64, f64) {
        let times = &self.times[WARM_UP..];
        let mut sorted: Vec<u64> =
            times.iter().map(|(begin, end)| end.load(Relaxed) - begin.load(Relaxed)).collect();
        sorted.sort_unstable();
        let at = |percent| {
            Duration::from_nanos(sorted[sorted.len() * percent / 100]).as_secs_f64() * 1e6
        };
        (at(50), at(99))
    }
}
