//! One unit of work for a pool.

use crate::{EnvelopeError, ErasedHandler, Layout, Message, NextAttempt, Settlement};
use std::{fmt, sync::Arc, time::Instant};

/// A message on its way through a pool: its lane, its handler and its settlement.
///
/// # Drop behaviour
/// A job that is dropped before it ended settles as abandoned.
pub struct Job {
    /// The 64-bit hash of the routing key, which names the lane.
    pub lane: u64,
    /// The message.
    pub message: Message,
    /// The handler; `None` for the pool's default handler.
    pub handler: Option<Arc<dyn ErasedHandler>>,
    /// Says how it ended.
    pub settlement: Settlement,
    /// The envelope in the body, where finding the lane took a parse: the first attempt reuses it.
    pub parsed: Option<Box<ParsedEnvelope>>,
    /// Starts the next attempt; without it, the handler does.
    pub next: Option<Box<dyn NextAttempt>>,
    /// The permit of a concurrency limit, given back when the job is dropped. Boxed, as the other
    /// rare fields are, because jobs are moved a lot.
    pub permit: Option<Box<dyn Send>>,
    /// When a pool took it: set by the pool.
    pub accepted: Option<Instant>,
    /// Bytes it is accounted with, fixed when it is made.
    bytes: usize,
}

/// The layout of an envelope, or why the body is none.
pub type ParsedEnvelope = Result<Layout, EnvelopeError>;

impl Job {
    /// A job in the lane of `lane`, to be handled by the pool's default handler.
    #[must_use]
    pub fn new(lane: u64, message: Message, settlement: Settlement) -> Self {
        let bytes = message.bytes();
        Self {
            lane,
            message,
            handler: None,
            settlement,
            parsed: None,
            next: None,
            permit: None,
            accepted: None,
            bytes,
        }
    }

    /// The same job with a handler of its own.
    #[must_use]
    pub fn with_handler(mut self, handler: Arc<dyn ErasedHandler>) -> Self {
        self.handler = Some(handler);
        self
    }

    /// Bytes of key, headers and payload when the job was made: what it counts for in a byte
    /// budget.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("lane", &self.lane)
            .field("source", &self.message.source)
            .field("offset", &self.message.offset)
            .field("attempt", &self.message.attempt)
            .finish_non_exhaustive()
    }
}
