//! Lets the executor run something else now and then, so that timers and sockets are served beside
//! handlers that never wait.

use std::time::{Duration, Instant};

pub(super) struct Pace {
    since: Option<Instant>,
    /// Messages until the next look at the clock.
    until_look: u32,
    /// Messages between two looks: few after slow ones, many after quick ones.
    stride: u32,
}

/// Longest time between two yields, as far as handlers allow.
const SLICE: Duration = Duration::from_micros(200);

impl Pace {
    pub(super) const fn new() -> Self {
        Self { since: None, until_look: 0, stride: 1 }
    }

    pub(super) fn is_due(&mut self, rested: bool, now: impl FnOnce() -> Instant) -> bool {
        if rested {
            *self = Self::new();
        }
        if self.until_look > 0 {
            self.until_look -= 1;
            return false;
        }
        let now = now();
        let elapsed = self.since.map_or(Duration::ZERO, |since| now - since);
        let due = elapsed > SLICE;
        self.stride = if due { 1.max(self.stride / 2) } else { 64.min(self.stride * 2) };
        self.until_look = self.stride;
        if due || self.since.is_none() {
            self.since = Some(now);
        }
        due
    }
}
