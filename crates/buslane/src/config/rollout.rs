//! How keys are moved to the actor pool by and by, when that is undone, and who may do it by hand.

mod rules;

pub(super) use rules::check;

use super::{Secret, duration, optional};
use crate::rollout::{Advance, Plan};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How keys are moved to the actor pool by and by, when that is undone, and who may do it by hand.
///
/// Shares are numbers: `0.05` is 5 %.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RolloutConfig {
    /// Stages that begin with the bus, such as `10 for 1h, 50 for 1h, 100`: percentages that rise,
    /// each with the time for which it is held at least. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Who begins the next stage of the plan. Default: `manual`.
    pub advance: Advance,
    /// Whether the two pools are compared, and keys are sent back to the keyed pool when the actor
    /// pool does worse. Default: `true`.
    pub guard: bool,
    /// The time over which they are compared; 1 s to 1 h. Default: `1m`.
    #[serde(with = "duration")]
    pub window: Duration,
    /// Messages of each pool within the window below which nothing is said; at least 1. Default:
    /// `1000`.
    pub min_messages: u64,
    /// How far the 99th percentile of the latency may be above that of the keyed pool; more than 0,
    /// at most 100. Default: `0.2`.
    pub max_p99_increase: f64,
    /// Restarts for each message; more than 0, at most 1. Default: `0.05`.
    pub max_restart_share: f64,
    /// How far the share of attempts that fail may be above that of the keyed pool; more than 0, at
    /// most 1. Default: `0.01`.
    pub max_error_increase: f64,
    /// How far resident memory may be above what it was when the stage began; more than 0, at most
    /// 100. Default: `0.5`.
    pub max_memory_growth: f64,
    /// For how long it may be there; at most 24 h. Default: `30m`.
    #[serde(with = "duration")]
    pub memory_patience: Duration,
    /// How far the 99th percentile may be above for the next stage; at most `max_p99_increase`.
    /// Default: `0.05`.
    pub advance_p99_increase: f64,
    /// Restarts for each message for the next stage; at most `max_restart_share`. Default: `0.01`.
    pub advance_restart_share: f64,
    /// Time between two looks; 10 ms to 1 s. Default: `1s`.
    #[serde(with = "duration")]
    pub check_interval: Duration,
    /// How long keys wait for a handler that will not end before they go back to the pool they were
    /// at; 10 ms to 1 h. Default: `30s`.
    #[serde(with = "duration")]
    pub move_deadline: Duration,
    /// What `PUT /rollout` must say to be obeyed: 16 to 512 visible ASCII characters. Without one
    /// it is refused. Default: none.
    #[serde(deserialize_with = "optional::present", skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
}

impl Default for RolloutConfig {
    fn default() -> Self {
        Self {
            plan: None,
            advance: Advance::default(),
            guard: true,
            window: Duration::from_secs(60),
            min_messages: 1_000,
            max_p99_increase: 0.20,
            max_restart_share: 0.05,
            max_error_increase: 0.01,
            max_memory_growth: 0.50,
            memory_patience: Duration::from_secs(30 * 60),
            advance_p99_increase: 0.05,
            advance_restart_share: 0.01,
            check_interval: Duration::from_secs(1),
            move_deadline: Duration::from_secs(30),
            token: None,
        }
    }
}

impl RolloutConfig {
    /// The plan that begins with the bus. The text has been checked.
    pub(crate) fn first_plan(&self) -> Option<Plan> {
        let plan: Plan = self.plan.as_ref()?.parse().ok()?;
        Some(plan.advancing(self.advance))
    }
}
