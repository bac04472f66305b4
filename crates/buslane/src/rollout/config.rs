//! How keys are moved to the actor pool by and by, when that is undone, and who may do it by hand.

use super::plan::{Advance, Plan};
use buslane_core::Secret;
use buslane_settings::{
    BrokenRule, at_least, check, choices,
    duration::{hours, millis, minutes, secs},
    kind, range, settings, share, variables,
};
use std::{ops::RangeInclusive, time::Duration};

/// Characters of a token: fewer can be guessed, more are none that somebody chose.
const TOKEN: RangeInclusive<usize> = 16..=512;

choices!(Advance);

settings! {
    /// How keys are moved to the actor pool by and by, when that is undone, and who may do it by
    /// hand.
    ///
    /// Shares are numbers: `0.05` is 5 %.
    #[non_exhaustive]
    pub struct RolloutConfig {
        /// Stages that begin with the bus: percentages that rise, each with the time for which it
        /// is held at least.
        plan: Option<String>, kind("stages such as `10 for 1h, 50 for 1h, 100`"),
            check("", is_plan), variables(&["BUSLANE_ROLLOUT_PLAN"]);
        /// Who begins the next stage of the plan.
        advance: Advance, variables(&["BUSLANE_ROLLOUT_ADVANCE"]);
        /// Whether the pools are compared, and all keys go back to the keyed pool when the actor
        /// pool does worse.
        guard: bool = true;
        /// The time over which they are compared.
        window: Duration = minutes(1), range(secs(1), hours(1));
        /// Messages of each pool within the window below which nothing is said.
        min_messages: u64 = 1_000, at_least(1);
        /// How far the 99th percentile of the latency may be above that of the keyed pool.
        max_p99_increase: f64 = 0.2, share(100.0);
        /// Restarts for each message.
        max_restart_share: f64 = 0.05, share(1.0);
        /// How far the share of attempts that fail may be above that of the keyed pool.
        max_error_increase: f64 = 0.01, share(1.0);
        /// How far resident memory may be above what it was when the stage began.
        max_memory_growth: f64 = 0.5, share(100.0);
        /// For how long it may be there.
        memory_patience: Duration = minutes(30), range(Duration::ZERO, hours(24));
        /// How far the 99th percentile may be above for the next stage; at most
        /// `max_p99_increase`.
        advance_p99_increase: f64 = 0.05;
        /// Restarts for each message for the next stage; at most `max_restart_share`.
        advance_restart_share: f64 = 0.01;
        /// Time between two looks.
        check_interval: Duration = secs(1), range(millis(10), secs(1));
        /// How long keys wait for a handler that will not end before they go back to the pool they
        /// were at.
        move_deadline: Duration = secs(30), range(millis(10), hours(1));
        /// What `PUT /rollout` must say to be obeyed. Without one it is refused.
        token: Option<Secret>, check("16 to 512 visible ASCII characters", cannot_be_guessed),
            variables(&["BUSLANE_ROLLOUT_TOKEN"]);
    }
    also Self::criteria;
}

impl RolloutConfig {
    /// The plan that begins with the bus. The text has been checked.
    pub(crate) fn first_plan(&self) -> Option<Plan> {
        let plan: Plan = self.plan.as_ref()?.parse().ok()?;
        Some(plan.advancing(self.advance))
    }

    /// What a stage needs cannot be looser than what ends it.
    fn criteria(&self, key: &str) -> Result<(), BrokenRule> {
        for (name, found, other, most) in [
            (
                "advance_p99_increase",
                self.advance_p99_increase,
                "max_p99_increase",
                self.max_p99_increase,
            ),
            (
                "advance_restart_share",
                self.advance_restart_share,
                "max_restart_share",
                self.max_restart_share,
            ),
        ] {
            if !(0.0..=most).contains(&found) {
                let rule = format!("must be from 0 to {key}.{other} ({most})");
                return BrokenRule::because(format!("{key}.{name}"), rule, found);
            }
        }
        Ok(())
    }
}

#[allow(clippy::ptr_arg, reason = "rules judge the type of the field")]
fn is_plan(text: &String) -> Result<(), String> {
    text.parse::<Plan>().map(drop).map_err(|error| error.to_string())
}

fn cannot_be_guessed(token: &Secret) -> Result<(), String> {
    let token = token.expose().as_bytes();
    if TOKEN.contains(&token.len()) && token.iter().all(u8::is_ascii_graphic) {
        return Ok(());
    }
    let (least, most) = (TOKEN.start(), TOKEN.end());
    Err(format!("must be {least} to {most} visible ASCII characters without spaces"))
}
