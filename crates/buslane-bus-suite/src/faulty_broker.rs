//! A proxy between a bus and its broker. It refuses, holds or hides the calls and messages that a
//! scenario names, and passes all others through.

use buslane_core::{
    Answer, Backend, BoxFuture, Broker, BrokerCounts, BrokerError, BrokerEvent, Delivery, Intake,
    Lag, Progress, PublishError, Receipt, Record, Source, SubscribeOptions, Symptom, Symptoms,
    Topic, TopicSettings, TopicStrategy,
    broker::{LogReader, PartitionLog},
};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::watch;

/// A broker with faults on demand.
pub struct FaultyBroker {
    broker: Arc<dyn Broker>,
    /// Topics that refuse every record.
    refused: Arc<Mutex<HashSet<Topic>>>,
    /// The largest record, by topic.
    limits: Mutex<HashMap<Topic, usize>>,
    /// The error of `ensure_topic`, by topic.
    lacks: Mutex<HashMap<Topic, BrokerError>>,
    /// Topics whose publishes are never answered.
    silent: Mutex<HashSet<Topic>>,
    /// Topics whose `subscribe` is held.
    stuck: watch::Sender<HashSet<Topic>>,
    /// The number of `subscribe` calls that were held.
    arrived: watch::Sender<usize>,
    /// Topics whose messages are withheld.
    muted: Arc<watch::Sender<HashSet<Topic>>>,
    /// The number of calls of `lag`.
    lags: watch::Sender<usize>,
    /// Whether `ping` is never answered.
    is_deaf: AtomicBool,
    scatters: AtomicBool,
    /// Reported in addition to the broker's symptoms.
    symptoms: Symptoms,
}

impl FaultyBroker {
    /// Passes everything through until a fault is set.
    #[must_use]
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self {
            broker,
            refused: Arc::default(),
            limits: Mutex::default(),
            lacks: Mutex::default(),
            silent: Mutex::default(),
            stuck: watch::Sender::default(),
            arrived: watch::Sender::default(),
            muted: Arc::default(),
            lags: watch::Sender::default(),
            is_deaf: AtomicBool::new(false),
            symptoms: Symptoms::default(),
            scatters: AtomicBool::new(false),
        }
    }

    /// Reports from now on that equal partition numbers of two topics may belong to different
    /// members.
    pub fn scatter(&self) {
        self.scatters.store(true, Relaxed);
    }

    /// Leaves `ping` unanswered from now on.
    pub fn ignore_pings(&self) {
        self.is_deaf.store(true, Relaxed);
    }

    /// Symptoms that the proxy reports in addition to the broker's.
    #[must_use]
    pub fn symptoms(&self) -> &Symptoms {
        &self.symptoms
    }

    /// Refuses every record for the topic from now on, or accepts records again.
    pub fn refuse(&self, topic: &Topic, refuse: bool) {
        set(&self.refused, topic, refuse);
    }

    /// Refuses records larger than `bytes` for the topic from now on.
    pub fn limit(&self, topic: &Topic, bytes: usize) {
        lock(&self.limits).insert(topic.clone(), bytes);
    }

    /// Makes `ensure_topic` fail with this error from now on.
    pub fn lack(&self, topic: &Topic, error: BrokerError) {
        lock(&self.lacks).insert(topic.clone(), error);
    }

    /// Never answers a publish to the topic from now on.
    pub fn keep_silent(&self, topic: &Topic) {
        set(&self.silent, topic, true);
    }

    /// Holds `subscribe` to the topic from now on, or releases it.
    pub fn hold_subscribe(&self, topic: &Topic, hold: bool) {
        self.stuck.send_modify(|stuck| {
            if hold {
                stuck.insert(topic.clone());
            } else {
                stuck.remove(topic);
            }
        });
    }

    /// Withholds the messages of the topic from now on, or delivers them again.
    pub fn mute(&self, topic: &Topic, mute: bool) {
        self.muted.send_modify(|muted| {
            if mute {
                muted.insert(topic.clone());
            } else {
                muted.remove(topic);
            }
        });
    }

    /// The number of calls of `lag`.
    #[must_use]
    pub fn lags_asked(&self) -> usize {
        *self.lags.borrow()
    }

    /// Waits until `lag` was called `count` times.
    pub async fn lag_asked(&self, count: usize) {
        let _ = self.lags.subscribe().wait_for(|now| *now >= count).await;
    }

    /// Waits until `count` calls of `subscribe` were held.
    pub async fn held(&self, count: usize) {
        let _ = self.arrived.subscribe().wait_for(|now| *now >= count).await;
    }
}

