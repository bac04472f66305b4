//! What handlers saw: when the first message came, and how long they waited.

use crate::{Cost, HandlerClock, cpu_time};
use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

/// Told by handlers. Takes the time from the first message on.
#[derive(Debug, Default)]
pub struct Probe {
    begin: OnceLock<(Instant, Duration)>,
    clock: HandlerClock,
}

impl Probe {
    /// A message came.
    #[inline]
    pub fn enter(&self) {
        self.begin.get_or_init(|| (Instant::now(), cpu_time()));
    }

    /// The time that handlers took, those that take it.
    #[must_use]
    pub const fn clock(&self) -> &HandlerClock {
        &self.clock
    }

    /// What `messages` messages have cost up to now.
    #[must_use]
    pub fn cost(&self, messages: u64) -> Cost {
        let (start, cpu) = *self.begin.get_or_init(|| (Instant::now(), cpu_time()));
        Cost { messages, wall: start.elapsed(), cpu: cpu_time().saturating_sub(cpu) }
    }
}
