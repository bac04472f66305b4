//! The sources that are read, each by a task of its own, one behind the other where the same source
//! is read again.

use crate::{
    config::ConsumerConfig,
    consumers::Consumer,
    link::Link,
    source::{DurableSource, Listener, NatsIntake, Reader, Shared},
};
use buslane_core::{BrokerError, BrokerEvent, EventQueue, Lag, Source, SubscribeOptions, Topic};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A topic, or one of its partitions.
pub(crate) type Place = (Topic, Option<u32>);

pub(crate) struct Readers {
    link: Arc<Link>,
    events: Arc<EventQueue>,
    settings: Arc<ConsumerConfig>,
    tasks: TaskTracker,
    /// Cancelled when nothing may run any more.
    alive: CancellationToken,
    running: Mutex<HashMap<Place, Running>>,
    /// How topics are read.
    options: Mutex<HashMap<Topic, SubscribeOptions>>,
    /// Messages that were open when their source was left.
    left: AtomicUsize,
}

struct Running {
    shared: Arc<Shared>,
    consumer: Option<Consumer>,
    done: watch::Receiver<bool>,
}

impl Running {
    /// Where nothing is stored, nothing is settled.
    const fn possible(&self, options: SubscribeOptions) -> SubscribeOptions {
        SubscribeOptions {
            settle_first: options.settle_first && self.consumer.is_some(),
            ..options
        }
    }
}

/// What reads a source.
pub(crate) enum How {
    /// A durable consumer.
    Durable(DurableSource),
    /// Core NATS: a subject, and the group that shares it.
    Listening(String),
}

impl Readers {
    pub(crate) fn new(
        link: Arc<Link>,
        events: Arc<EventQueue>,
        settings: Arc<ConsumerConfig>,
        tasks: TaskTracker,
        alive: CancellationToken,
    ) -> Self {
        let (running, options) = (Mutex::default(), Mutex::default());
        Self { link, events, settings, tasks, alive, running, options, left: AtomicUsize::new(0) }
    }

    /// How a topic is read from now on. Settling first stays until it is forgotten.
    pub(crate) fn set(&self, topic: &Topic, options: SubscribeOptions) {
        {
            let mut all = self.options.lock();
            let own = all.entry(topic.clone()).or_default();
            *own = SubscribeOptions {
                settle_first: own.settle_first || options.settle_first,
                ..options
            };
        }
        for (_, running) in self.running.lock().iter().filter(|((of, _), _)| of == topic) {
            running.shared.set(running.possible(options));
        }
    }

    /// Nothing is said of how a topic is read.
    pub(crate) fn forget(&self, topic: &Topic) {
        self.options.lock().remove(topic);
    }

    /// Reads a source from now on; behind its last reader, if that one still has something open.
    pub(crate) fn start(self: &Arc<Self>, place: Place, how: How) {
        let most = self.settings.max_ack_pending as usize;
        // Below what the server allows, so that it never falls silent.
        let capacity = (most - most / 10).max(1);
        let lease = match &how {
            How::Durable(source) => source.lease.clone(),
            How::Listening(_) => None,
        };
        let source = Source::new(place.0.clone(), place.1.unwrap_or(0));
        let source = Arc::new(match lease.clone() {
            // Also what is queued in a pool: this process may have been stopped in between.
            Some(lease) => source.held_while(move || lease.is_valid(Instant::now())),
            None => source,
        });
        let low = (self.settings.prefetch as usize).div_ceil(2);
        let (ended, done) = watch::channel(false);
        let consumer = match &how {
            How::Durable(source) => Some(source.consumer.clone()),
            How::Listening(_) => None,
        };
        let (shared, before) = {
            let mut running = self.running.lock();
            let shared = Shared::new(source, place.1, capacity, low, lease);
            let started = Running { shared: Arc::clone(&shared), consumer, done };
            if let Some(options) = self.options.lock().get(&place.0) {
                shared.set(started.possible(*options));
            }
            let before = running.insert(place.clone(), started);
            (shared, before)
        };
        let readers = Arc::clone(self);
        self.tasks.spawn(self.alive.clone().run_until_cancelled_owned(async move {
            let _vital = readers.link.vital("the task of a source");
            if let Some(mut before) = before {
                let _ = before.done.wait_for(|done| *done).await;
            }
            if !shared.has_ended() {
                readers
                    .events
                    .push(BrokerEvent::Assigned(Box::new(NatsIntake(Arc::clone(&shared)))));
            }
            let reading = Arc::clone(&shared);
            // Boxed: all that is around it, up to the executor, would have room for it, and some of
            // that twice.
            let open = match how {
                How::Durable(source) => {
                    Box::pin(Reader::new(Arc::clone(&readers.link), reading, source).run()).await
                }
                How::Listening(group) => {
                    Box::pin(Listener::new(Arc::clone(&readers.link), reading, group).run()).await
                }
            };
            readers.left.fetch_add(open, Ordering::AcqRel);
            readers.remove(&place, &shared);
            ended.send_replace(true);
        }));
    }

