//! Rate limits that are changed while the bus runs.

use super::EventBus;
use crate::{
    BusError,
    config::{RateLimit, check_rate},
};

/// The rate limits of one bus. They hold until they are changed again, or the bus ends.
///
/// Not the configuration: [`EventBus::reload`] applies what a file says.
#[derive(Clone, Copy)]
pub struct Limits<'a>(&'a EventBus);

impl EventBus {
    /// The rate limits of this bus.
    #[must_use]
    pub fn limits(&self) -> Limits<'_> {
        Limits(self)
    }
}

impl Limits<'_> {
    /// Limits how much the bus publishes; `None` lifts the limit. Publishers wait in the order of
    /// their calls, up to the [publish timeout](crate::Config::publish_timeout). A call that would
    /// wait longer gets [`PublishError::Timeout`](crate::PublishError::Timeout), and sends nothing.
    /// The wait for the broker's answer comes on top. Dead letters are not limited.
    ///
    /// # Errors
    /// [`BusError::Config`] for a limit that breaks a rule; nothing has changed then.
    pub fn set_publish(self, limit: Option<RateLimit>) -> Result<(), BusError> {
        check_rate("publish limit", limit)?;
        self.0.0.publish_limits.set(None, limit);
        Ok(())
    }

    /// As [`Limits::set_publish`], for one topic. Both limits hold.
    ///
    /// # Errors
    /// A topic name that breaks a rule; else as [`Limits::set_publish`].
    pub fn set_publish_of(self, topic: &str, limit: Option<RateLimit>) -> Result<(), BusError> {
        let topic = self.0.0.topics.get(topic)?;
        check_rate("publish limit", limit)?;
        self.0.0.publish_limits.set(Some(&topic), limit);
        Ok(())
    }

    /// Limits how much the bus handles; `None` lifts the limit. The bus reads no further while the
    /// limit is reached, so the messages stay at the broker. Topics and partitions share the rate,
    /// and none holds up another.
    ///
    /// # Errors
    /// As [`Limits::set_publish`].
    pub fn set_subscribe(self, limit: Option<RateLimit>) -> Result<(), BusError> {
        check_rate("subscribe limit", limit)?;
        self.0.0.flow.rates.bus.set(limit);
        Ok(())
    }

    /// As [`Limits::set_subscribe`], for one topic, before or after its subscription begins. It
    /// replaces [`SubscriptionBuilder::rate`](crate::SubscriptionBuilder::rate) until that
    /// subscription ends. The limit of the bus holds as well.
    ///
    /// # Errors
    /// As [`Limits::set_publish_of`].
    pub fn set_subscribe_of(self, topic: &str, limit: Option<RateLimit>) -> Result<(), BusError> {
        let topic = self.0.0.topics.get(topic)?;
        check_rate("subscribe limit", limit)?;
        self.0.0.flow.rates.of(&topic).set(limit);
        if let Some(subscribed) = self.0.0.flow.registry.get(&topic) {
            subscribed.rate.set(limit);
        }
        Ok(())
    }
}