fn set(topics: &Mutex<HashSet<Topic>>, topic: &Topic, listed: bool) {
    let mut topics = lock(topics);
    if listed {
        topics.insert(topic.clone());
    } else {
        topics.remove(topic);
    }
}

fn is_in(topics: &Mutex<HashSet<Topic>>, topic: &Topic) -> bool {
    lock(topics).contains(topic)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A log that refuses records while its topic does.
struct FaultyLog {
    inner: Arc<dyn PartitionLog>,
    topic: Topic,
    refused: Arc<Mutex<HashSet<Topic>>>,
}

impl PartitionLog for FaultyLog {
    fn append(&self, record: Record) -> BoxFuture<'_, Result<u64, PublishError>> {
        if is_in(&self.refused, &self.topic) {
            let (topic, reason) = (self.topic.clone(), "read only".to_owned());
            return Box::pin(std::future::ready(Err(PublishError::Refused { topic, reason })));
        }
        self.inner.append(record)
    }

    fn read(&self, from: u64) -> Box<dyn LogReader> {
        self.inner.read(from)
    }

    fn forget(&self, below: u64) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.inner.forget(below)
    }
}

/// An intake whose messages can be withheld.
struct Muted {
    intake: Box<dyn Intake>,
    muted: Arc<watch::Sender<HashSet<Topic>>>,
    change: Option<BoxFuture<'static, ()>>,
}

impl Muted {
    /// Ready while the topic is not muted. Wakes the task when that changes.
    fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(change) = &mut self.change {
                match change.as_mut().poll(cx) {
                    Poll::Pending => {}
                    Poll::Ready(()) => {
                        self.change = None;
                        continue;
                    }
                }
            } else {
                let mut muted = self.muted.subscribe();
                self.change = Some(Box::pin(async move { drop(muted.changed().await) }));
                continue;
            }
            let is_muted = self.muted.borrow().contains(&self.intake.source().topic);
            return if is_muted { Poll::Pending } else { Poll::Ready(()) };
        }
    }
}

impl Intake for Muted {
    fn source(&self) -> &Arc<Source> {
        self.intake.source()
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        out: &mut Vec<Delivery>,
    ) -> Poll<Option<usize>> {
        match self.poll_heard(cx) {
            Poll::Ready(()) => self.intake.poll_next(cx, max, out),
            Poll::Pending => self.intake.poll_end(cx).map(|()| None),
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.intake.poll_end(cx)
    }
}

impl Broker for FaultyBroker {
    fn backend(&self) -> Backend {
        self.broker.backend()
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        records: Vec<Record>,
    ) -> Answer<'a, Vec<Result<Receipt, PublishError>>> {
        if is_in(&self.silent, topic) {
            return Answer::Later(Box::pin(std::future::pending()));
        }
        if is_in(&self.refused, topic) {
            let error =
                PublishError::Refused { topic: topic.clone(), reason: "read only".to_owned() };
            return Answer::Now(vec![Err(error); records.len()]);
        }
        let most = lock(&self.limits).get(topic).copied().unwrap_or(usize::MAX);
        if let Some(bytes) = records.iter().map(Record::bytes).find(|bytes| *bytes > most) {
            let error = PublishError::TooLarge {
                topic: topic.clone(),
                bytes,
                limit: format!("{most}, of the faulty broker"),
            };
            return Answer::Now(vec![Err(error); records.len()]);
        }
        self.broker.publish(topic, records)
    }

