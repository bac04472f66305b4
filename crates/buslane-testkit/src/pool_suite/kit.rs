//! Helpers of the scenarios: jobs, batches, and handlers that return their own steps.

use crate::{
    deadline::{LIMIT, within},
    ledger::Ledger,
    recorder::stamp,
    signal::Gate,
};
use buslane_core::{
    AttemptSlot, ErasedHandler, Job, Kind, Message, NextAttempt, Outcome, Pool, Reattempt, Step,
    SubmitError, Topic, erase, stable_hash,
};
use std::{
    collections::VecDeque,
    fmt::Debug,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

/// A message of key `key` with the sequence `sequence`.
#[must_use]
pub fn message(key: u64, sequence: u64) -> Message {
    let mut message = Message::new(Topic::new("suite").expect("a topic"), Vec::new());
    stamp(&mut message, key, sequence);
    message
}

/// The lane of a key.
#[must_use]
pub fn lane(key: u64) -> u64 {
    stable_hash(&key.to_le_bytes())
}

/// A job of key `key` that settles in `ledger`.
#[must_use]
pub fn job(ledger: &Arc<Ledger>, key: u64, sequence: u64) -> Job {
    Job::new(lane(key), message(key, sequence), ledger.settlement())
}

/// A job whose message is `bytes` long.
#[must_use]
pub fn job_of_bytes(ledger: &Arc<Ledger>, key: u64, sequence: u64, bytes: usize) -> Job {
    let mut message = message(key, sequence);
    let mut payload = message.payload.to_vec();
    payload.resize(bytes, 0);
    message.payload = payload.into();
    Job::new(lane(key), message, ledger.settlement())
}

/// Submits all jobs, and waits while the pool is full.
///
/// # Panics
/// When the pool refuses a job for good, or the submit takes too long.
pub async fn submit_all(pool: &dyn Pool, jobs: impl IntoIterator<Item = Job>) {
    let mut batch: VecDeque<Job> = jobs.into_iter().collect();
    let all = async {
        while !batch.is_empty() {
            match pool.submit(&mut batch).await {
                Ok(()) => {}
                Err(error) => assert!(error.is_temporary(), "{error}"),
            }
        }
    };
    within(LIMIT, "everything is submitted", all).await;
}

/// Submits one job without waiting.
///
/// # Errors
/// As [`Pool::try_submit`]; an error drops the job.
pub fn try_one(pool: &dyn Pool, job: Job) -> Result<(), SubmitError> {
    pool.try_submit(&mut VecDeque::from([job]))
}

/// Stops the pool, and waits until its work is done.
///
/// # Panics
/// When the pool abandons a job or leaves a straggler.
pub async fn stop_well(pool: &dyn Pool) {
    let report = within(LIMIT, "the pool stops", pool.stop(LIMIT)).await;
    assert_eq!((report.abandoned, report.stragglers), (0, 0), "{report:?}");
    let stats = pool.stats();
    assert_eq!(
        (stats.open, stats.open_bytes, stats.lanes, stats.failing),
        (0, 0, 0, 0),
        "{stats:?}"
    );
}

/// Polls a future once, and expects it to be pending.
///
/// # Panics
/// When the future is ready.
pub async fn is_waiting<F: Future + Unpin>(future: &mut F)
where
    F::Output: Debug,
{
    let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await;
    if let Poll::Ready(output) = polled {
        panic!("it did not wait: {output:?}");
    }
}

/// A handler that waits until the gate opens.
#[must_use]
pub fn gated(gate: &Arc<Gate>) -> Arc<dyn ErasedHandler> {
    let gate = Arc::clone(gate);
    erase(Kind::Regular, move |_: Message| {
        let gate = Arc::clone(&gate);
        async move { gate.wait().await }
    })
}

/// Moves the task to the end of the executor's queue. tokio's `yield_now` wakes the task only when
/// its thread looks for work again, and a blocked thread does not.
pub async fn requeue() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The input of an attempt of a [`scripted`] handler.
pub struct Attempt {
    /// The message, with the number of the attempt.
    pub message: Message,
}

/// A handler whose attempts return the steps of `script`.
pub fn scripted<F, Fut>(kind: Kind, script: F) -> Arc<dyn ErasedHandler>
where
    F: Fn(Attempt) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Step> + Send + 'static,
{
    Arc::new(Scripted { kind, script: Arc::new(script) })
}

struct Scripted<F> {
    kind: Kind,
    script: Arc<F>,
}

impl<F, Fut> ErasedHandler for Scripted<F>
where
    F: Fn(Attempt) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Step> + Send + 'static,
{
    fn kind(&self) -> Kind {
        self.kind
    }

    fn start(&self, job: &mut Job, slot: &mut AttemptSlot) {
        let attempt = Attempt { message: job.message.clone() };
        slot.start(&self.script, attempt, |script, attempt| script(attempt));
    }
}

/// A failed attempt that is retried after `delay`.
#[must_use]
pub fn again(delay: Duration, blocked: bool, next: Option<Box<dyn NextAttempt>>) -> Step {
    Step::Again(Box::new(Reattempt {
        delay: Some(delay),
        is_retry: true,
        outcome: Outcome::Failed("not yet".into()),
        blocked,
        next,
    }))
}

/// An attempt that ends with `outcome`, and whose next attempt starts at once in its place.
#[must_use]
pub fn at_once(outcome: Outcome) -> Step {
    let (is_retry, blocked) = (false, false);
    Step::Again(Box::new(Reattempt { delay: None, is_retry, outcome, blocked, next: None }))
}

/// A successful attempt.
#[must_use]
pub const fn done() -> Step {
    Step::Done(Outcome::Ok)
}
