//! Somebody between a bus and its broker, who refuses or holds what a scenario names. All else goes through.

use buslane_core::{
    Answer, Backend, BoxFuture, Broker, BrokerError, BrokerEvent, Lag, PublishError, Receipt, Record, SubscribeOptions,
    Topic, TopicSettings, TopicStrategy,
};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// A broker that does not do everything.
pub struct Meddler {
    broker: Arc<dyn Broker>,
    /// Topics that cannot be written.
    refused: Mutex<HashSet<Topic>>,
    /// Topics whose publish is never answered.
    silent: Mutex<HashSet<Topic>>,
    /// Topics whose subscribe waits.
    stuck: watch::Sender<HashSet<Topic>>,
    /// How many calls of subscribe have come to one of them.
    arrived: watch::Sender<usize>,
}

impl Meddler {
    pub(super) fn new(broker: Arc<dyn Broker>) -> Self {
        Self {
            broker,
            refused: Mutex::default(),
            silent: Mutex::default(),
            stuck: watch::Sender::default(),
            arrived: watch::Sender::default(),
        }
    }

    /// Refuses every record for the topic from now on, or takes them again.
    pub fn refuse(&self, topic: &Topic, refuse: bool) {
        set(&self.refused, topic, refuse);
    }

    /// Never answers a publish to the topic from now on.
    pub fn keep_silent(&self, topic: &Topic) {
        set(&self.silent, topic, true);
    }

    /// Lets a subscribe to the topic wait from now on, or go on.
    pub fn hold_subscribe(&self, topic: &Topic, hold: bool) {
        self.stuck.send_modify(|stuck| {
            if hold {
                stuck.insert(topic.clone());
            } else {
                stuck.remove(topic);
            }
        });
    }

    /// Waits until `count` calls of subscribe were held.
    pub async fn held(&self, count: usize) {
        let _ = self.arrived.subscribe().wait_for(|now| *now >= count).await;
    }
}

fn set(topics: &Mutex<HashSet<Topic>>, topic: &Topic, listed: bool) {
    let mut topics = topics.lock().unwrap_or_else(PoisonError::into_inner);
    if listed {
        topics.insert(topic.clone());
    } else {
        topics.remove(topic);
    }
}

fn is_in(topics: &Mutex<HashSet<Topic>>, topic: &Topic) -> bool {
    topics.lock().unwrap_or_else(PoisonError::into_inner).contains(topic)
}

impl Broker for Meddler {
    fn backend(&self) -> Backend {
        self.broker.backend()
    }

    fn publish<'a>(&'a self, topic: &'a Topic, records: Vec<Record>) -> Answer<'a, Vec<Result<Receipt, PublishError>>> {
        if is_in(&self.silent, topic) {
            return Answer::Later(Box::pin(std::future::pending()));
        }
        if is_in(&self.refused, topic) {
            let error = PublishError::Refused { topic: topic.clone(), reason: "read only".to_owned() };
            return Answer::Now(vec![Err(error); records.len()]);
        }
        self.broker.publish(topic, records)
    }

    fn subscribe<'a>(&'a self, topics: &'a [(Topic, SubscribeOptions)]) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            let is_stuck = |stuck: &HashSet<Topic>| topics.iter().any(|(topic, _)| stuck.contains(topic));
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
        self.broker.next_event()
    }

    fn configure_topic<'a>(
        &'a self,
        topic: &'a Topic,
        settings: &'a TopicSettings,
        strategy: TopicStrategy,
    ) -> BoxFuture<'a, Result<TopicSettings, BrokerError>> {
        self.broker.configure_topic(topic, settings, strategy)
    }

    fn topic_settings<'a>(&'a self, topic: &'a Topic) -> BoxFuture<'a, Result<Option<TopicSettings>, BrokerError>> {
        self.broker.topic_settings(topic)
    }

    fn lag(&self) -> BoxFuture<'_, Result<Vec<Lag>, BrokerError>> {
        self.broker.lag()
    }

    fn stop_reading(&self) -> BoxFuture<'_, ()> {
        self.broker.stop_reading()
    }

    fn close(&self, deadline: Duration) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.broker.close(deadline)
    }
}