    fn ensure_topic<'a>(&'a self, topic: &'a Topic) -> BoxFuture<'a, Result<(), BrokerError>> {
        match lock(&self.lacks).get(topic) {
            Some(error) => Box::pin(std::future::ready(Err(error.clone()))),
            None => self.broker.ensure_topic(topic),
        }
    }

    fn ensure_log<'a>(
        &'a self,
        topic: &'a Topic,
        log: &'a Topic,
    ) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.broker.ensure_log(topic, log)
    }

    fn log(&self, log: &Topic, partition: u32) -> Option<Arc<dyn PartitionLog>> {
        let inner = self.broker.log(log, partition)?;
        let refused = Arc::clone(&self.refused);
        Some(Arc::new(FaultyLog { inner, topic: log.clone(), refused }))
    }

    fn subscribe<'a>(
        &'a self,
        topics: &'a [(Topic, SubscribeOptions)],
    ) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            let is_stuck =
                |stuck: &HashSet<Topic>| topics.iter().any(|(topic, _)| stuck.contains(topic));
            let mut stuck = self.stuck.subscribe();
            if is_stuck(&stuck.borrow()) {
                self.arrived.send_modify(|arrived| *arrived += 1);
            }
            let _ = stuck.wait_for(|stuck| !is_stuck(stuck)).await;
            self.broker.subscribe(topics).await
        })
    }

    fn unsubscribe<'a>(&'a self, topic: &'a Topic) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.broker.unsubscribe(topic)
    }

    fn next_event(&self) -> BoxFuture<'_, Option<BrokerEvent>> {
        Box::pin(async move {
            Some(match self.broker.next_event().await? {
                BrokerEvent::Assigned(intake) => BrokerEvent::Assigned(Box::new(Muted {
                    intake,
                    muted: Arc::clone(&self.muted),
                    change: None,
                })),
                other => other,
            })
        })
    }

    fn configure_topic<'a>(
        &'a self,
        topic: &'a Topic,
        settings: &'a TopicSettings,
        strategy: TopicStrategy,
    ) -> BoxFuture<'a, Result<TopicSettings, BrokerError>> {
        self.broker.configure_topic(topic, settings, strategy)
    }

    fn topic_settings<'a>(
        &'a self,
        topic: &'a Topic,
    ) -> BoxFuture<'a, Result<Option<TopicSettings>, BrokerError>> {
        self.broker.topic_settings(topic)
    }

    fn lag(&self) -> BoxFuture<'_, Result<Vec<Lag>, BrokerError>> {
        self.lags.send_modify(|lags| *lags += 1);
        self.broker.lag()
    }

    fn progress<'a>(
        &'a self,
        topics: &'a [Topic],
    ) -> BoxFuture<'a, Result<Vec<Progress>, BrokerError>> {
        self.broker.progress(topics)
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        if self.is_deaf.load(Relaxed) {
            Box::pin(std::future::pending())
        } else {
            self.broker.ping()
        }
    }

    fn symptoms(&self) -> Vec<Symptom> {
        let mut all = self.broker.symptoms();
        all.extend(self.symptoms.all());
        all
    }

    fn counts(&self) -> BrokerCounts {
        self.broker.counts()
    }

    fn scatters(&self, topics: &[&Topic]) -> Option<String> {
        // Ignores the broker's answer, which depends on its configuration.
        let _ = topics;
        self.scatters.load(Relaxed).then(|| "they are scattered".to_owned())
    }

    fn stop_reading(&self) -> BoxFuture<'_, ()> {
        self.broker.stop_reading()
    }

    fn close(&self, deadline: Duration) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.broker.close(deadline)
    }
}
