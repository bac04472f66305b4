//! The run: subscribe, publish, wait for the end, shut down, add up.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use buslane::{Backend, BusError, EventBus, TopicSettings, TopicStrategy};
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::options::{Options, Role};
use super::progress::Display;
use super::publish::{Backlog, PUBLISHERS, Pace, Publishing, Rate};
use super::report::{Notes, Recoveries, Report};
use super::rollout::RolloutRun;
use super::service::Service;
use super::workload::{CACHE, Plan};
use super::{handlers, workload};

/// Messages a second of a rollout.
const ROLLOUT_RATE: u64 = 1_500;
const TICK: Duration = Duration::from_millis(100);

/// The outcome of a run.
pub(crate) struct Ended {
    pub(crate) report: Report,
    pub(crate) notes: Notes,
    /// Publishing, the ledger or the rollout failed.
    failed: bool,
}

impl Ended {
    pub(crate) const fn is_good(&self) -> bool {
        self.report.is_good() && !self.failed
    }
}

/// Why waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Every message is over.
    Complete,
    /// No message has come for the idle time.
    Idle,
    /// A signal asked for the end.
    Interrupted,
}

pub(crate) async fn run(
    bus: &EventBus,
    service: &Arc<Service>,
    options: &Options,
    plan: &Arc<Plan>,
    mut interrupts: Interrupts,
    mut display: Display,
) -> Result<Ended, String> {
    let topics = workload::topics(options.topics);
    let recoveries = Recoveries::of(bus);
    prepare(bus, &topics, options.partitions).await.map_err(|error| error.to_string())?;
    if options.role.consumes() && options.backlog.is_none() {
        handlers::subscribe(bus, service, &topics).await.map_err(|error| error.to_string())?;
    }
    let consumed = topics.clone();
    let stop = CancellationToken::new();
    let publishing = options.role.publishes().then(|| {
        let pace = match (&**plan, options.speed) {
            (Plan::Replay { log, .. }, Some(speed)) => Some(Pace { first: log.first(), speed }),
            _ => None,
        };
        let window = usize::try_from(options.in_flight).unwrap_or(usize::MAX);
        let (bus, service, stop) = (bus.clone(), Arc::clone(service), stop.clone());
        let backlog = options.backlog.map(Backlog::new);
        let rate = options.rate.or(options.rollout.as_ref().map(|_| ROLLOUT_RATE)).map(Rate::new);
        let started = Instant::now();
        Arc::new(Publishing { bus, service, topics, pace, rate, started, window, backlog, stop })
    });
    let publishers = publishing.clone();
    let publishing = publishing.map(|publishing| tokio::spawn(publishing.run(Arc::clone(plan))));
    let backlog = publishers.as_ref().and_then(|publishers| publishers.backlog.as_ref());
    if let Some(backlog) = backlog {
        tokio::select! {
            _ = backlog.published.acquire_many(u32::try_from(PUBLISHERS).unwrap_or(1)) => {}
            () = interrupts.next() => stop.cancel(),
        }
        display.say(&format!(
            "{} messages wait, and the service starts",
            service.counters.counts().published
        ));
        handlers::subscribe(bus, service, &consumed).await.map_err(|error| error.to_string())?;
        backlog.go_on.cancel();
    }
    let show = options.rollout.as_ref().zip(service.defective_keys.as_ref()).map(
        |(plan, defective_keys)| {
            RolloutRun::begin(
                bus,
                plan.clone(),
                options.inject,
                defective_keys,
                display.printer(),
                stop.clone(),
            )
        },
    );
    let mut waiting =
        Waiting { bus, service, options, stop, publishing, failure: None, hurry: false };
    let end = waiting.wait(interrupts, &mut display).await;
    let deadline = if waiting.hurry { Duration::ZERO } else { bus.config().shutdown_deadline };
    let failure = waiting.end_publishing().await;
    let history = match show {
        Some(show) => show.ended().await,
        None => None,
    };
    let shutdown = bus.shutdown(deadline).await.map_err(|error| error.to_string())?;
    display.tick(bus, &service.counters);
    display.finish();

    let counts = service.counters.counts();
    let problems: Vec<String> =
        history.iter().flat_map(|history| history.problems.clone()).collect();
    let report =
        Report::new(bus, &service.counters, &counts, options.role, recoveries.summary(), history);
    let mut remarks: Vec<String> = failure.into_iter().collect();
    remarks.extend(service.ledger.as_ref().and_then(|ledger| ledger.check().err()));
    remarks.extend(problems);
    let failed = !remarks.is_empty();
    if shutdown.abandoned > 0 {
        remarks.push(format!("{} messages were left for redelivery", shutdown.abandoned));
    }
    let title = match (end, options.role) {
        (End::Interrupted, _) => "order_service: interrupted",
        (End::Idle, Role::All) => {
            "order_service: nothing has come for a while; what is missing counts as lost"
        }
        (End::Idle, _) | (End::Complete, _) => "order_service: complete",
    };
    let notes = Notes {
        title: title.to_owned(),
        chosen_by: bus.config().pools().chosen_by.to_string(),
        dropped: counts.dropped,
        foreign: counts.foreign,
        remarks,
    };
    Ok(Ended { report, notes, failed })
}

