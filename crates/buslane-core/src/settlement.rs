//! The right and the duty to report how one delivery ended.

use crate::{HandlerError, Verdict};
use std::{fmt, sync::Arc};
use thiserror::Error;

/// How a job ended. Every accepted job has exactly one outcome.
#[derive(Debug)]
pub enum Outcome {
    /// The handler succeeded.
    Ok,
    /// The handler failed for good.
    Failed(HandlerError),
    /// The handler panicked with this message.
    Panicked(String),
    /// The job was dropped before it had ended, by a shutdown, a revocation or a cancelled task.
    Abandoned,
}

impl Outcome {
    /// Whether the delivery is settled. An abandoned one is not: the broker delivers it again.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Abandoned)
    }
}

/// For messages that have a single attempt: every verdict but [`Verdict::Done`] is a failure.
impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Done => Self::Ok,
            Verdict::Failed(error) | Verdict::Retry(error) | Verdict::Reject(error) => {
                Self::Failed(error)
            }
        }
    }
}

/// A handler's panic as an error.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("handler panicked: {0}")]
pub struct HandlerPanicked(pub String);

/// Receives outcomes: the adapter that handed the deliveries out, or the code of a pool's user.
///
/// Called once for each token, on the thread that ran the handler. Must not block and must not
/// panic.
pub trait Settle: Send + Sync + 'static {
    /// Receives the outcome of the delivery `token`.
    fn settle(&self, token: u64, outcome: Outcome);
}

impl<F: Fn(u64, Outcome) + Send + Sync + 'static> Settle for F {
    fn settle(&self, token: u64, outcome: Outcome) {
        self(token, outcome);
    }
}

/// Settles one delivery, once.
///
/// # Drop behaviour
/// Dropping it means "not done": the sink receives [`Outcome::Abandoned`], and the broker delivers
/// the message again. So a panic, a cancelled task or a shutdown cannot lose a message silently.
/// The exception is the [last](Settlement::is_last) delivery of a message, after which the broker
/// delivers it no more.
///
/// ```
/// use buslane_core::{Outcome, Settlement};
/// use std::sync::{Arc, Mutex};
///
/// let outcomes = Arc::new(Mutex::new(Vec::new()));
/// let sink = {
///     let outcomes = Arc::clone(&outcomes);
///     Arc::new(move |token: u64, outcome: Outcome| {
///         outcomes.lock().unwrap().push((token, outcome.is_final()));
///     })
/// };
/// Settlement::new(sink.clone(), 7).settle(Outcome::Ok);
/// drop(Settlement::new(sink, 8));
/// assert_eq!(*outcomes.lock().unwrap(), [(7, true), (8, false)]);
/// ```
pub struct Settlement {
    sink: Option<Arc<dyn Settle>>,
    token: u64,
    is_last: bool,
}

impl Settlement {
    /// A settlement that reports to `sink` under `token`.
    #[must_use]
    pub fn new(sink: Arc<dyn Settle>, token: u64) -> Self {
        Self { sink: Some(sink), token, is_last: false }
    }

    /// A settlement without a sink.
    #[must_use]
    pub const fn ignored() -> Self {
        Self { sink: None, token: 0, is_last: false }
    }

    /// Marks the delivery as the last one of its message, if `is_last`.
    #[must_use]
    pub const fn last(mut self, is_last: bool) -> Self {
        self.is_last = is_last;
        self
    }

    /// Whether the broker delivers the message no more, however this delivery ends. A failure is
    /// final then.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.is_last
    }

    /// Reports how the delivery ended.
    pub fn settle(mut self, outcome: Outcome) {
        if let Some(sink) = self.sink.take() {
            sink.settle(self.token, outcome);
        }
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if let Some(sink) = self.sink.take() {
            sink.settle(self.token, Outcome::Abandoned);
        }
    }
}

impl fmt::Debug for Settlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settlement").field("token", &self.token).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn d1_settlement_is_used_once_and_dropping_means_not_done() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let sink: Arc<dyn Settle> = Arc::new(move |token, outcome: Outcome| {
            log.lock().unwrap().push((token, outcome.is_final()))
        });
        Settlement::new(Arc::clone(&sink), 1).settle(Outcome::Ok);
        drop(Settlement::new(Arc::clone(&sink), 2));
        let lost = Settlement::new(sink, 3);
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = lost;
            std::panic::resume_unwind(Box::new("boom"));
        }));
        assert_eq!(*seen.lock().unwrap(), [(1, true), (2, false), (3, false)]);
    }
}
