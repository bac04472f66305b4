//! State that all handlers and publishers of the process share, and the record of one attempt.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use buslane::broker::header;
use buslane::{Kind, Message, Source, Topic};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tracing::error;

use super::checker::{Checker, End, Sequence};
use super::faults::{DefectiveKeys, Fault};
use super::ledger::{Clock, Entry, Ledger, Outcome};
use super::options::{Options, Role};
use super::report::Counters;

/// The fields that this program writes into each payload.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) seq: u64,
    /// Just before the publish call; nanoseconds since the Unix epoch.
    pub(crate) sent_ns: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<Fault>,
}

pub(crate) struct Service {
    pub(crate) clock: Clock,
    pub(crate) checker: Checker,
    pub(crate) counters: Counters,
    pub(crate) ledger: Option<Ledger>,
    /// Places of messages in flight, where both halves run here.
    pub(crate) window: Option<Semaphore>,
    /// Messages in flight that have no place there: they were published to wait.
    pub(crate) waiting: AtomicU64,
    /// How long a handler waits.
    pub(crate) work: Duration,
    /// Correlation id of what this process publishes.
    pub(crate) run: Bytes,
    /// The injected defect of a rollout.
    pub(crate) defective_keys: Option<Arc<DefectiveKeys>>,
    /// Whether messages of other runs are ignored.
    own_run_alone: bool,
}

impl Service {
    pub(crate) fn new(
        options: &Options,
        clock: Clock,
        ledger: Option<Ledger>,
        defective_keys: Option<Arc<DefectiveKeys>>,
    ) -> Self {
        let both = options.role == Role::All;
        let places =
            usize::try_from(options.in_flight).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self {
            clock,
            checker: Checker::new(options.role.publishes()),
            counters: Counters::new(),
            ledger,
            window: both.then(|| Semaphore::new(places)),
            waiting: AtomicU64::new(0),
            work: Duration::from_millis(options.handler_ms),
            run: format!("run-{:x}-{:x}", clock.now_ns(), std::process::id()).into(),
            defective_keys,
            own_run_alone: both,
        }
    }

    /// The sequence of a message that stands, or stood, in `topic`; `None` when it is of another
    /// run.
    pub(crate) fn sequence(
        &self,
        message: &Message,
        topic: Topic,
        aggregate: Bytes,
    ) -> Option<Sequence> {
        let run =
            message.headers.find(header::CORRELATION_ID).map(|range| message.headers.slice(range));
        let run = run.unwrap_or_default();
        if self.own_run_alone && run != self.run {
            Counters::add(&self.counters.foreign);
            return None;
        }
        Some(Sequence { run, topic, aggregate })
    }

    /// A message is over: its place in the window is free, if it had one.
    pub(crate) fn free_place(&self) {
        let had_none =
            self.waiting.fetch_update(Relaxed, Relaxed, |waiting| waiting.checked_sub(1)).is_ok();
        if let Some(window) = self.window.as_ref().filter(|_| !had_none) {
            window.add_permits(1);
        }
    }
}

/// One attempt: begun by a handler, recorded when it is dropped, also by a panic.
pub(crate) struct Attempt<'a> {
    service: &'a Service,
    sequence: Sequence,
    note: Note,
    source: Arc<Source>,
    offset: u64,
    number: u32,
    kind: Kind,
    start_ns: u64,
    outcome: Option<Outcome>,
}

impl<'a> Attempt<'a> {
    pub(crate) fn begin(
        service: &'a Service,
        message: &Message,
        sequence: Sequence,
        note: Note,
    ) -> Self {
        let start_ns = service.clock.now_ns();
        service.counters.happened(start_ns);
        if let Err(disorder) = service.checker.begin(&sequence, note.seq) {
            Counters::add(&service.counters.violations);
            let aggregate = String::from_utf8_lossy(&sequence.aggregate);
            error!(topic = %sequence.topic, %aggregate, seq = note.seq, offset = message.offset, ?disorder, "out of order");
        }
        Self {
            service,
            sequence,
            note,
            source: Arc::clone(&message.source),
            offset: message.offset,
            number: message.attempt.max(1),
            kind: message.kind,
            start_ns,
            outcome: None,
        }
    }

    pub(crate) fn is_first(&self) -> bool {
        self.number == 1
    }

    pub(crate) fn ended(mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let Self { service, sequence, note, .. } = self;
        let outcome = match self.outcome {
            None if std::thread::panicking() => Outcome::Panicked,
            None => {
                // Cancelled, by a shutdown that had no more time: it did not end, and is delivered
                // again.
                service.checker.end(sequence, note.seq, End::Open);
                return;
            }
            Some(outcome) => outcome,
        };
        let end_ns = service.ledger.as_ref().map_or_else(
            || service.clock.now_ns(),
            |ledger| {
                ledger.add(Entry {
                    source: Arc::clone(&self.source),
                    offset: self.offset,
                    aggregate: sequence.aggregate.clone(),
                    seq: note.seq,
                    attempt: self.number,
                    outcome,
                    start_ns: self.start_ns,
                })
            },
        );
        let counters = &service.counters;
        let is_done = outcome == Outcome::Done;
        let end = if is_done || self.kind == Kind::Regular { End::Over } else { End::Open };
        let is_new = service.checker.end(sequence, note.seq, end);
        counters.happened(end_ns);
        match (is_done, is_new) {
            (true, true) => {
                counters.took(end_ns.saturating_sub(note.sent_ns), 1);
                Counters::add(&counters.handled);
            }
            (true, false) => Counters::add(&counters.duplicates),
            (false, _) => Counters::add(&counters.failed_attempts),
        }
        if is_new {
            if !is_done {
                Counters::add(&counters.dropped);
            }
            service.free_place();
        }
    }
}
