//! Rates that are changed while the bus runs.

use super::EventBus;
use crate::{
    BusError, ConfigError,
    config::{RateLimit, check_rate},
};

impl EventBus {
    /// Limits what this bus publishes from now on, or no longer. Publishers wait for their turn in
    /// the order in which they came, up to the [publish timeout](crate::Config::publish_timeout);
    /// who would have to wait longer gets [`PublishError::Timeout`](crate::PublishError::Timeout),
    /// and nothing of that call was sent. The wait for the broker's answer comes on top. Dead
    /// letters are not limited.
    ///
    /// # Errors
    /// [`BusError::Config`] for a limit that breaks a rule; nothing has changed then.
    pub fn set_publish_limit(&self, limit: Option<RateLimit>) -> Result<(), BusError> {
        check_rate("publish limit", limit)?;
        self.0.publish_limits.set(None, limit);
        Ok(())
    }

    /// As [`EventBus::set_publish_limit`], for one topic. Both limits hold.
    ///
    /// # Errors
    /// A topic name that breaks a rule; else as [`EventBus::set_publish_limit`].
    pub fn set_publish_limit_of(
        &self,
        topic: &str,
        limit: Option<RateLimit>,
    ) -> Result<(), BusError> {
        let topic = self.0.topics.get(topic)?;
        check_rate("publish limit", limit)?;
        self.0.publish_limits.set(Some(&topic), limit);
        Ok(())
    }

    /// Limits what this bus handles from now on, or no longer. What waits is not read on, so that
    /// its broker keeps it; topics and partitions share the rate, and none holds up another.
    ///
    /// # Errors
    /// As [`EventBus::set_publish_limit`].
    pub fn set_subscribe_limit(&self, limit: Option<RateLimit>) -> Result<(), BusError> {
        check_rate("subscribe limit", limit)?;
        self.0.flow.rates.bus.set(limit);
        Ok(())
    }

    /// As [`EventBus::set_subscribe_limit`], for one topic, whether it has a subscription yet or
    /// not. It takes the place of [`SubscriptionBuilder::rate`](crate::SubscriptionBuilder::rate)
    /// until that subscription ends. The limit of the bus holds beside it.
    ///
    /// # Errors
    /// As [`EventBus::set_publish_limit_of`].
    pub fn set_subscribe_limit_of(
        &self,
        topic: &str,
        limit: Option<RateLimit>,
    ) -> Result<(), BusError> {
        let topic = self.0.topics.get(topic)?;
        check_rate("subscribe limit", limit)?;
        self.0.flow.rates.of(&topic).set(limit);
        if let Some(subscribed) = self.0.flow.registry.get(&topic) {
            subscribed.rate.set(limit);
        }
        Ok(())
    }

    /// Lets so much through in recovery mode from now on: now if it is on, else when it is entered.
    /// Without a `rate`, which is the default, it lets through as much as handlers take, of so many
    /// `keys` at a time.
    ///
    /// # Errors
    /// As [`EventBus::set_publish_limit`]; `keys` must be at least 1.
    pub fn set_recovery_limits(
        &self,
        rate: impl Into<Option<RateLimit>>,
        keys: usize,
    ) -> Result<(), BusError> {
        let rate = rate.into();
        check_rate("recovery limit", rate)?;
        if keys == 0 {
            let (key, rule) = ("recovery limit.keys".to_owned(), "must be at least 1".to_owned());
            return Err(ConfigError::Rule { key, rule, found: keys.to_string() }.into());
        }
        self.0.flow.operations.set_recovery_limits(rate, keys);
        Ok(())
    }
}
