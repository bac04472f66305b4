//! Jobs as a bus would make them, as far as a pool can tell.

use crate::SplitMix64;
use buslane_core::{ErasedHandler, Job, Kind, Message, Settlement, Topic, erase};
use bytes::Bytes;
use std::sync::Arc;

/// A handler that does nothing.
#[must_use]
pub fn noop(kind: Kind) -> Arc<dyn ErasedHandler> {
    erase(kind, async |_: Message| {})
}

/// Makes jobs with random keys, for the pool's default handler, settled to nobody.
pub struct Jobs {
    template: Message,
    keys: u64,
    random: SplitMix64,
    offset: u64,
}

impl Jobs {
    /// Jobs of so many different keys.
    ///
    /// # Panics
    /// Never: the topic's name is good.
    #[must_use]
    pub fn new(keys: u64, seed: u64) -> Self {
        let mut template = Message::new(Topic::new("orders").expect("a good name"), Bytes::from_static(&[7; 100]));
        template.key = Some(Bytes::from_static(b"order-42"));
        Self { template, keys, random: SplitMix64(seed), offset: 0 }
    }
}

impl Iterator for Jobs {
    type Item = Job;

    fn next(&mut self) -> Option<Job> {
        let lane = SplitMix64(self.random.below(self.keys)).number();
        let mut message = self.template.clone();
        message.offset = self.offset;
        self.offset += 1;
        Some(Job::new(lane, message, Settlement::ignored()))
    }
}