/// Creates the topics.
async fn prepare(
    bus: &EventBus,
    topics: &[String],
    partitions: Option<u32>,
) -> Result<(), BusError> {
    let others = [CACHE, handlers::DEAD_LETTERS];
    // Room for several consumers: a Kafka broker's own default is one partition.
    let partitions = partitions.or_else(|| (bus.config().backend() == Backend::Kafka).then_some(8));
    let partitions = partitions.filter(|count| *count > 0);
    // A stream has as many copies as it is created with; Kafka has a default of its own.
    let replication = bus.config().nats.stream.replication;
    let settings = TopicSettings { partitions, replication, ..TopicSettings::default() };
    for topic in topics.iter().map(String::as_str).chain(others) {
        bus.configure_topic(topic, &settings, TopicStrategy::CreateOnly).await?;
    }
    Ok(())
}

struct Waiting<'a> {
    bus: &'a EventBus,
    service: &'a Service,
    options: &'a Options,
    /// Stops publishing.
    stop: CancellationToken,
    publishing: Option<JoinHandle<Result<(), String>>>,
    /// Why publishing ended early.
    failure: Option<String>,
    /// A second signal came.
    hurry: bool,
}

impl Waiting<'_> {
    async fn wait(&mut self, mut interrupts: Interrupts, display: &mut Display) -> End {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut idle_since = Instant::now();
        let mut last_ns = 0;
        let mut interrupted_at: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = interrupts.next() => {
                    if interrupted_at.is_some() {
                        self.hurry = true;
                        return End::Interrupted;
                    }
                    interrupted_at = Some(Instant::now());
                    self.stop.cancel();
                    display.say("interrupted: draining; once more to leave at once");
                }
                ended = published(&mut self.publishing) => {
                    self.failure = ended.err();
                    self.publishing = None;
                }
            }
            display.tick(self.bus, &self.service.counters);
            let now = self.service.counters.last_ns();
            if now != last_ns || self.bus.pool_stats().open > 0 {
                (last_ns, idle_since) = (now, Instant::now());
            }
            // A requested backlog is drained to its end.
            let is_catching_up = self.options.backlog.is_some() && self.bus.recovery().is_active();
            let is_complete = self.publishing.is_none() && self.is_over() && !is_catching_up;
            match interrupted_at {
                Some(at) if is_complete || self.has_drained(at) => return End::Interrupted,
                None if is_complete => return End::Complete,
                None if self.is_idle(idle_since) && !is_catching_up => return End::Idle,
                _ => {}
            }
        }
    }

    /// Waits for publishers that still run, and returns the error that ended publishing early.
    async fn end_publishing(mut self) -> Option<String> {
        self.stop.cancel();
        if let Some(publishing) = self.publishing.take() {
            // Longer than a publish call may wait, so this gives up on nothing that still counts.
            let patience =
                if self.hurry { Duration::ZERO } else { self.bus.config().publish_timeout * 2 };
            let ended = timeout(patience, publishing).await;
            self.failure = ended.ok().and_then(Result::ok).and_then(Result::err);
        }
        self.failure
    }

    /// Whether every published message is over. A consumer alone cannot know.
    fn is_over(&self) -> bool {
        let counts = self.service.counters.counts();
        match self.options.role {
            Role::All => counts.ended() >= counts.published,
            Role::Publish => true,
            Role::Consume => false,
        }
    }

    /// Whether no message has come for the idle time. A replay at recorded speed may pause for
    /// longer.
    fn is_idle(&self, since: Instant) -> bool {
        let may_pause = self.publishing.is_some()
            && (self.options.speed.is_some() || self.options.role == Role::Publish);
        !may_pause && since.elapsed() >= self.options.idle
    }

    /// A consumer drains in the shutdown. The embedded broker forgets what is not settled, so there
    /// the lanes are given time for their retries.
    fn has_drained(&self, interrupted: Instant) -> bool {
        let drains_in_shutdown = self.options.role == Role::Consume;
        drains_in_shutdown || interrupted.elapsed() >= self.bus.config().shutdown_deadline
    }
}

/// Waits for the publishers; for ever when there are none.
async fn published(publishing: &mut Option<JoinHandle<Result<(), String>>>) -> Result<(), String> {
    match publishing {
        Some(publishing) => publishing.await.unwrap_or_else(|error| Err(error.to_string())),
        None => std::future::pending().await,
    }
}

/// Requests to stop, listened for from the time it is made.
pub(crate) struct Interrupts {
    #[cfg(unix)]
    interrupt: Signal,
    #[cfg(unix)]
    terminate: Signal,
    #[cfg(windows)]
    interrupt: tokio::signal::windows::CtrlC,
}

impl Interrupts {
    #[cfg(unix)]
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    #[cfg(windows)]
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: tokio::signal::windows::ctrl_c()? })
    }

    /// Waits for the next request.
    ///
    /// # Cancel safety
    /// Cancelling loses no request.
    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(windows)]
        self.interrupt.recv().await;
    }
}
