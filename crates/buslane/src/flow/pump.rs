//! One task for each source: it reads the source, routes the messages and hands them to the pool.
//!
//! Because each source has a task of its own, a source that waits for room holds up no other, nor
//! the thread that polls the broker.

use super::{
    admission::{Admission, Admitted, Rates},
    attempt::Services,
    registry::{Registry, Subscribed},
    route::{Routing, route},
};
use crate::{
    backlog::BacklogControl,
    parking,
    rollout::Controller,
    state::{BusState, SourceState, Waiting},
};
use buslane_core::{
    Delivery, Intake, Job, Outcome, Pool, Settlement, Source, SubmitError, shrunk_capacity,
};
use metrics::Gauge;
use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tracing::{field::display, info, warn};

/// What the pumps of a bus share. Attempts see only the [`Services`]; health and the monitor see
/// only the [`BusState`].
pub(crate) struct Flow {
    pub(crate) registry: Arc<Registry>,
    pub(crate) routing: Routing,
    pub(crate) rates: Rates,
    pub(crate) backlog: Arc<BacklogControl>,
    pub(crate) rollout: Arc<Controller>,
    pub(crate) pool: Arc<dyn Pool>,
    pub(crate) services: Arc<Services>,
    pub(crate) state: Arc<BusState>,
}

/// Messages read at a time.
const BATCH: usize = 256;

/// Runs until the source ends. Then its queued messages are dropped, unless the whole bus is
/// draining.
pub(crate) async fn pump(flow: Arc<Flow>, mut intake: Box<dyn Intake>) {
    let source = Arc::clone(intake.source());
    let reading = flow.state.sources.begin(&source);
    let mut had_one = false;
    while let Some(subscribed) = handler_of(&flow, &mut *intake, &reading.state, had_one).await
        && has_known_lag(&flow, &mut *intake).await
    {
        if let Stop::SourceOver = handle(&flow, &mut *intake, &subscribed, &reading.state).await {
            break;
        }
        had_one = true;
    }
    drop(intake);
    if !flow.state.reading.is_cancelled() {
        // Revoked or unsubscribed: messages that have not started belong to another member now.
        // The queued ones are purged first: once the source has ended, a message that fails makes
        // way for those behind it. The second purge drops those that failed in between and wait
        // for a retry.
        flow.pool.purge(&|job| Arc::ptr_eq(&job.message.source, &source));
        source.end();
        flow.pool.purge(&|job| Arc::ptr_eq(&job.message.source, &source));
    }
}

/// Waits until the topic of the intake has a handler. Until then its messages are held: neither
/// read nor settled. Logs that, unless the topic `had_one`: then the subscription has just ended,
/// and the broker is about to revoke the source.
async fn handler_of(
    flow: &Flow,
    intake: &mut dyn Intake,
    state: &SourceState,
    had_one: bool,
) -> Option<Arc<Subscribed>> {
    let topic = intake.source().topic.clone();
    state.waits(false);
    if let Some(subscribed) = flow.registry.get(&topic) {
        return Some(subscribed);
    }
    if !had_one {
        info!(topic = topic.as_str(), "messages held: no handler");
    }
    let _held = Held::new(flow, state);
    tokio::select! {
        biased;
        () = poll_fn(|cx| intake.poll_end(cx)) => None,
        subscribed = flow.registry.wait_for(&topic) => Some(subscribed),
    }
}

/// Waits until it is known whether the source is behind: recovery mode must be on before its first
/// message is handled. Returns `false` when the source ends.
async fn has_known_lag(flow: &Flow, intake: &mut dyn Intake) -> bool {
    let source = Arc::clone(intake.source());
    tokio::select! {
        biased;
        () = poll_fn(|cx| intake.poll_end(cx)) => false,
        () = flow.backlog.wait_for_lag(&source) => true,
    }
}

/// Counts a source that waits for its handler.
struct Held<'a>(&'a Flow, &'a SourceState);

impl<'a> Held<'a> {
    fn new(flow: &'a Flow, state: &'a SourceState) -> Self {
        flow.services.metrics.held(true);
        state.hold(true);
        Self(flow, state)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.services.metrics.held(false);
        self.1.hold(false);
    }
}

/// Why reading for one subscription stops.
enum Stop {
    /// The subscription has ended. None of its messages may be handed to the pool after this.
    Unsubscribed,
    /// The source has ended.
    SourceOver,
}

/// Waits for a reason to stop.
async fn stop(intake: &mut dyn Intake, unsubscribed: Pin<&mut impl Future<Output = ()>>) -> Stop {
    tokio::select! {
        biased;
        () = unsubscribed => Stop::Unsubscribed,
        () = poll_fn(|cx| intake.poll_end(cx)) => Stop::SourceOver,
    }
}

/// Reads for one subscription until there is a reason to stop. Where it parks keys, those of the
/// source are known before its first message is read.
async fn handle(
    flow: &Flow,
    intake: &mut dyn Intake,
    subscribed: &Arc<Subscribed>,
    state: &SourceState,
) -> Stop {
    let log = subscribed.parking.as_ref();
    let Some(owned) = log.and_then(|log| parking::own(flow, intake.source(), log)) else {
        return read(flow, intake, subscribed, state).await;
    };
    let mut parking = pin!(parking::carry_out(flow, subscribed, &owned.owner));
    let mut unsubscribed = pin!(subscribed.gone.cancelled());
    tokio::select! {
        biased;
        stop = stop(intake, unsubscribed.as_mut()) => return stop,
        never = &mut parking => match never {},
        () = owned.owner.ready() => {}
    }
    tokio::select! {
        stop = read(flow, intake, subscribed, state) => stop,
        never = &mut parking => match never {},
    }
}

