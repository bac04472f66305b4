//! The task of a keeper: hears what changes in the bucket, and carries out what the machine
//! decides. Nothing in it waits for an answer while a lease may end.

use super::{
    keeper::{Keeper, Orders, Wanted},
    machine::{Action, Machine, Place},
    words::{self, Word},
};
use crate::{readers::How, source::DurableSource};
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

/// What has become of something.
enum News {
    Claimed(Place, Option<u64>),
    Released(Place, Option<u64>),
    Drained(Place),
    /// Sent then; its revision, if it has arrived.
    Renewed(Instant, Option<u64>),
    /// A topic's partitions were looked at.
    Looked(Topic, Result<(), BrokerError>),
}

/// What the task knows.
pub(super) struct Watcher {
    keeper: Arc<Keeper>,
    store: Store,
    orders: watch::Receiver<Orders>,
    /// Of the orders that are known.
    version: u64,
    me: String,
    machine: Machine,
    /// Topics by their token.
    names: BTreeMap<String, (Topic, Wanted)>,
    work: FuturesUnordered<BoxFuture<'static, News>>,
    renew_at: Instant,
    look_at: Instant,
    /// What the last sign of life said.
    said: Option<String>,
}

impl Watcher {
    pub(super) fn new(keeper: Arc<Keeper>, store: Store, orders: watch::Receiver<Orders>) -> Self {
        let now = Instant::now();
        let inbox = keeper.link.client().new_inbox();
        let me = inbox.rsplit('.').next().unwrap_or(&inbox).to_owned();
        let machine = Machine::new(me.clone(), keeper.settings.lease, now);
        Self {
            keeper,
            store,
            orders,
            version: 0,
            me,
            machine,
            names: BTreeMap::new(),
            work: FuturesUnordered::new(),
            renew_at: now,
            look_at: now,
            said: None,
        }
    }

