//! The rules that join several settings, and those of what is given in code.

use super::{ConsumerConfig, NatsConfig};
use buslane_settings::{
    BrokenRule, Value,
    duration::{hours, millis, show},
    join, judge, topic_name,
};
use thiserror::Error;

/// The rule that a setting breaks.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NatsConfigError {
    /// A value is not possible.
    #[error("nats.{0}")]
    Rule(#[from] BrokenRule),
    /// A file that a setting names cannot be used. What is in it stays out of the text.
    #[error("nats.{setting}: {file}: {reason}")]
    File {
        /// Name of the setting.
        setting: &'static str,
        /// The file.
        file: String,
        /// Why not.
        reason: String,
    },
}

impl NatsConfig {
    /// Checks every rule, without connecting.
    ///
    /// # Errors
    /// The first rule that a setting breaks.
    pub fn validate(&self) -> Result<(), NatsConfigError> {
        Value::validate(self, "")?;
        let good_host = |host: &str| {
            let port = host.rsplit_once(':').map(|(name, port)| (name, port.parse::<u16>()));
            matches!(port, Some((name, Ok(1..))) if !name.is_empty() && !name.contains(['/', '@', '?', '#', ' ']))
        };
        if !self.servers.split(',').all(good_host) {
            let found = format!("{:?}", self.servers);
            BrokenRule::because("servers", "must be HOST:PORT,HOST:PORT", found)?;
        }
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=100).contains(&self.group.len()) || !self.group.bytes().all(is_letter) {
            let rule = "must be 1 to 100 characters of A-Z a-z 0-9 . _ -";
            BrokenRule::because("group", rule, format!("{:?}", self.group))?;
        }
        let time = self.publisher.publish_timeout;
        if !(millis(1)..=hours(24)).contains(&time) {
            let rule = "must be 1 ms to 24 h";
            BrokenRule::because("publisher.publish_timeout", rule, show(time))?;
        }
        Ok(())
    }
}

pub(super) fn ephemeral_topics(config: &NatsConfig, key: &str) -> Result<(), BrokenRule> {
    for (index, topic) in config.ephemeral.iter().enumerate() {
        judge(topic, join(key, &format!("ephemeral[{index}]")), vec![topic_name()])?;
    }
    Ok(())
}

pub(super) fn consumer(config: &ConsumerConfig, key: &str) -> Result<(), BrokenRule> {
    for wait in &config.backoff {
        judge(wait, join(key, "backoff"), vec![buslane_settings::range(millis(100), hours(24))])?;
    }
    if config.heartbeat * 2 > config.expires {
        let expires = show(config.expires);
        let rule = format!("must be at most half of {key}.expires ({expires})");
        return BrokenRule::because(join(key, "heartbeat"), rule, show(config.heartbeat));
    }
    let waits = config.backoff.len();
    match config.max_deliver {
        Some(most) if most as usize <= waits => {
            let rule = format!("must be more than {key}.backoff has entries ({waits})");
            BrokenRule::because(join(key, "max_deliver"), rule, most)
        }
        _ => Ok(()),
    }
}