/// Reads for one subscription until there is a reason to stop.
async fn read(
    flow: &Flow,
    intake: &mut dyn Intake,
    subscribed: &Arc<Subscribed>,
    state: &SourceState,
) -> Stop {
    // Dropped last: when the readers are done, none of them holds a message.
    let _reading = subscribed.readers.token();
    let (mut deliveries, mut jobs) = (Vec::new(), VecDeque::new());
    let mut unsubscribed = pin!(subscribed.gone.cancelled());
    let rates = [&*subscribed.rate, &flow.rates.bus, &flow.backlog.recovery_rate];
    let mut admission = Admission::new(subscribed.permits.as_ref(), rates);
    loop {
        state.waits(true);
        tokio::select! {
            biased;
            () = &mut unsubscribed => return Stop::Unsubscribed,
            read = poll_fn(|cx| intake.poll_next(cx, BATCH, &mut deliveries)) => {
                if read.is_none() {
                    return Stop::SourceOver;
                }
            }
        }
        let count = deliveries.len();
        state.took(count as u64);
        subscribed.metrics.consumed(count as u64);
        if subscribed.pause.is_on() {
            // Messages that were read before the pause wait here.
            tokio::select! {
                biased;
                stop = stop(intake, unsubscribed.as_mut()) => return stop,
                () = subscribed.pause.over() => {}
            }
        }
        if subscribed.options.settle_first {
            // The broker reads a topic that was announced before without this option.
            for delivery in &mut deliveries {
                std::mem::replace(&mut delivery.settlement, Settlement::ignored())
                    .settle(Outcome::Ok);
            }
        }
        while !deliveries.is_empty() {
            if admission.is_open() {
                make_jobs(flow, subscribed, deliveries.drain(..), Vec::new(), &mut jobs);
            } else {
                let Admitted { count, permits } = tokio::select! {
                    biased;
                    stop = stop(intake, unsubscribed.as_mut()) => return stop,
                    admitted = admission.admit(deliveries.len()) => admitted,
                };
                make_jobs(flow, subscribed, deliveries.drain(..count), permits, &mut jobs);
            }
            if let Err(stop) = submit(flow, intake, unsubscribed.as_mut(), &mut jobs).await {
                return stop;
            }
        }
        deliveries.shrink_to(shrunk_capacity(deliveries.capacity(), count));
        jobs.shrink_to(shrunk_capacity(jobs.capacity(), count));
        // A worker that was woken from here is queued behind this task until it yields.
        tokio::task::yield_now().await;
    }
}

fn make_jobs(
    flow: &Flow,
    subscribed: &Subscribed,
    deliveries: impl Iterator<Item = Delivery>,
    mut permits: Vec<OwnedSemaphorePermit>,
    jobs: &mut VecDeque<Job>,
) {
    let handler = subscribed.handler.for_batch();
    let keyed = subscribed.ordered || flow.backlog.is_recovering();
    jobs.extend(deliveries.map(|Delivery { mut message, settlement }| {
        let (lane, parsed) = route(&flow.routing, subscribed, keyed, &mut message);
        let handler = Arc::clone(&handler);
        let handler = match &subscribed.shadow {
            None => handler,
            Some(shadow) => shadow.begin(&flow.rollout, lane, &message, handler),
        };
        let mut job = Job::new(lane, message, settlement);
        job.handler = Some(handler);
        job.parsed = parsed.map(Box::new);
        job.permit = permits.pop().map(|permit| Box::new(permit) as Box<dyn Send>);
        job
    }));
}

/// Submits all jobs to the pool. A source that waits longer than the pool's wait timeout is
/// stalled.
async fn submit(
    flow: &Flow,
    intake: &mut dyn Intake,
    mut unsubscribed: Pin<&mut impl Future<Output = ()>>,
    jobs: &mut VecDeque<Job>,
) -> Result<(), Stop> {
    let (begun, mut stalled) = (Instant::now(), None);
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
                let waiting = Waiting::new(error, jobs.front());
                match &stalled {
                    Some(stalled) => Stalled::note(stalled, waiting),
                    None => stalled = Some(Stalled::new(flow, intake.source(), begun, waiting)),
                }
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
    stalled.iter().for_each(Stalled::over);
    Ok(())
}

/// Counts a source that has waited for room too long. It is not read until there is room, so its
/// broker stops sending.
struct Stalled<'a> {
    flow: &'a Flow,
    source: Arc<Source>,
    since: Instant,
    seconds: Gauge,
}

impl<'a> Stalled<'a> {
    fn new(flow: &'a Flow, source: &Arc<Source>, since: Instant, waiting: Waiting) -> Self {
        let (topic, partition, key) =
            (source.topic.as_str(), source.partition, waiting.key.as_ref().map(display));
        warn!(topic, partition, key, reason = %waiting.reason, "reading stopped: no room");
        flow.services.metrics.stalled(true);
        let seconds = flow.services.metrics.stall_of(source);
        let stalled = Self { flow, source: Arc::clone(source), since, seconds };
        stalled.note(waiting);
        stalled
    }

    /// Notes the reason and the time so far. Called each time the wait timeout has passed.
    fn note(&self, waiting: Waiting) {
        self.flow.state.stalls.waits(&self.source, waiting);
        self.seconds.set(self.since.elapsed().as_secs_f64());
    }

    /// Logs that there was room.
    fn over(&self) {
        let (topic, partition) = (self.source.topic.as_str(), self.source.partition);
        info!(topic, partition, seconds = self.since.elapsed().as_secs_f64(), "reading goes on");
    }
}

impl Drop for Stalled<'_> {
    fn drop(&mut self) {
        self.flow.services.metrics.stalled(false);
        self.seconds.set(0.0);
        self.flow.state.stalls.end(&self.source);
    }
}