    pub(super) async fn run(mut self) {
        self.obey();
        let (mut watch, mut epoch) = (None, self.keeper.link.epoch.clone());
        let tick = (self.keeper.settings.lease / 20).max(Duration::from_millis(10));
        loop {
            if watch.is_none() {
                let keys = words::all_keys(&self.keeper.group);
                // The handle of before may be one of a client that has ended.
                let opening = async {
                    let store = self.keeper.find_bucket().await.ok()?;
                    let watch = store.watch_with_history(keys).await.ok()?;
                    Some((store, watch))
                };
                if let Some((store, opened)) =
                    tokio::time::timeout(PAUSE, opening).await.ok().flatten()
                {
                    (self.store, watch) = (store, Some(opened));
                    self.machine.reopened(Instant::now());
                }
            }
            let now = Instant::now();
            if self.act(now) {
                break;
            }
            self.keeper
                .obeyed
                .send_if_modified(|obeyed| std::mem::replace(obeyed, self.version) != self.version);
            let wake = tokio::time::Instant::from_std((now + tick).min(self.renew_at.max(now)));
            tokio::select! {
                biased;
                changed = self.orders.changed() => match changed {
                    Ok(()) => self.obey(),
                    Err(_) => break,
                },
                _ = epoch.changed() => watch = None,
                Some(news) = self.work.next(), if !self.work.is_empty() => self.hear(news),
                entry = next(&mut watch) => match entry {
                    Some(entry) => self.see(entry),
                    None => watch = None,
                },
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        let key = words::member_key(&self.keeper.group, &self.me);
        let _ = tokio::time::timeout(self.keeper.link.request_timeout, self.store.purge(key)).await;
    }

    /// Takes over what the member is to do.
    fn obey(&mut self) {
        let orders = self.orders.borrow_and_update().clone();
        self.version = orders.version;
        // A topic that is read no more is needed until its partitions are given up.
        for (topic, wanted) in &orders.wants {
            self.names.insert(wanted.token(topic), (topic.clone(), wanted.clone()));
        }
        let counts =
            orders.wants.iter().map(|(topic, wanted)| (wanted.token(topic), wanted.places()));
        self.machine.want(counts.collect());
        self.renew_at = Instant::now();
    }

    /// Does what is due; whether the member has left.
    fn act(&mut self, now: Instant) -> bool {
        let leaving = self.orders.borrow().leaving;
        if now >= self.renew_at {
            self.renew(now);
        }
        if now >= self.look_at {
            self.look_at = now + self.keeper.settings.lease;
            self.look();
        }
        for action in self.machine.step(now) {
            self.carry_out(action, now, leaving.flatten());
        }
        leaving.is_some() && self.machine.is_idle()
    }

    fn carry_out(&mut self, action: Action, now: Instant, deadline: Option<Instant>) {
        let key = |place: &Place| words::place_key(&self.keeper.group, &place.0, place.1);
        match action {
            Action::Claim(place, revision) => {
                let (key, store, me) = (key(&place), self.store.clone(), self.me.clone());
                self.work.push(Box::pin(async move {
                    let revision = store.update(key, me.into(), revision).await.ok();
                    News::Claimed(place, revision)
                }));
            }
            Action::Release(place, revision) => {
                let (key, store) = (key(&place), self.store.clone());
                self.work.push(Box::pin(async move {
                    let revision = store.update(key, bytes::Bytes::new(), revision).await.ok();
                    News::Released(place, revision)
                }));
            }
            Action::Start(place) => self.start(&place),
            Action::Revoke(place) => {
                let Some((topic, wanted)) = self.names.get(&place.0) else {
                    return self.machine.drained(&place);
                };
                let deadline = deadline.unwrap_or(now + self.keeper.settings.drain_deadline);
                let done = self
                    .keeper
                    .readers
                    .end(&(topic.clone(), wanted.partition(place.1)), Some(deadline));
                self.work.push(Box::pin(async move {
                    if let Some(mut done) = done {
                        let _ = done.wait_for(|done| *done).await;
                    }
                    News::Drained(place)
                }));
            }
            Action::Lose(place) => {
                let Some((topic, wanted)) = self.names.get(&place.0) else { return };
                tracing::warn!(
                    topic = topic.as_str(),
                    partition = place.1,
                    "lease lost: what runs belongs to another member"
                );
                self.keeper.readers.lose(&(topic.clone(), wanted.partition(place.1)));
            }
        }
    }

    fn start(&mut self, place: &Place) {
        let Some((topic, wanted)) = self.names.get(&place.0) else { return };
        match self.keeper.consumer(topic, place.1, wanted) {
            Ok(consumer) => {
                let source = DurableSource { consumer, lease: Some(self.machine.lease().clone()) };
                self.keeper
                    .readers
                    .start((topic.clone(), wanted.partition(place.1)), How::Durable(source));
            }
            Err(error) => {
                tracing::error!(topic = topic.as_str(), partition = place.1, error = %excerpt::error(&error), "partition not read")
            }
        }
    }

    /// A sign of life.
    fn renew(&mut self, now: Instant) {
        self.renew_at = now + self.keeper.settings.lease / 3;
        let orders = self.orders.borrow();
        let value =
            words::topics_value(orders.wants.iter().map(|(topic, wanted)| wanted.token(topic)));
        drop(orders);
        self.said = Some(value.clone());
        let (store, key) = (self.store.clone(), words::member_key(&self.keeper.group, &self.me));
        let patience = self.keeper.settings.lease / 3;
        self.work.push(Box::pin(async move {
            let sent = tokio::time::timeout(patience, store.put(key, value.into())).await;
            News::Renewed(now, sent.ok().and_then(Result::ok))
        }));
    }

    /// Looks for partitions that the topics have got.
    fn look(&mut self) {
        for topic in self.orders.borrow().wants.keys() {
            let (keeper, topic) = (Arc::clone(&self.keeper), topic.clone());
            self.work.push(Box::pin(async move {
                let answer = keeper.adapt(&topic).await;
                News::Looked(topic, answer)
            }));
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Claimed(place, revision) => self.machine.claimed(place, revision),
            News::Released(place, revision) => self.machine.released(&place, revision),
            News::Drained(place) => self.machine.drained(&place),
            News::Renewed(sent, Some(revision)) => {
                self.keeper.link.symptoms.clear(SymptomKind::GroupUnsettled, None);
                self.machine.renewed(sent, revision, Instant::now());
            }
            News::Renewed(_, None) => {
                let reason = "the bucket of leases does not take this member's sign of life";
                self.keeper.link.symptoms.note(SymptomKind::GroupUnsettled, None, reason);
                self.renew_at = self.renew_at.min(Instant::now() + PAUSE);
            }
            News::Looked(_, Ok(()) | Err(BrokerError::Unreachable { .. })) => {}
            News::Looked(topic, Err(error)) => {
                tracing::warn!(topic = topic.as_str(), error = %excerpt::error(&error), "new partitions are not read yet");
            }
        }
    }

    fn see(&mut self, entry: kv::Entry) {
        let value = match entry.operation {
            Operation::Put => Some(String::from_utf8_lossy(&entry.value).into_owned()),
            Operation::Delete | Operation::Purge => None,
        };
        match words::read(&entry.key, value.as_deref()) {
            Some(Word::Member(id, topics)) => {
                self.machine.member(id, entry.revision, topics, Instant::now())
            }
            Some(Word::Place(topic, partition, owner)) => {
                self.machine.place((topic, partition), entry.revision, owner, Instant::now());
            }
            None => {}
        }
        if entry.seen_current {
            self.machine.synced();
        }
    }
}

/// The next entry; `None` when the watch has ended, never without a watch.
async fn next(watch: &mut Option<Watch>) -> Option<kv::Entry> {
    match watch {
        Some(watch) => watch.next().await.and_then(Result::ok),
        None => std::future::pending().await,
    }
}
