//! The sources that this process reads, each in a separate task. A source that is read again waits
//! for its previous task.

use crate::{
    config::ConsumerConfig,
    consumers::DurableConsumer,
    link::Link,
    source::{DurableSource, Listener, NatsIntake, Reader, RecentlyAcked, SourceHandle},
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
pub(crate) type SourceId = (Topic, Option<u32>);

pub(crate) struct Readers {
    link: Arc<Link>,
    events: Arc<EventQueue>,
    settings: Arc<ConsumerConfig>,
    tasks: TaskTracker,
    /// Cancelled when every task must stop.
    alive: CancellationToken,
    running: Mutex<HashMap<SourceId, RunningReader>>,
    /// The options of each topic.
    options: Mutex<HashMap<Topic, SubscribeOptions>>,
    /// The recent acknowledgements of sources whose lease was lost, for their next reader. An
    /// outage that outlasts the lease must not repeat messages whose acknowledgement a killed
    /// server has forgotten.
    lost: Mutex<HashMap<SourceId, RecentlyAcked>>,
    /// The number of messages that were open when their reader stopped.
    left: AtomicUsize,
}

struct RunningReader {
    handle: Arc<SourceHandle>,
    consumer: Option<DurableConsumer>,
    done: watch::Receiver<bool>,
}

impl RunningReader {
    /// The applicable options: an ephemeral topic settles no message.
    const fn possible(&self, options: SubscribeOptions) -> SubscribeOptions {
        SubscribeOptions {
            settle_first: options.settle_first && self.consumer.is_some(),
            ..options
        }
    }
}

/// How a source is read.
pub(crate) enum ReadMode {
    /// From a durable consumer.
    Durable(DurableSource),
    /// From core NATS, shared with this queue group.
    Ephemeral(String),
}

impl Readers {
    pub(crate) fn new(
        link: Arc<Link>,
        events: Arc<EventQueue>,
        settings: Arc<ConsumerConfig>,
        tasks: TaskTracker,
        alive: CancellationToken,
    ) -> Self {
        Self {
            link,
            events,
            settings,
            tasks,
            alive,
            running: Mutex::default(),
            options: Mutex::default(),
            lost: Mutex::default(),
            left: AtomicUsize::new(0),
        }
    }

    /// Sets the options of a topic. `settle_first` stays set until [`Self::forget`].
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
            running.handle.set(running.possible(options));
        }
    }

    /// Removes the options of a topic, and its recent acknowledgements.
    pub(crate) fn forget(&self, topic: &Topic) {
        self.options.lock().remove(topic);
        self.lost.lock().retain(|(of, _), _| of != topic);
    }

    /// Starts to read a source, once its previous reader has stopped.
    pub(crate) fn start(self: &Arc<Self>, id: SourceId, mode: ReadMode) {
        let most = self.settings.max_ack_pending as usize;
        // Below the server's limit, at which the server would stop delivering.
        let capacity = (most - most / 10).max(1);
        let lease = match &mode {
            ReadMode::Durable(source) => source.lease.clone(),
            ReadMode::Ephemeral(_) => None,
        };
        let source = Source::new(id.0.clone(), id.1.unwrap_or(0));
        let source = Arc::new(match lease.clone() {
            // Pools check the lease too, because this process may be suspended while a message is
            // queued.
            Some(lease) => source.with_fence(move || lease.is_valid(Instant::now())),
            None => source,
        });
        let low = (self.settings.prefetch as usize).div_ceil(2);
        let (ended, done) = watch::channel(false);
        let consumer = match &mode {
            ReadMode::Durable(source) => Some(source.consumer.clone()),
            ReadMode::Ephemeral(_) => None,
        };
        let (handle, before) = {
            let mut running = self.running.lock();
            let stragglers = &self.link.stragglers;
            let handle = SourceHandle::new(source, id.1, capacity, low, lease, stragglers);
            let started = RunningReader { handle: Arc::clone(&handle), consumer, done };
            if let Some(options) = self.options.lock().get(&id.0) {
                handle.set(started.possible(*options));
            }
            let before = running.insert(id.clone(), started);
            (handle, before)
        };
        let readers = Arc::clone(self);
        self.tasks.spawn(self.alive.clone().run_until_cancelled_owned(async move {
            let _guard = readers.link.panic_guard("the task of a source");
            if let Some(mut before) = before {
                let _ = before.done.wait_for(|done| *done).await;
            }
            if !handle.has_ended() {
                readers
                    .events
                    .push(BrokerEvent::Assigned(Box::new(NatsIntake(Arc::clone(&handle)))));
            }
            let reading = Arc::clone(&handle);
            // Boxed, because every surrounding future would otherwise be as large.
            let open = match mode {
                ReadMode::Durable(source) => {
                    let recent = readers.lost.lock().remove(&id).unwrap_or_default();
                    let reader = Reader::new(Arc::clone(&readers.link), reading, source, recent);
                    let (open, recent) = Box::pin(reader.run()).await;
                    if handle.is_lost() {
                        readers.lost.lock().insert(id.clone(), recent);
                    }
                    open
                }
                ReadMode::Ephemeral(group) => {
                    Box::pin(Listener::new(Arc::clone(&readers.link), reading, group).run()).await
                }
            };
            readers.left.fetch_add(open, Ordering::AcqRel);
            readers.remove(&id, &handle);
            ended.send_replace(true);
        }));
    }

    /// Removes a reader that has stopped, unless another one has replaced it.
    fn remove(&self, id: &SourceId, handle: &Arc<SourceHandle>) {
        let mut running = self.running.lock();
        if running.get(id).is_some_and(|running| Arc::ptr_eq(&running.handle, handle)) {
            running.remove(id);
        }
    }

    /// Ends a source. Its open messages may end until the deadline. The receiver turns true when
    /// the reader has stopped. `None` if no reader reads the source.
    pub(crate) fn end(
        &self,
        id: &SourceId,
        deadline: Option<Instant>,
    ) -> Option<watch::Receiver<bool>> {
        let running = self.running.lock();
        let running = running.get(id)?;
        running.handle.end(deadline);
        Some(running.done.clone())
    }

    /// Ends a source at once, because it belongs to another member.
    pub(crate) fn lose(&self, id: &SourceId) {
        if let Some(running) = self.running.lock().get(id) {
            running.handle.lose();
        }
    }

    /// Ends all sources.
    pub(crate) fn end_all(&self, deadline: Option<Instant>) {
        self.running.lock().values().for_each(|running| running.handle.end(deadline));
    }

    /// The number of messages that were open when their reader stopped.
    pub(crate) fn left(&self) -> usize {
        self.left.load(Ordering::Acquire)
    }

    /// The lag of each source.
    pub(crate) async fn lag(&self) -> Result<Vec<Lag>, BrokerError> {
        let reading: Vec<(SourceId, Arc<SourceHandle>, Option<DurableConsumer>)> = {
            let running = self.running.lock();
            let reading = running.iter().filter(|(_, running)| !running.handle.has_ended());
            reading
                .map(|(id, running)| {
                    (id.clone(), Arc::clone(&running.handle), running.consumer.clone())
                })
                .collect()
        };
        let mut lags = Vec::with_capacity(reading.len());
        for ((topic, partition), handle, consumer) in reading {
            let partition = partition.unwrap_or(0);
            let Some(consumer) = consumer else {
                // Core NATS stores no messages, so none waits.
                lags.push(Lag { topic, partition, messages: 0, open: 0, unread: None, age: None });
                continue;
            };
            let info = consumer.info(&self.link).await?;
            let messages = info.num_pending + info.num_ack_pending as u64;
            let oldest = match handle.oldest_ms() {
                _ if messages == 0 => None,
                Some(oldest) => Some(oldest),
                None => consumer.oldest_ms(&self.link, info.ack_floor.stream_sequence).await?,
            };
            // The server delivers no message while readers hold as many as the limit allows.
            let is_full = info.num_ack_pending >= self.settings.max_ack_pending as usize;
            let unread =
                handle.waiting().map(|here| if is_full { here } else { here + info.num_pending });
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
