//! The lease task watches the bucket and carries out the decisions of [`LeaseState`]. It never
//! waits for an answer of the server while a lease may expire.

use super::{
    coordinator::{Coordinator, DesiredState, DesiredTopic},
    keys::{self, Entry},
    state::{Action, LeaseState, PartitionKey},
};
use crate::{
    readers::{ReadMode, SourceId},
    source::DurableSource,
};
use async_nats::jetstream::kv::{self, Operation, Store, Watch};
use buslane_core::{BoxFuture, BrokerError, SymptomKind, Topic, excerpt};
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

const PAUSE: Duration = Duration::from_millis(200);

/// The result of a request or a wait that the task started.
enum Completion {
    Claimed(PartitionKey, Option<u64>),
    Released(PartitionKey, Option<u64>),
    Drained(PartitionKey),
    /// The time of sending, and the revision unless the renewal failed.
    Renewed(Instant, Option<u64>),
    /// The partitions of a topic were looked up again.
    Adapted(Topic, Result<(), BrokerError>),
}

struct LeaseTask {
    coordinator: Arc<Coordinator>,
    store: Store,
    desired: watch::Receiver<DesiredState>,
    /// The version of the desired state that the task knows.
    version: u64,
    me: String,
    state: LeaseState,
    /// Topics by their token.
    names: BTreeMap<String, (Topic, DesiredTopic)>,
    work: FuturesUnordered<BoxFuture<'static, Completion>>,
    renew_at: Instant,
    adapt_at: Instant,
}

/// Maintains the leases until the member has left and holds none. Idle until the first topic.
pub(crate) async fn keep_leases(coordinator: Arc<Coordinator>) {
    let mut desired = coordinator.desired.subscribe();
    let is_needed =
        |desired: &DesiredState| !desired.topics.is_empty() || desired.leaving.is_some();
    if desired.wait_for(is_needed).await.is_ok_and(|desired| desired.topics.is_empty()) {
        return;
    }
    let symptoms = Arc::clone(&coordinator.link.symptoms);
    let store = loop {
        match coordinator.bucket().await {
            Ok(store) => {
                symptoms.clear(SymptomKind::GroupUnsettled, None);
                break store;
            }
            Err(reason) => {
                tracing::warn!(reason = %excerpt::error(&reason), "the bucket of leases cannot be opened");
                symptoms.note(SymptomKind::GroupUnsettled, None, reason);
            }
        }
        if desired.borrow().leaving.is_some() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    };
    LeaseTask::new(coordinator, store, desired).run().await;
}

impl LeaseTask {
    fn new(
        coordinator: Arc<Coordinator>,
        store: Store,
        desired: watch::Receiver<DesiredState>,
    ) -> Self {
        let now = Instant::now();
        let inbox = coordinator.link.client().new_inbox();
        let me = inbox.rsplit('.').next().unwrap_or(&inbox).to_owned();
        let state = LeaseState::new(me.clone(), coordinator.settings.lease, now);
        Self {
            coordinator,
            store,
            desired,
            version: 0,
            me,
            state,
            names: BTreeMap::new(),
            work: FuturesUnordered::new(),
            renew_at: now,
            adapt_at: now,
        }
    }

