//! One task a source: reads it, routes its messages and hands them to the pool.
//!
//! Because each source has a task of its own, waiting for room is waiting alone: other sources go on, and the
//! thread that polls the broker never waits.

use super::{Flow, Subscribed, envelope::parsed_state, route::route};
use buslane_core::{Delivery, Intake, Job, Outcome, Settlement, Source, SubmitError};
use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
};
use tracing::{info, warn};

/// Messages read at a time.
const BATCH: usize = 256;

/// Runs until the source is over. What it had queued is dropped then, unless the whole bus is draining.
pub(crate) async fn pump(flow: Arc<Flow>, mut intake: Box<dyn Intake>) {
    let source = Arc::clone(intake.source());
    while let Some(subscribed) = handler_of(&flow, &mut *intake).await {
        if let Stop::SourceOver = read(&flow, &mut *intake, &subscribed).await {
            break;
        }
    }
    drop(intake);
    if !flow.reading.is_cancelled() {
        // Revoked or unsubscribed: what has not started belongs to somebody else now. What is queued goes first:
        // once the source has ended, a message that fails makes way for those behind it. Those that have failed
        // in between wait for a retry, and go now.
        flow.pool.purge(&|job| Arc::ptr_eq(&job.message.source, &source));
        source.end();
        flow.pool.purge(&|job| Arc::ptr_eq(&job.message.source, &source));
    }
}

/// Waits until the topic of the intake has a handler. Its messages are held meanwhile: not read, not settled.
async fn handler_of(flow: &Flow, intake: &mut dyn Intake) -> Option<Arc<Subscribed>> {
    let topic = intake.source().topic.clone();
    if let Some(subscribed) = flow.registry.get(&topic) {
        return Some(subscribed);
    }
    let _held = Held::new(flow, &topic);
    tokio::select! {
        biased;
        () = poll_fn(|cx| intake.poll_end(cx)) => None,
        subscribed = flow.registry.wait_for(&topic) => Some(subscribed),
    }
}

/// Counts a source that waits for its handler.
struct Held<'a>(&'a Flow);

impl<'a> Held<'a> {
    fn new(flow: &'a Flow, topic: &str) -> Self {
        info!(topic, "messages held: no handler");
        flow.services.metrics.held(true);
        Self(flow)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.services.metrics.held(false);
    }
}

/// Why reading for one subscription stops.
enum Stop {
    /// The subscription is not there any more. Nothing of it may be handed to the pool after this.
    Unsubscribed,
    /// The source is over.
    SourceOver,
}

/// Waits until there is a reason to stop.
async fn stop(intake: &mut dyn Intake, unsubscribed: Pin<&mut impl Future<Output = ()>>) -> Stop {
    tokio::select! {
        biased;
        () = unsubscribed => Stop::Unsubscribed,
        () = poll_fn(|cx| intake.poll_end(cx)) => Stop::SourceOver,
    }
}

/// Reads for one subscription until there is a reason to stop.
async fn read(flow: &Flow, intake: &mut dyn Intake, subscribed: &Arc<Subscribed>) -> Stop {
    // Dropped last: who waits for the readers knows that nothing is in their hands any more.
    let _reading = subscribed.readers.token();
    let mut deliveries = Vec::with_capacity(BATCH);
    let mut jobs = VecDeque::with_capacity(BATCH);
    let mut unsubscribed = pin!(flow.registry.wait_until_gone(subscribed));
    loop {
        tokio::select! {
            biased;
            () = &mut unsubscribed => return Stop::Unsubscribed,
            read = poll_fn(|cx| intake.poll_next(cx, BATCH, &mut deliveries)) => {
                if read.is_none() {
                    return Stop::SourceOver;
                }
            }
        }
        flow.services.metrics.consumed(deliveries.len() as u64);
        if subscribed.options.settle_first {
            // A topic that was announced before is read without this option.
            for delivery in &mut deliveries {
                std::mem::replace(&mut delivery.settlement, Settlement::ignored()).settle(Outcome::Ok);
            }
        }
        if subscribed.limits.any() {
            for delivery in deliveries.drain(..) {
                let Delivery { message, settlement } = delivery;
                let settlement = tokio::select! {
                    biased;
                    stop = stop(intake, unsubscribed.as_mut()) => return stop,
                    settlement = subscribed.limits.admit(settlement) => settlement,
                };
                make_jobs(flow, subscribed, [Delivery { message, settlement }], &mut jobs);
                if let Err(stop) = submit(flow, intake, unsubscribed.as_mut(), &mut jobs).await {
                    return stop;
                }
            }
        } else {
            make_jobs(flow, subscribed, deliveries.drain(..), &mut jobs);
            if let Err(stop) = submit(flow, intake, unsubscribed.as_mut(), &mut jobs).await {
                return stop;
            }
        }
        // A worker that was woken from here is queued behind this task until it yields.
        tokio::task::yield_now().await;
    }
}

fn make_jobs(
    flow: &Flow,
    subscribed: &Subscribed,
    deliveries: impl IntoIterator<Item = Delivery>,
    jobs: &mut VecDeque<Job>,
) {
    let handler = subscribed.handler.for_batch();
    jobs.extend(deliveries.into_iter().map(|Delivery { mut message, settlement }| {
        let (lane, parsed) = route(flow, subscribed, &mut message);
        let mut job = Job::new(lane, message, settlement).with_handler(Arc::clone(&handler));
        job.state = parsed.map(parsed_state);
        job
    }));
}

/// Hands all jobs to the pool. Waiting longer than the pool's wait timeout stalls the source.
async fn submit(
    flow: &Flow,
    intake: &mut dyn Intake,
    mut unsubscribed: Pin<&mut impl Future<Output = ()>>,
    jobs: &mut VecDeque<Job>,
) -> Result<(), Stop> {
    let mut stalled = None;
    while !jobs.is_empty() {
        let result = tokio::select! {
            biased;
            stop = stop(intake, unsubscribed.as_mut()) => {
                jobs.clear();
                return Err(stop);
            }
            result = flow.pool.submit(jobs) => result,
        };
        match result {
            Ok(()) => {}
            Err(error) if error.is_temporary() => {
                stalled.get_or_insert_with(|| Stalled::new(flow, intake.source(), error));
            }
            Err(error) => {
                if error != SubmitError::Stopped {
                    warn!(source = %intake.source(), %error, "pool refused messages");
                }
                jobs.clear();
                return Err(Stop::SourceOver);
            }
        }
    }
    Ok(())
}

/// Counts a source that has waited too long. Not reading it is what tells its broker to stop.
struct Stalled<'a>(&'a Flow);

impl<'a> Stalled<'a> {
    fn new(flow: &'a Flow, source: &Source, reason: SubmitError) -> Self {
        warn!(topic = source.topic.as_str(), partition = source.partition, %reason, "reading stopped: no room");
        flow.services.metrics.stalled(true);
        Self(flow)
    }
}

impl Drop for Stalled<'_> {
    fn drop(&mut self) {
        self.0.services.metrics.stalled(false);
    }
}
