//! A member of a group, which also publishes: the connection of a bus to the memory broker.

use crate::{
    balance::MemberId,
    cluster::Cluster,
    config::MemberOptions,
    group::{Group, NextEvent},
    log::now_ms,
    partition_log::MemoryLog,
};
use buslane_core::{
    Answer, Backend, BoxFuture, Broker, BrokerCounts, BrokerError, BrokerEvent, Lag, Progress,
    PublishError, Receipt, Record, Stragglers, SubscribeOptions, Topic, TopicSettings,
    TopicStrategy, broker::PartitionLog,
};
use parking_lot::Mutex;
use std::{
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// A member of a [`MemoryBroker`](crate::MemoryBroker), created by
/// [`MemoryBroker::member`](crate::MemoryBroker::member).
///
/// # Drop behaviour
/// Dropping the member without [`Broker::close`] is a crash: its open deliveries go to the other
/// members, or to the member that joins the group next. Later settlements of these deliveries count
/// as late.
pub struct MemoryMember {
    pub(crate) cluster: Arc<Cluster>,
    group: Arc<Group>,
    id: MemberId,
    pub(crate) options: MemberOptions,
    stragglers: Arc<Stragglers>,
    closing: AtomicBool,
    /// The result of the first `close` that finished.
    end: OnceLock<Result<(), BrokerError>>,
    /// Notified when `end` is set.
    pub(crate) closed: Notify,
    /// The number of connection changes that `next_event` has reported.
    reported: Mutex<u64>,
}

impl std::fmt::Debug for MemoryMember {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryMember")
            .field("group", &self.options.group)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl MemoryMember {
    pub(crate) fn new(cluster: Arc<Cluster>, options: MemberOptions) -> Self {
        let stragglers = Arc::default();
        let (group, id) = cluster.join(&options.group, options.drain_deadline, &stragglers);
        let reported = cluster.connection.changes() & !1;
        Self {
            cluster,
            group,
            id,
            options,
            stragglers,
            closing: AtomicBool::new(false),
            end: OnceLock::new(),
            closed: Notify::new(),
            reported: Mutex::new(reported),
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.end.get().is_some()
    }

    /// The next unreported change of the connection. A short interruption is reported as a loss and
    /// a return.
    fn connection_event(&self) -> Option<BrokerEvent> {
        let mut reported = self.reported.lock();
        if *reported == self.cluster.connection.changes() {
            return None;
        }
        *reported += 1;
        Some(if reported.is_multiple_of(2) {
            BrokerEvent::Reconnected
        } else {
            BrokerEvent::Disconnected { reason: self.cluster.connection.reason() }
        })
    }

    async fn event(&self) -> Option<BrokerEvent> {
        loop {
            let mut changed = pin!(self.group.context.signal.changed());
            changed.as_mut().enable();
            if !self.is_closing()
                && let Some(event) = self.connection_event()
            {
                return Some(event);
            }
            match self.group.next_event(self.id) {
                NextEvent::Assigned(intake) => {
                    return Some(BrokerEvent::Assigned(Box::new(intake)));
                }
                NextEvent::Gone => return None,
                NextEvent::Nothing(None) => changed.await,
                NextEvent::Nothing(Some(at)) => {
                    tokio::select! { () = changed => {}, () = sleep_until(at) => {} }
                }
            }
        }
    }

    async fn leave(&self, timeout: Duration) -> Result<(), BrokerError> {
        let deadline = Instant::now() + timeout;
        self.closing.store(true, Ordering::Release);
        self.group.leave(self.id, deadline);
        loop {
            let mut changed = pin!(self.group.context.signal.changed());
            changed.as_mut().enable();
            if self.is_closed() || self.group.open_of(self.id) == 0 || Instant::now() >= deadline {
                break;
            }
            tokio::select! { () = changed => {}, () = sleep_until(deadline) => {} }
        }
        // The first caller to arrive here decides the result; the others repeat it.
        let end = self.end.get_or_init(|| match self.group.expel(self.id) {
            0 => Ok(()),
            open => Err(BrokerError::Timeout {
                what: format!("{open} open deliveries of group {}", self.options.group),
                deadline: timeout,
            }),
        });
        self.closed.notify_waiters();
        end.clone()
    }
}

impl Drop for MemoryMember {
    fn drop(&mut self) {
        if !self.is_closed() {
            self.group.leave(self.id, Instant::now());
            // A cancelled close has left the group, but not released its partitions.
            self.group.expel(self.id);
        }
    }
}

impl Broker for MemoryMember {
    fn backend(&self) -> Backend {
        Backend::Memory
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        records: Vec<Record>,
    ) -> Answer<'a, Vec<Result<Receipt, PublishError>>> {
        self.publish_batch(topic, records)
    }

    fn ensure_topic<'a>(&'a self, topic: &'a Topic) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            if self.is_closing() {
                return Err(BrokerError::Closed);
            }
            match self.cluster.topic(topic)?.refusal() {
                None => Ok(()),
                Some(rule) => {
                    Err(BrokerError::Setting { topic: topic.clone(), setting: "publish", rule })
                }
            }
        })
    }

    fn subscribe<'a>(
        &'a self,
        topics: &'a [(Topic, SubscribeOptions)],
    ) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            if self.is_closing() {
                return Err(BrokerError::Closed);
            }
            let found = |(topic, options): &(Topic, SubscribeOptions)| {
                self.cluster.topic(topic).map(|topic| (topic, options.settle_first))
            };
            let topics = topics.iter().map(found).collect::<Result<_, _>>()?;
            let is_member = self.group.subscribe(self.id, topics, self.options.offset_reset);
            if is_member { Ok(()) } else { Err(BrokerError::Closed) }
        })
    }

    fn unsubscribe<'a>(&'a self, topic: &'a Topic) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            if self.is_closing() {
                return Err(BrokerError::Closed);
            }
            self.group.unsubscribe(self.id, topic);
            Ok(())
        })
    }

    fn next_event(&self) -> BoxFuture<'_, Option<BrokerEvent>> {
        Box::pin(self.event())
    }

    fn configure_topic<'a>(
        &'a self,
        topic: &'a Topic,
        settings: &'a TopicSettings,
        strategy: TopicStrategy,
    ) -> BoxFuture<'a, Result<TopicSettings, BrokerError>> {
        Box::pin(async move {
            if self.is_closing() {
                return Err(BrokerError::Closed);
            }
            self.cluster.configure(topic, settings, strategy)
        })
    }

    fn topic_settings<'a>(
        &'a self,
        topic: &'a Topic,
    ) -> BoxFuture<'a, Result<Option<TopicSettings>, BrokerError>> {
        Box::pin(async move {
            if self.is_closing() {
                return Err(BrokerError::Closed);
            }
            Ok(self.cluster.find(topic).map(|topic| topic.settings()))
        })
    }

    fn lag(&self) -> BoxFuture<'_, Result<Vec<Lag>, BrokerError>> {
        Box::pin(async move {
            if self.is_closing() {
                return Err(BrokerError::Closed);
            }
            Ok(self.group.lag_of(self.id, now_ms()))
        })
    }

    fn progress<'a>(
        &'a self,
        topics: &'a [Topic],
    ) -> BoxFuture<'a, Result<Vec<Progress>, BrokerError>> {
        Box::pin(async move {
            // A closing bus requests the progress of the messages that it leaves unsettled.
            if self.is_closed() {
                return Err(BrokerError::Closed);
            }
            Ok(self.group.progress(topics))
        })
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        let connection = &self.cluster.connection;
        let answer = if connection.is_up() {
            Ok(())
        } else {
            Err(BrokerError::Unreachable { reason: connection.reason() })
        };
        Box::pin(std::future::ready(answer))
    }

    fn counts(&self) -> BrokerCounts {
        self.stragglers.counts()
    }

    fn ensure_log<'a>(
        &'a self,
        topic: &'a Topic,
        log: &'a Topic,
    ) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            if self.is_closing() {
                return Err(BrokerError::Closed);
            }
            MemoryLog::ensure(&self.cluster, topic, log)
        })
    }

    fn log(&self, log: &Topic, partition: u32) -> Option<Arc<dyn PartitionLog>> {
        Some(Arc::new(MemoryLog::open(&self.cluster, log, partition)?))
    }

    fn stop_reading(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.group.stop(self.id) })
    }

    fn close(&self, deadline: Duration) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(self.leave(deadline))
    }
}
