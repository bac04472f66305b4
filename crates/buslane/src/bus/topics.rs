//! Topic names that were checked once, and the administration of topics.

use super::EventBus;
use crate::BusError;
use arc_swap::ArcSwap;
use buslane_core::{Lag, Layered, SubscribeOptions, Topic, TopicSettings, TopicStrategy};
use std::sync::Arc;

/// Names remembered. Beyond this a name is checked and copied at each use.
const LIMIT: usize = 10_000;

/// Checked names, found without a lock or an allocation.
pub(super) struct TopicNames(ArcSwap<Layered<Topic, ()>>);

impl TopicNames {
    pub(super) fn new() -> Self {
        Self(ArcSwap::default())
    }

    /// The checked form of a name.
    pub(super) fn get(&self, name: &str) -> Result<Topic, BusError> {
        let known = self.0.load();
        if let Some((topic, ())) = known.get_key_value(name) {
            return Ok(topic.clone());
        }
        let topic = Topic::new(name)?;
        if known.len() < LIMIT {
            self.0.rcu(|known| {
                let mut next = Layered::clone(known);
                next.insert(topic.clone(), ());
                Arc::new(next)
            });
        }
        Ok(topic)
    }
}

/// The topics of one bus.
#[derive(Clone, Copy)]
pub struct Topics<'a>(&'a EventBus);

impl Topics<'_> {
    /// Joins topics before their handlers are subscribed, in one change of the group's membership.
    /// The bus holds the messages of a topic until it has a handler. Topics that are read already
    /// are left alone.
    ///
    /// # Errors
    /// A name that breaks a rule, a closed bus, or the broker's reason.
    pub async fn announce<T: AsRef<str>>(
        self,
        topics: impl IntoIterator<Item = T>,
    ) -> Result<(), BusError> {
        let inner = self.0.open()?;
        let topics = topics
            .into_iter()
            .map(|name| Ok((inner.topics.get(name.as_ref())?, SubscribeOptions::default())))
            .collect::<Result<Vec<_>, BusError>>()?;
        if topics.is_empty() {
            return Ok(());
        }
        let bus = self.0.clone();
        self.0
            .change_membership(async move {
                let inner = bus.open()?;
                let _joining = inner.joining.lock().await;
                inner.broker.subscribe(&topics).await?;
                inner.joined.lock().extend(topics.into_iter().map(|(topic, _)| topic));
                Ok(())
            })
            .await
    }

    /// Whether a topic has a handler. One look at a snapshot, and one at its name.
    #[must_use]
    pub fn is_subscribed(self, topic: &str) -> bool {
        let inner = &self.0.0;
        inner.topics.get(topic).is_ok_and(|topic| inner.flow.registry.get(&topic).is_some())
    }

    /// How far this bus is behind, for each partition that it reads now.
    ///
    /// # Errors
    /// A closed bus, or why the broker does not say.
    pub async fn lag(self) -> Result<Vec<Lag>, BusError> {
        Ok(self.0.open()?.broker.lag().await?)
    }
}

impl EventBus {
    /// The topics of this bus.
    #[must_use]
    pub fn topics(&self) -> Topics<'_> {
        Topics(self)
    }

    /// Applies settings to a topic; returns what stands afterwards.
    ///
    /// # Errors
    /// A name that breaks a rule, a closed bus, or which setting the broker refused and why.
    pub async fn configure_topic(
        &self,
        topic: &str,
        settings: &TopicSettings,
        strategy: TopicStrategy,
    ) -> Result<TopicSettings, BusError> {
        let inner = self.open()?;
        let topic = inner.topics.get(topic)?;
        Ok(inner.broker.configure_topic(&topic, settings, strategy).await?)
    }

    /// The settings of a topic, or `None` when there is no such topic.
    ///
    /// # Errors
    /// A name that breaks a rule, a closed bus, or the broker's reason.
    pub async fn topic_config(&self, topic: &str) -> Result<Option<TopicSettings>, BusError> {
        let inner = self.open()?;
        let topic = inner.topics.get(topic)?;
        Ok(inner.broker.topic_settings(&topic).await?)
    }
}
