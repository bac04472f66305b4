//! The unit of work of a pool.

use crate::{EnvelopeError, ErasedHandler, Layout, Message, NextAttempt, Settlement};
use std::{fmt, sync::Arc, time::Instant};

/// A message on its way through a pool: its lane, its handler and its settlement.
///
/// # Drop behaviour
/// A job that is dropped before it has ended settles as abandoned.
pub struct Job {
    /// The 64-bit hash of the routing key, which identifies the lane.
    pub lane: u64,
    /// The message.
    pub message: Message,
    /// The handler; `None` for the pool's default handler.
    pub handler: Option<Arc<dyn ErasedHandler>>,
    /// Reports how the job ended.
    pub settlement: Settlement,
    /// The parsed envelope, if routing had to parse the body. The first attempt reuses it.
    pub parsed: Option<Box<ParsedEnvelope>>,
    /// Starts the next attempt; `None` if the handler does.
    pub next: Option<Box<dyn NextAttempt>>,
    /// The permit of a concurrency limit, which is returned when the job is dropped. Boxed, like
    /// the other rare fields, because jobs are moved often.
    pub permit: Option<Box<dyn Send>>,
    /// When a pool accepted the job. The pool sets it.
    pub accepted: Option<Instant>,
    /// The bytes that it counts for, which never change.
    bytes: usize,
}

/// The layout of an envelope, or why the body is not an envelope.
pub type ParsedEnvelope = Result<Layout, EnvelopeError>;

impl Job {
    /// A job for the lane `lane` and the pool's default handler.
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

    /// Sets the handler.
    #[must_use]
    pub fn with_handler(mut self, handler: Arc<dyn ErasedHandler>) -> Self {
        self.handler = Some(handler);
        self
    }

    /// The size of key, headers and payload when the job was created, which counts against a byte
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