    async fn run(mut self) {
        self.apply_desired();
        let (mut watch, mut epoch) = (None, self.coordinator.link.epoch.clone());
        let tick = (self.coordinator.settings.lease / 20).max(Duration::from_millis(10));
        loop {
            if watch.is_none() {
                let keys = keys::all_keys(&self.coordinator.group);
                // The present handle may belong to a client that has ended.
                let opening = async {
                    let store = self.coordinator.find_bucket().await.ok()?;
                    let watch = store.watch_with_history(keys).await.ok()?;
                    Some((store, watch))
                };
                if let Some((store, opened)) =
                    tokio::time::timeout(PAUSE, opening).await.ok().flatten()
                {
                    (self.store, watch) = (store, Some(opened));
                    self.state.reopened(Instant::now());
                }
            }
            let now = Instant::now();
            if self.act(now) {
                break;
            }
            self.coordinator.applied.send_if_modified(|applied| {
                std::mem::replace(applied, self.version) != self.version
            });
            let wake = tokio::time::Instant::from_std((now + tick).min(self.renew_at.max(now)));
            tokio::select! {
                biased;
                changed = self.desired.changed() => match changed {
                    Ok(()) => self.apply_desired(),
                    Err(_) => break,
                },
                _ = epoch.changed() => watch = None,
                Some(completion) = self.work.next(), if !self.work.is_empty() => self.note(completion),
                entry = next(&mut watch) => match entry {
                    Some(entry) => self.see(entry),
                    None => watch = None,
                },
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        let key = keys::member_key(&self.coordinator.group, &self.me);
        let _ = tokio::time::timeout(self.coordinator.link.request_timeout, self.store.purge(key))
            .await;
    }

    /// Applies the desired state.
    fn apply_desired(&mut self) {
        let desired = self.desired.borrow_and_update().clone();
        self.version = desired.version;
        // A removed topic keeps its name until its partitions are released.
        for (topic, desired) in &desired.topics {
            self.names.insert(desired.token(topic), (topic.clone(), desired.clone()));
        }
        let counts =
            desired.topics.iter().map(|(topic, desired)| (desired.token(topic), desired.leases()));
        self.state.want(counts.collect());
        self.renew_at = Instant::now();
    }

    /// Performs all due work. Returns whether the member has left.
    fn act(&mut self, now: Instant) -> bool {
        let leaving = self.desired.borrow().leaving;
        if now >= self.renew_at {
            self.renew(now);
        }
        if now >= self.adapt_at {
            self.adapt_at = now + self.coordinator.settings.lease;
            self.adapt();
        }
        for action in self.state.step(now) {
            self.carry_out(action, now, leaving.flatten());
        }
        leaving.is_some() && self.state.is_idle()
    }

    fn carry_out(&mut self, action: Action, now: Instant, deadline: Option<Instant>) {
        let key = |of: &PartitionKey| keys::partition_key(&self.coordinator.group, &of.0, of.1);
        match action {
            Action::Claim(partition, revision) => {
                let (key, store, me) = (key(&partition), self.store.clone(), self.me.clone());
                self.work.push(Box::pin(async move {
                    let revision = store.update(key, me.into(), revision).await.ok();
                    Completion::Claimed(partition, revision)
                }));
            }
            Action::Release(partition, revision) => {
                let (key, store) = (key(&partition), self.store.clone());
                self.work.push(Box::pin(async move {
                    let revision = store.update(key, bytes::Bytes::new(), revision).await.ok();
                    Completion::Released(partition, revision)
                }));
            }
            Action::Start(partition) => self.start(&partition),
            Action::Revoke(partition) => {
                let Some(source) = self.source(&partition) else {
                    return self.state.drained(&partition);
                };
                let deadline = deadline.unwrap_or(now + self.coordinator.settings.drain_deadline);
                let ended = self.coordinator.readers.end(&source, Some(deadline));
                self.work.push(Box::pin(async move {
                    if let Some(mut ended) = ended {
                        let _ = ended.wait_for(|ended| *ended).await;
                    }
                    Completion::Drained(partition)
                }));
            }
            Action::Lose(partition) => {
                let Some(source) = self.source(&partition) else { return };
                tracing::warn!(
                    topic = source.0.as_str(),
                    partition = partition.1,
                    "lease lost: what runs belongs to another member"
                );
                self.coordinator.readers.lose(&source);
            }
        }
    }

    /// The source that reads a partition.
    fn source(&self, partition: &PartitionKey) -> Option<SourceId> {
        let (topic, desired) = self.names.get(&partition.0)?;
        Some((topic.clone(), desired.partition(partition.1)))
    }

    fn start(&mut self, partition: &PartitionKey) {
        let Some((topic, desired)) = self.names.get(&partition.0) else { return };
        match self.coordinator.consumer(topic, partition.1, desired) {
            Ok(consumer) => {
                let lease = Some(self.state.lease().clone());
                let source = (topic.clone(), desired.partition(partition.1));
                let mode = ReadMode::Durable(DurableSource { consumer, lease });
                self.coordinator.readers.start(source, mode);
            }
            Err(error) => {
                tracing::error!(topic = topic.as_str(), partition = partition.1, error = %excerpt::error(&error), "partition not read")
            }
        }
    }

    /// Renews the lease of this member.
    fn renew(&mut self, now: Instant) {
        self.renew_at = now + self.coordinator.settings.lease / 3;
        let desired = self.desired.borrow();
        let value =
            keys::topics_value(desired.topics.iter().map(|(topic, desired)| desired.token(topic)));
        drop(desired);
        let (store, key) =
            (self.store.clone(), keys::member_key(&self.coordinator.group, &self.me));
        let timeout = self.coordinator.settings.lease / 3;
        self.work.push(Box::pin(async move {
            let sent = tokio::time::timeout(timeout, store.put(key, value.into())).await;
            Completion::Renewed(now, sent.ok().and_then(Result::ok))
        }));
    }

    /// Looks for partitions that were added to the topics.
    fn adapt(&mut self) {
        for topic in self.desired.borrow().topics.keys() {
            let (coordinator, topic) = (Arc::clone(&self.coordinator), topic.clone());
            self.work.push(Box::pin(async move {
                let answer = coordinator.adapt(&topic).await;
                Completion::Adapted(topic, answer)
            }));
        }
    }

    fn note(&mut self, completion: Completion) {
        match completion {
            Completion::Claimed(partition, revision) => self.state.claimed(partition, revision),
            Completion::Released(partition, revision) => self.state.released(&partition, revision),
            Completion::Drained(partition) => self.state.drained(&partition),
            Completion::Renewed(sent, Some(revision)) => {
                self.coordinator.link.symptoms.clear(SymptomKind::GroupUnsettled, None);
                self.state.renewed(sent, revision, Instant::now());
            }
            Completion::Renewed(_, None) => {
                let reason = "the bucket of leases does not take the renewal of this member";
                self.coordinator.link.symptoms.note(SymptomKind::GroupUnsettled, None, reason);
                self.renew_at = self.renew_at.min(Instant::now() + PAUSE);
            }
            Completion::Adapted(_, Ok(()) | Err(BrokerError::Unreachable { .. })) => {}
            Completion::Adapted(topic, Err(error)) => {
                tracing::warn!(topic = topic.as_str(), error = %excerpt::error(&error), "new partitions are not read yet");
            }
        }
    }

    fn see(&mut self, entry: kv::Entry) {
        let value = match entry.operation {
            Operation::Put => Some(String::from_utf8_lossy(&entry.value).into_owned()),
            Operation::Delete | Operation::Purge => None,
        };
        match keys::read(&entry.key, value.as_deref()) {
            Some(Entry::Member(id, topics)) => {
                self.state.member(id, entry.revision, topics, Instant::now())
            }
            Some(Entry::Partition(topic, partition, owner)) => {
                self.state.partition((topic, partition), entry.revision, owner, Instant::now());
            }
            None => {}
        }
        if entry.seen_current {
            self.state.synced();
        }
    }
}

/// The next entry; `None` when the watch has ended. Without a watch, waits forever.
async fn next(watch: &mut Option<Watch>) -> Option<kv::Entry> {
    match watch {
        Some(watch) => watch.next().await.and_then(Result::ok),
        None => std::future::pending().await,
    }
}
