//! The loop that every worker of every pool runs.
//!
//! A worker polls a handler's future once directly after taking its message. Most handlers return
//! at once, so that only the lane is touched. If a handler waits, the worker gives its other
//! messages back.

use crate::{Engine, job_box::JobBox};
use buslane_core::{
    AttemptSlot, ErasedHandler, Job, Kind, Outcome, Reattempt, Settlement, Step, panic_text,
};
use buslane_lanes::{End, Ended, Item, LaneRef, Next};
use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

/// A panic's payload.
pub type PanicPayload = Box<dyn Any + Send>;

/// The reaction of a worker to a panic of a regular message's handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnPanic {
    /// The worker continues with the next message.
    GoOn,
    /// The worker settles the message and ends with the panic.
    Fail,
}

/// The number of empty boxes that a worker returns at once.
const BOXES: usize = 32;

/// One worker of an engine.
///
/// # Drop behaviour
/// The running message is abandoned; the other messages of the worker return to their lanes, in
/// order.
pub struct Worker {
    engine: Arc<Engine>,
    index: usize,
    slot: AttemptSlot,
    running: Option<CurrentJob>,
    /// The message that ended last, until it is reported to the scheduler.
    ended: Option<Ended>,
    /// The empty boxes of its jobs.
    boxes: Vec<JobBox>,
    /// Whether it has woken a task that may be queued behind this one.
    woke: bool,
    pace: Pace,
}

struct CurrentJob {
    lane: LaneRef,
    boxed: JobBox,
    /// Whether its latency is measured, as for the first message of a batch and every message whose
    /// handler waits. Reading the clock for each message would cost a tenth of the throughput.
    timed: bool,
}

impl Worker {
    /// The worker `index` of an engine. At most one worker may exist for each index.
    #[must_use]
    pub const fn new(engine: Arc<Engine>, index: usize) -> Self {
        Self {
            engine,
            index,
            slot: AttemptSlot::new(),
            running: None,
            ended: None,
            boxes: Vec::new(),
            woke: false,
            pace: Pace::new(),
        }
    }

    /// Runs jobs until the engine is closed and all jobs have ended.
    ///
    /// # Errors
    /// The payload of a regular message's panic, with [`OnPanic::Fail`], after the message is
    /// settled.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the messages to the worker; see its drop behaviour.
    pub async fn run(&mut self, on_panic: OnPanic) -> Result<(), PanicPayload> {
        loop {
            let mut idle = false;
            let next = poll_fn(|cx| {
                let next = self.engine.scheduler.poll_next(self.index, cx, &mut self.ended);
                if next.is_pending() && !std::mem::replace(&mut idle, true) {
                    self.slot.rest();
                    self.engine.boxes.put(&mut self.boxes);
                }
                next
            })
            .await;
            let Next::Run { lane, item, first, yield_first } = next else { return Ok(()) };
            self.running = Some(CurrentJob { lane, boxed: item, timed: first });
            let due = self.pace.is_due(idle, || self.engine.now());
            if due {
                self.engine.scheduler.report(self.index);
            }
            if yield_first || due || std::mem::take(&mut self.woke) {
                yield_now().await;
            }
            let step = self.attempt().await;
            let panic = self.conclude(step);
            if let Some(payload) = panic
                && on_panic == OnPanic::Fail
            {
                return Err(payload);
            }
        }
    }

    /// Runs one attempt of the running job.
    async fn attempt(&mut self) -> Result<Step, PanicPayload> {
        let Self { engine, index, slot, running, pace, .. } = self;
        let Some(running) = running else { return Ok(Step::Done(Outcome::Abandoned)) };
        let Some(job) = running.boxed.job() else { return Ok(Step::Done(Outcome::Abandoned)) };
        if !job.message.source.may_start() {
            return Ok(Step::Done(Outcome::Abandoned));
        }
        let shown = engine.running.of(*index);
        if let Some(shown) = shown {
            shown.begin(job.message.source.id(), job.message.offset);
        }
        let timed = &mut running.timed;
        let mut started = false;
        let mut suspended = false;
        let step = poll_fn(|cx| {
            let polled = catch_unwind(AssertUnwindSafe(|| {
                if !std::mem::replace(&mut started, true) {
                    start(engine, job, slot);
                }
                loop {
                    match slot.poll(cx) {
                        Poll::Ready(Step::Again(again)) if goes_on(&again, job) => {
                            count_panic(engine, job, &again.outcome);
                            job.next = again.next;
                            start(engine, job, slot);
                        }
                        polled => break polled,
                    }
                }
            }));
            match polled {
                Ok(Poll::Ready(step)) => Poll::Ready(Ok(step)),
                Err(payload) => Poll::Ready(Err(payload)),
                Ok(Poll::Pending) => {
                    if !std::mem::replace(&mut suspended, true) {
                        *timed = true;
                        engine.scheduler.suspend(*index);
                    }
                    Poll::Pending
                }
            }
        })
        .await;
        if let Some(shown) = shown {
            shown.end();
        }
        if suspended {
            // The executor has run other tasks meanwhile. Yielding again would put this worker
            // behind all tasks that woke with it.
            *pace = Pace::new();
        }
        step
    }