    /// A reader has ended; the one behind it, if there is one, stays.
    fn remove(&self, place: &Place, shared: &Arc<Shared>) {
        let mut running = self.running.lock();
        if running.get(place).is_some_and(|running| Arc::ptr_eq(&running.shared, shared)) {
            running.remove(place);
        }
    }

    /// Ends a source; what is open is awaited until the deadline. The answer says when it has
    /// ended; none when nothing reads it.
    pub(crate) fn end(
        &self,
        place: &Place,
        deadline: Option<Instant>,
    ) -> Option<watch::Receiver<bool>> {
        let running = self.running.lock();
        let running = running.get(place)?;
        running.shared.end(deadline);
        Some(running.done.clone())
    }

    /// Ends a source at once: it belongs to somebody else.
    pub(crate) fn lose(&self, place: &Place) {
        if let Some(running) = self.running.lock().get(place) {
            running.shared.lose();
        }
    }

    /// Ends all sources.
    pub(crate) fn end_all(&self, deadline: Option<Instant>) {
        self.running.lock().values().for_each(|running| running.shared.end(deadline));
    }

    /// Messages that were open when their source was left.
    pub(crate) fn left(&self) -> usize {
        self.left.load(Ordering::Acquire)
    }

    /// How far behind each source is that is read.
    pub(crate) async fn lag(&self) -> Result<Vec<Lag>, BrokerError> {
        let reading: Vec<(Place, Arc<Shared>, Option<Consumer>)> = {
            let running = self.running.lock();
            let reading = running.iter().filter(|(_, running)| !running.shared.has_ended());
            reading
                .map(|(place, running)| {
                    (place.clone(), Arc::clone(&running.shared), running.consumer.clone())
                })
                .collect()
        };
        let mut lags = Vec::with_capacity(reading.len());
        for ((topic, partition), shared, consumer) in reading {
            let partition = partition.unwrap_or(0);
            let Some(consumer) = consumer else {
                // Core NATS keeps nothing for who is late.
                lags.push(Lag { topic, partition, messages: 0, open: 0, unread: None, age: None });
                continue;
            };
            let info = consumer.info(&self.link).await?;
            let messages = info.num_pending + info.num_ack_pending as u64;
            let oldest = match shared.oldest_ms() {
                _ if messages == 0 => None,
                Some(oldest) => Some(oldest),
                None => consumer.oldest_ms(&self.link, info.ack_floor.stream_sequence).await?,
            };
            // While readers hold as many as the server allows, it hands out no more.
            let is_full = info.num_ack_pending >= self.settings.max_ack_pending as usize;
            let unread =
                shared.waiting().map(|here| if is_full { here } else { here + info.num_pending });
            lags.push(Lag {
                topic,
                partition,
                messages,
                open: messages,
                unread,
                age: oldest.map(age),
            });
        }
        Ok(lags)
    }
}

fn age(since_ms: i64) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_millis(u64::try_from(since_ms).unwrap_or(0)))
}
