//! One task a source: reads it, routes its messages and hands them to the pool.
//!
//! Because each source has a task of its own, waiting for room is waiting alone: other sources go on, and the
//! thread that polls the broker never waits.

use super::{Flow, Subscribed, envelope::parsed_state, route::route};
use buslane_core::{Delivery, Intake, Job, Source, SubmitError};
use std::{collections::VecDeque, future::poll_fn, sync::Arc};
use tracing::{info, warn};

/// Messages read at a time.
const BATCH: usize = 256;

/// Runs until the source is over. What it had queued is dropped then, unless the whole bus is draining.
pub(crate) async fn pump(flow: Arc<Flow>, mut intake: Box<dyn Intake>) {
    let source = Arc::clone(intake.source());
    while let Some(subscribed) = handler_of(&flow, &mut *intake).await {
        if read(&flow, &mut *intake, &subscribed).await.is_break() {
            break;
        }
    }
    drop(intake);
    if !flow.reading.is_cancelled() {
        // Revoked or unsubscribed: what has not started belongs to somebody else now.
        source.end();
        flow.pool.purge(&|job| job.message.source.has_ended());
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

type Flowing = std::ops::ControlFlow<()>;

/// Reads for one subscription until it ends (continue) or the source does (break).
async fn read(flow: &Flow, intake: &mut dyn Intake, subscribed: &Arc<Subscribed>) -> Flowing {
    let _reading = subscribed.readers.token();
    let mut deliveries = Vec::with_capacity(BATCH);
    let mut jobs = VecDeque::with_capacity(BATCH);
    let mut gone = std::pin::pin!(flow.registry.wait_until_gone(subscribed));
    loop {
        tokio::select! {
            biased;
            () = &mut gone => return Flowing::Continue(()),
            read = poll_fn(|cx| intake.poll_next(cx, BATCH, &mut deliveries)) => {
                if read.is_none() {
                    return Flowing::Break(());
                }
            }
        }
        flow.services.metrics.consumed(deliveries.len() as u64);
        if subscribed.limits.any() {
            for delivery in deliveries.drain(..) {
                let Delivery { message, settlement } = delivery;
                let settlement = tokio::select! {
                    biased;
                    () = poll_fn(|cx| intake.poll_end(cx)) => return Flowing::Break(()),
                    settlement = subscribed.limits.admit(settlement) => settlement,
                };
                make_jobs(flow, subscribed, [Delivery { message, settlement }], &mut jobs);
                submit(flow, intake, &mut jobs).await?;
            }
        } else {
            make_jobs(flow, subscribed, deliveries.drain(..), &mut jobs);
            submit(flow, intake, &mut jobs).await?;
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
async fn submit(flow: &Flow, intake: &mut dyn Intake, jobs: &mut VecDeque<Job>) -> Flowing {
    let mut stalled = None;
    while !jobs.is_empty() {
        let result = tokio::select! {
            biased;
            () = poll_fn(|cx| intake.poll_end(cx)) => {
                jobs.clear();
                return Flowing::Break(());
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
                return Flowing::Break(());
            }
        }
    }
    Flowing::Continue(())
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
