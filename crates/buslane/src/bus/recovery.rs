//! Recovery mode, as an application sees and sets it.

use super::EventBus;
use crate::{
    BusError, ConfigError,
    backlog::RecoveryStatus,
    config::{RateLimit, check_rate},
};

/// The recovery mode of one bus: what it does while it is far behind.
#[derive(Clone, Copy)]
pub struct Recovery<'a>(&'a EventBus);

impl EventBus {
    /// The recovery mode of this bus.
    #[must_use]
    pub fn recovery(&self) -> Recovery<'_> {
        Recovery(self)
    }

    /// Enters recovery mode, or leaves it at once. While it is on, everything that has a key is
    /// processed in the order of its key, messages of unordered subscriptions too, and of a limited
    /// number of keys at a time. Messages that are in the lanes already stay where they are.
    ///
    /// However it was entered, it ends by itself when nothing is behind: see [`RecoveryConfig`]. To
    /// slow a bus down for longer, limit its rate: [`Limits::set_subscribe`].
    ///
    /// [`RecoveryConfig`]: crate::config::RecoveryConfig
    /// [`Limits::set_subscribe`]: crate::Limits::set_subscribe
    pub fn set_recovery_mode(&self, active: bool) {
        self.0.flow.backlog.set_recovery_mode(active);
    }
}

impl Recovery<'_> {
    /// Whether it is on, also while its limits are raised step by step at its end.
    #[must_use]
    pub fn is_active(self) -> bool {
        self.0.0.flow.backlog.is_recovering()
    }

    /// Its phase, its cause and its limits.
    #[must_use]
    pub fn status(self) -> RecoveryStatus {
        self.0.0.flow.backlog.recovery()
    }

    /// Sets the limits that hold in recovery mode: at once if it is on, else when it is entered.
    /// Without a `rate`, which is the default, it lets through as much as handlers take, of so many
    /// `keys` at a time.
    ///
    /// # Errors
    /// A rate that breaks a rule; `keys` must be at least 1. Nothing has changed then.
    pub fn set_limits(
        self,
        rate: impl Into<Option<RateLimit>>,
        keys: usize,
    ) -> Result<(), BusError> {
        let rate = rate.into();
        check_rate("recovery limit", rate)?;
        if keys == 0 {
            let (key, rule) = ("recovery limit.keys".to_owned(), "must be at least 1".to_owned());
            return Err(ConfigError::Rule { key, rule, found: keys.to_string() }.into());
        }
        self.0.0.flow.backlog.set_recovery_limits(rate, keys);
        Ok(())
    }
}
