//! Another configuration for a bus that runs: what of it can hold at once, what somebody who stands
//! higher does not let through, and what needs a restart.

mod difference;
mod report;
mod rollout;
#[cfg(unix)]
mod sighup;

pub use report::{ReloadRefusal, ReloadReport};

use super::EventBus;
use crate::{
    BusError, Config,
    config::{LimitsConfig, TopicLimitsConfig},
};
use std::collections::BTreeSet;

impl EventBus {
    /// Compares a configuration with the one that this bus runs with, and does what can be done
    /// while it runs:
    ///
    /// - the share of the keys on the actor pool and the plan of the rollout, where the *file* of
    ///   the configuration says something else than before. What was set at run time wins over the
    ///   environment, and that over the file: then the new value is refused, and the report says
    ///   what wins. A roll-back by the guard counts as run time;
    /// - the limits of `limits`, where they are others than before. They take the place of those
    ///   set at run time.
    ///
    /// The report names all else that differs: it holds after a restart. What is refused is refused
    /// again the next time, until the file says what is in force. [`EventBus::config`] stays what
    /// it was.
    ///
    /// # Errors
    /// A rule that the configuration breaks, or a bus that is closed: nothing has changed then.
    pub fn reload(&self, config: &Config) -> Result<ReloadReport, BusError> {
        let inner = self.open()?;
        config.validate_for(self.backend())?;
        let mut running = inner.running.lock();
        let mut report = ReloadReport::default();
        self.reload_rollout(&mut running, config, &mut report)?;
        self.reload_limits(&running.limits, &config.limits, &mut report)?;
        running.limits = config.limits.clone();
        report.needs_restart = difference::keys(&running, config, self.backend());
        Ok(report)
    }

    fn reload_limits(
        &self,
        old: &LimitsConfig,
        new: &LimitsConfig,
        report: &mut ReloadReport,
    ) -> Result<(), BusError> {
        if old.publish != new.publish {
            self.limits().set_publish(new.publish)?;
            report.applied.push("limits.publish".to_owned());
        }
        if old.subscribe != new.subscribe {
            self.limits().set_subscribe(new.subscribe)?;
            report.applied.push("limits.subscribe".to_owned());
        }
        let topics: BTreeSet<_> = old.topics.keys().chain(new.topics.keys()).collect();
        for topic in topics {
            let of = |limits: &LimitsConfig| limits.topics.get(topic).cloned().unwrap_or_default();
            let (TopicLimitsConfig { publish, subscribe, .. }, old) = (of(new), of(old));
            if publish != old.publish {
                self.limits().set_publish_of(topic, publish)?;
                report.applied.push(format!("limits.topics.{topic}.publish"));
            }
            if subscribe != old.subscribe {
                self.limits().set_subscribe_of(topic, subscribe)?;
                report.applied.push(format!("limits.topics.{topic}.subscribe"));
            }
        }
        Ok(())
    }
}
