//! The settings of a rollout: its plan, the limits of the guard, and the token of the operators.

use crate::{Advance, Plan};
use buslane_core::Secret;
use buslane_settings::{
    BrokenRule, at_least, check, choices,
    duration::{hours, millis, minutes, secs},
    kind, range, settings, share, variables,
};
use std::{ops::RangeInclusive, time::Duration};

/// Length of a token: a shorter one can be guessed.
const TOKEN: RangeInclusive<usize> = 16..=512;

choices!(Advance);

settings! {
    /// How keys move to the actor pool in stages, when they go back, and who may change that.
    ///
    /// Shares are numbers: `0.05` is 5 %.
    #[non_exhaustive]
    pub struct RolloutConfig {
        /// Stages that begin when the bus starts: rising percentages, each with the shortest time
        /// that it lasts.
        plan: Option<String>, kind("stages such as `10 for 1h, 50 for 1h, 100`"),
            check("", is_plan), variables(&["BUSLANE_ROLLOUT_PLAN"]);
        /// Who begins the next stage of a plan: an operator, or the plan itself.
        advance: Advance, variables(&["BUSLANE_ROLLOUT_ADVANCE"]);
        /// Whether the guard compares the pools, and sends all keys back to the keyed pool when the
        /// actor pool does worse.
        guard: bool = true;
        /// The longest window over which the guard compares the pools.
        window: Duration = minutes(1), range(secs(1), hours(1));
        /// Messages that each pool must end within a window; with fewer, the guard does not judge.
        min_messages: u64 = 1_000, at_least(1);
        /// Rolls back: p99 of the latency above the keyed pool's by more than this share.
        max_p99_increase: f64 = 0.2, share(100.0);
        /// Rolls back: more restarts of actors for each message.
        max_restart_share: f64 = 0.05, share(1.0);
        /// Rolls back: the share of failed attempts above the keyed pool's by more than this.
        max_error_increase: f64 = 0.01, share(1.0);
        /// Rolls back: resident memory above its value at the stage's begin by more than this
        /// share, for `memory_patience`.
        max_memory_growth: f64 = 0.5, share(100.0);
        /// How long memory may exceed `max_memory_growth`.
        memory_patience: Duration = minutes(30), range(Duration::ZERO, hours(24));
        /// Holds the stage: p99 of the latency above the keyed pool's by more than this share; at
        /// most `max_p99_increase`.
        advance_p99_increase: f64 = 0.05;
        /// Holds the stage: this many restarts of actors for each message, or more; at most
        /// `max_restart_share`.
        advance_restart_share: f64 = 0.01;
        /// Time between two comparisons.
        check_interval: Duration = secs(1), range(millis(10), secs(1));
        /// How long a slot of keys waits for a handler that does not end. Then it stays in its
        /// pool, and is tried again.
        move_deadline: Duration = secs(30), range(millis(10), hours(1));
        /// The bearer token of `PUT /rollout`; without one, every change over HTTP is refused.
        token: Option<Secret>, check("16 to 512 visible ASCII characters", is_strong),
            variables(&["BUSLANE_ROLLOUT_TOKEN"]);
    }
    also Self::advance_is_stricter;
}

impl RolloutConfig {
    /// The plan that begins when the bus starts; `None` without one, or when its text is not valid.
    #[must_use]
    pub fn first_plan(&self) -> Option<Plan> {
        let plan: Plan = self.plan.as_ref()?.parse().ok()?;
        Some(plan.advancing(self.advance))
    }

    /// A stage cannot advance on figures that roll it back.
    fn advance_is_stricter(&self, key: &str) -> Result<(), BrokenRule> {
        for (name, found, limit, most) in [
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
                let rule = format!("must be from 0 to {key}.{limit} ({most})");
                return BrokenRule::because(format!("{key}.{name}"), rule, found);
            }
        }
        Ok(())
    }
}

#[allow(clippy::ptr_arg, reason = "a rule checks the type of its field")]
fn is_plan(text: &String) -> Result<(), String> {
    text.parse::<Plan>().map(drop).map_err(|error| error.to_string())
}

fn is_strong(token: &Secret) -> Result<(), String> {
    let token = token.expose().as_bytes();
    if TOKEN.contains(&token.len()) && token.iter().all(u8::is_ascii_graphic) {
        return Ok(());
    }
    let (least, most) = (TOKEN.start(), TOKEN.end());
    Err(format!("must be {least} to {most} visible ASCII characters without spaces"))
}
