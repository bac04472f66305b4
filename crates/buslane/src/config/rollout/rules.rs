//! The rules of the section `rollout`.

use super::super::{
    Config, ConfigError, duration,
    rules::{at_least_one, broken},
};
use super::RolloutConfig;
use crate::rollout::Plan;
use std::time::Duration;

/// Characters of a token: fewer can be guessed, more are none that somebody chose.
const TOKEN: std::ops::RangeInclusive<usize> = 16..=512;

pub(in super::super) fn check(config: &Config) -> Result<(), ConfigError> {
    let rollout = &config.rollout;
    let second = Duration::from_secs(1);
    let hour = 3_600 * second;
    span("rollout.window", rollout.window, second, hour)?;
    span("rollout.memory_patience", rollout.memory_patience, Duration::ZERO, 24 * hour)?;
    span("rollout.check_interval", rollout.check_interval, Duration::from_millis(10), second)?;
    span("rollout.move_deadline", rollout.move_deadline, Duration::from_millis(10), hour)?;
    at_least_one(
        "rollout.min_messages",
        usize::try_from(rollout.min_messages).unwrap_or(usize::MAX),
    )?;
    limit("rollout.max_p99_increase", rollout.max_p99_increase, 100.0)?;
    limit("rollout.max_restart_share", rollout.max_restart_share, 1.0)?;
    limit("rollout.max_error_increase", rollout.max_error_increase, 1.0)?;
    limit("rollout.max_memory_growth", rollout.max_memory_growth, 100.0)?;
    if let Some(text) = &rollout.plan
        && let Err(error) = text.parse::<Plan>()
    {
        return broken("rollout.plan", error.to_string(), format!("{text:?}"));
    }
    criterion(
        "advance_p99_increase",
        rollout.advance_p99_increase,
        "max_p99_increase",
        rollout.max_p99_increase,
    )?;
    criterion(
        "advance_restart_share",
        rollout.advance_restart_share,
        "max_restart_share",
        rollout.max_restart_share,
    )?;
    token(rollout)
}

fn span(key: &str, found: Duration, least: Duration, most: Duration) -> Result<(), ConfigError> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    broken(
        key,
        format!("must be from {} to {}", duration::show(least), duration::show(most)),
        duration::show(found),
    )
}

fn limit(key: &str, found: f64, most: f64) -> Result<(), ConfigError> {
    // NaN is within no limits.
    if found > 0.0 && found <= most {
        Ok(())
    } else {
        broken(key, format!("must be more than 0 and at most {most}"), found)
    }
}

/// What a stage needs cannot be looser than what ends it.
fn criterion(key: &str, found: f64, other: &str, most: f64) -> Result<(), ConfigError> {
    if (0.0..=most).contains(&found) {
        return Ok(());
    }
    broken(format!("rollout.{key}"), format!("must be from 0 to rollout.{other} ({most})"), found)
}

fn token(rollout: &RolloutConfig) -> Result<(), ConfigError> {
    let Some(token) = rollout.token.as_ref().map(|token| token.expose().as_bytes()) else {
        return Ok(());
    };
    if TOKEN.contains(&token.len()) && token.iter().all(u8::is_ascii_graphic) {
        return Ok(());
    }
    let rule = format!(
        "must be {} to {} visible ASCII characters without spaces",
        TOKEN.start(),
        TOKEN.end()
    );
    broken("rollout.token", rule, "something else, which is not shown")
}