    /// Settles or defers the running job. Returns the panic of a regular message's handler.
    fn conclude(&mut self, step: Result<Step, PanicPayload>) -> Option<PanicPayload> {
        let CurrentJob { lane, mut boxed, timed } = self.running.take()?;
        let job = boxed.job()?;
        let (step, panic) = match step {
            Ok(step) => (step, None),
            Err(payload) => {
                self.slot.clear();
                let text = panic_text(&*payload);
                let handler = job.handler.take().or_else(|| self.engine.default_handler.clone());
                let (step, kind) = handler.as_ref().map_or_else(
                    || (Step::Done(Outcome::Abandoned), Kind::Regular),
                    |handler| (handler.panicked(job, text), handler.kind()),
                );
                job.handler = handler;
                (step, (kind == Kind::Regular).then_some(payload))
            }
        };
        match step {
            Step::Done(outcome) => {
                count_panic(&self.engine, job, &outcome);
                if timed && let Some(accepted) = job.accepted {
                    let latency = accepted.elapsed();
                    self.engine.report.latency(latency);
                    self.engine.latencies.record(latency);
                }
                let end = match &outcome {
                    Outcome::Ok => End::Ok,
                    Outcome::Failed(_) => End::Failed,
                    Outcome::Panicked(_) => End::Panicked,
                    Outcome::Abandoned => End::Abandoned,
                };
                self.ended = Some(Ended { lane, bytes: job.bytes(), end });
                if let Some(handler) = handler_of(&self.engine, job) {
                    handler.ended(job, &outcome);
                }
                std::mem::replace(&mut job.settlement, Settlement::ignored()).settle(outcome);
                boxed.empty();
                self.keep(boxed);
            }
            Step::Again(_) if job.message.source.has_ended() => {
                // The source was revoked, so the next attempt belongs to another owner. Dropping
                // the job abandons it.
                self.ended = Some(Ended { lane, bytes: job.bytes(), end: End::Abandoned });
            }
            Step::Again(again) => {
                let Reattempt { delay, is_retry, outcome, blocked, mut next } = *again;
                if blocked && let Some(next) = &mut next {
                    next.blocked(&job.message);
                }
                count_panic(&self.engine, job, &outcome);
                job.next = next;
                // Without a delay, the attempt panicked or may not start now, so that no attempt
                // could continue in its place.
                let until = self.engine.now() + delay.unwrap_or_default();
                self.woke =
                    self.engine.scheduler.defer(self.index, lane, boxed, until, blocked, is_retry);
            }
        }
        panic
    }

    /// Keeps an empty box, so that many return to the submitters at once.
    fn keep(&mut self, boxed: JobBox) {
        self.boxes.push(boxed);
        if self.boxes.len() == BOXES {
            self.engine.boxes.put(&mut self.boxes);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(shown) = self.engine.running.of(self.index) {
            shown.end();
        }
        let cut_off = self.running.take().map(|running| Ended {
            lane: running.lane,
            bytes: running.boxed.bytes(),
            end: End::Abandoned,
        });
        self.engine.scheduler.retire(self.index, self.ended.take().or(cut_off));
    }
}

fn handler_of<'a>(engine: &'a Engine, job: &'a Job) -> Option<&'a Arc<dyn ErasedHandler>> {
    job.handler.as_ref().or(engine.default_handler.as_ref())
}

/// Whether the next attempt starts at once, in place of the one that has ended. A job of a revoked
/// source belongs to another process by now.
fn goes_on(again: &Reattempt, job: &Job) -> bool {
    let source = &job.message.source;
    again.delay.is_none() && !source.has_ended() && source.may_start()
}

fn count_panic(engine: &Engine, job: &Job, outcome: &Outcome) {
    if matches!(outcome, Outcome::Panicked(_)) {
        engine.panicked(handler_of(engine, job).map_or(Kind::Regular, |handler| handler.kind()));
    }
}

fn start(engine: &Engine, job: &mut Job, slot: &mut AttemptSlot) {
    /// Returns the handler to its job, even if the start panics.
    struct Lent<'a>(&'a mut Job, Option<Arc<dyn ErasedHandler>>);
    impl Drop for Lent<'_> {
        fn drop(&mut self) {
            self.0.handler = self.1.take();
        }
    }
    job.message.attempt += 1;
    if let Some(next) = job.next.take() {
        next.start(job, slot);
    } else if let Some(handler) = job.handler.take() {
        // Moved out and back, because counting a reference would touch a shared cache line.
        let mut lent = Lent(job, Some(handler));
        if let Lent(job, Some(handler)) = &mut lent {
            handler.start(job, slot);
        }
    } else if let Some(handler) = &engine.default_handler {
        handler.start(job, slot);
    }
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Decides when a worker yields to the executor, so that timers and sockets are served beside
/// handlers that never wait.
struct Pace {
    since: Option<Instant>,
    /// The number of messages until the clock is read again.
    until_look: u32,
    /// The number of messages between two reads: few after slow messages, many after quick ones.
    stride: u32,
}

/// The time between two yields, unless a handler runs longer.
const SLICE: Duration = Duration::from_micros(200);

impl Pace {
    const fn new() -> Self {
        Self { since: None, until_look: 0, stride: 1 }
    }

    fn is_due(&mut self, rested: bool, now: impl FnOnce() -> Instant) -> bool {
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
