//! Shadows: a share of a subscription's messages also runs with a twin of the handler, on the other
//! kind of pool.
//!
//! A shadow is never settled, retried or given up, and nothing waits for it. The outcomes of
//! handler and twin are compared when both have ended.

use super::{
    aggregate::event_of,
    attempt::{Erased, run_once},
};
use crate::rollout::{Controller, ShadowComparison, ShadowOutcome};
use buslane_core::{
    AttemptSlot, CatchPanic, ErasedHandler, Event, Handler, HandlerError, Job, Kind, Local,
    Message, Outcome, Settlement, Source, Step, Verdict,
};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// The shadow of one subscription.
pub(crate) struct Shadow {
    percent: u8,
    twin: Arc<Erased>,
    /// Counts all messages, also those without a shadow.
    messages: AtomicU64,
    comparison: Arc<ShadowComparison>,
}

impl Shadow {
    pub(crate) fn of_messages(
        percent: u8,
        twin: impl Handler<Message>,
        timeout: Option<Duration>,
        comparison: &Arc<ShadowComparison>,
    ) -> Self {
        Self::new(percent, Twin { handler: twin, timeout, read: Ok }, comparison)
    }

    pub(crate) fn of_envelopes(
        percent: u8,
        twin: impl Handler<Event>,
        timeout: Option<Duration>,
        comparison: &Arc<ShadowComparison>,
    ) -> Self {
        Self::new(percent, Twin { handler: twin, timeout, read: event_of }, comparison)
    }

    fn new<M: Send + 'static, H: Handler<M>>(
        percent: u8,
        twin: Twin<M, H>,
        comparison: &Arc<ShadowComparison>,
    ) -> Self {
        let (twin, comparison) = (Erased::new(Erase(Arc::new(twin))), Arc::clone(comparison));
        Self { percent, twin, messages: AtomicU64::new(0), comparison }
    }

    pub(crate) const fn percent(&self) -> u8 {
        self.percent
    }

    /// Starts the shadow of a chosen message, if there is room. Returns the handler for the message
    /// itself.
    pub(super) fn begin(
        &self,
        rollout: &Controller,
        lane: u64,
        message: &Message,
        handler: Arc<dyn ErasedHandler>,
    ) -> Arc<dyn ErasedHandler> {
        if !is_chosen(self.messages.fetch_add(1, Relaxed), self.percent) {
            return handler;
        }
        let pair = Arc::new(Pair {
            source: Arc::clone(&message.source),
            offset: message.offset,
            comparison: Arc::clone(&self.comparison),
            so_far: Mutex::new(SoFar::None),
        });
        let noted = |role, handler| Arc::new(Noted { handler, role, pair: Arc::clone(&pair) });
        let twin = Job::new(lane, message.clone(), Settlement::ignored())
            .with_handler(noted(Role::Twin, self.twin.for_batch()));
        if rollout.try_shadow(twin) { noted(Role::Handler, handler) } else { handler }
    }
}

/// Whether the `n`-th message, from 0, has a shadow: `percent` of each hundred do, evenly spread.
const fn is_chosen(n: u64, percent: u8) -> bool {
    let (n, percent) = (n % 100, percent as u64);
    (n + 1) * percent / 100 > n * percent / 100
}

/// A message that runs twice.
///
/// # Drop behaviour
/// The message counts as dropped when one of the two was dropped before it ended.
struct Pair {
    source: Arc<Source>,
    offset: u64,
    comparison: Arc<ShadowComparison>,
    so_far: Mutex<SoFar>,
}

/// Which of the two have ended.
enum SoFar {
    None,
    One(Role, ShadowOutcome),
    Both,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Handler,
    Twin,
}

impl Pair {
    fn ended(&self, role: Role, ended: ShadowOutcome) {
        let first = {
            let mut so_far = self.so_far.lock();
            match std::mem::replace(&mut *so_far, SoFar::Both) {
                SoFar::One(first, earlier) if first != role => earlier,
                SoFar::None | SoFar::One(..) => {
                    *so_far = SoFar::One(role, ended);
                    return;
                }
                SoFar::Both => return,
            }
        };
        let (handler, twin) = if role == Role::Twin { (first, ended) } else { (ended, first) };
        self.comparison.compare(&self.source, self.offset, &handler, &twin);
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if !matches!(self.so_far.get_mut(), SoFar::Both) {
            self.comparison.dropped();
        }
    }
}

/// A handler whose outcome is noted for the comparison.
struct Noted {
    handler: Arc<dyn ErasedHandler>,
    role: Role,
    pair: Arc<Pair>,
}

impl ErasedHandler for Noted {
    fn kind(&self) -> Kind {
        self.handler.kind()
    }

    fn start(&self, job: &mut Job, slot: &mut AttemptSlot) {
        self.handler.start(job, slot);
    }

    fn ended(&self, job: &Job, outcome: &Outcome) {
        let took = job.accepted.as_ref().map(Instant::elapsed).unwrap_or_default();
        if let Some(ended) = ShadowOutcome::of(outcome, took) {
            self.pair.ended(self.role, ended);
        }
        self.handler.ended(job, outcome);
    }

    fn panicked(&self, job: &mut Job, text: String) -> Step {
        self.handler.panicked(job, text)
    }
}

/// A side-effect-free double of a handler.
struct Twin<M, H> {
    handler: H,
    timeout: Option<Duration>,
    read: fn(Message) -> Result<M, HandlerError>,
}

struct Erase<T>(Arc<T>);

impl<M: Send + 'static, H: Handler<M>> ErasedHandler for Erase<Twin<M, H>> {
    /// Also for regular messages: a panic of the twin must not cost an actor a restart.
    fn kind(&self) -> Kind {
        Kind::Envelope
    }

    fn start(&self, job: &mut Job, slot: &mut AttemptSlot) {
        slot.start(&self.0, job.message.take(), |twin: Local<Twin<M, H>>, message| async move {
            twin.run(message).await
        });
    }
}

impl<M: Send + 'static, H: Handler<M>> Twin<M, H> {
    /// Runs the only attempt.
    async fn run(&self, message: Message) -> Step {
        let judged = CatchPanic::new(async {
            match (self.read)(message) {
                Ok(message) => run_once(&self.handler, message, self.timeout).await,
                Err(error) => Verdict::Failed(error),
            }
        });
        Step::Done(judged.await.map_or_else(Outcome::Panicked, Outcome::from))
    }
}

#[cfg(test)]
mod tests {
    use super::is_chosen;

    #[test]
    fn s7_a_share_is_exact_and_evenly_spread() {
        for percent in 1..=100 {
            let chosen: Vec<u64> = (0..1_000).filter(|n| is_chosen(*n, percent)).collect();
            assert_eq!(chosen.len(), 10 * usize::from(percent), "{percent} %");
            let gaps = chosen.windows(2).map(|pair| pair[1] - pair[0]);
            let (least, most) = (gaps.clone().min(), gaps.max());
            let even = 100 / u64::from(percent);
            assert!(
                least >= Some(even) && most <= Some(even + 1),
                "{percent} %: {least:?} to {most:?}"
            );
        }
    }
}
