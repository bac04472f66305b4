//! The environment variables: their names, how they are read, and what they decided.
//!
//! A variable with a backend's prefix wins over the same one with `BUSLANE_` for that backend. One
//! that cannot be read is an error as soon as its backend is the one in use.

use super::{
    ActorPoolConfig, ChosenBy, Config, ConfigError, RateLimit, RecoveryStart, Variables, rules, url,
};
use crate::rollout::{Advance, Plan};
use buslane_core::Backend;
use std::ffi::OsString;

pub(super) const URL: &str = "BUSLANE_URL";
pub(super) const GROUP: &str = "BUSLANE_GROUP";
pub(super) const CONFIG: &str = "BUSLANE_CONFIG";
pub(super) const RECOVERY_AT_START: &str = "BUSLANE_RECOVERY_AT_START";
pub(super) const RECOVERY_ON_BACKLOG: &str = "BUSLANE_RECOVERY_ON_BACKLOG";
pub(super) const RECOVERY_RATE: &str = "BUSLANE_RECOVERY_RATE";
pub(super) const HEALTH_MEMORY: &str = "BUSLANE_HEALTH_MEMORY";
pub(super) const HEALTH_PROBE: &str = "BUSLANE_HEALTH_PROBE";
pub(super) const ROLLOUT_PLAN: &str = "BUSLANE_ROLLOUT_PLAN";
pub(super) const ROLLOUT_ADVANCE: &str = "BUSLANE_ROLLOUT_ADVANCE";
pub(super) const ROLLOUT_TOKEN: &str = "BUSLANE_ROLLOUT_TOKEN";
pub(super) const RECOVERY_KEYS: &str = "BUSLANE_RECOVERY_KEYS";

/// Names of the variables of a prefix.
pub(super) struct PoolVariables {
    pub(super) use_actor: &'static str,
    pub(super) percent: &'static str,
    pub(super) size: &'static str,
    pub(super) inbox: &'static str,
    pub(super) restarts: &'static str,
}

macro_rules! pool_variables {
    ($prefix:literal) => {
        PoolVariables {
            use_actor: concat!($prefix, "_USE_ACTOR_POOL"),
            percent: concat!($prefix, "_ACTOR_POOL_PERCENT"),
            size: concat!($prefix, "_ACTOR_POOL_SIZE"),
            inbox: concat!($prefix, "_ACTOR_INBOX_SIZE"),
            restarts: concat!($prefix, "_ACTOR_MAX_RESTARTS"),
        }
    };
}

/// Those of every backend.
pub(super) const ANY: PoolVariables = pool_variables!("BUSLANE");

/// Those of one backend.
pub(super) const OWN: [(Backend, PoolVariables); 3] = [
    (Backend::Memory, pool_variables!("MEMORY")),
    (Backend::Kafka, pool_variables!("KAFKA")),
    (Backend::Nats, pool_variables!("NATS")),
];

/// The file that `BUSLANE_CONFIG` names. Its name need not be Unicode.
pub(super) fn config_file(variables: Variables<'_>) -> Result<Option<OsString>, ConfigError> {
    match variables(CONFIG) {
        Some(path) if path.is_empty() => Err(refused(CONFIG, "must name a file", "")),
        path => Ok(path),
    }
}

/// Overlays `config` with what the variables say.
pub(super) fn apply(config: &mut Config, variables: Variables<'_>) -> Result<(), ConfigError> {
    if let Some(text) = lookup(variables, URL)? {
        config.url = url::parse(&text).map_err(|rule| refused(URL, &rule, &url::hide(&text)))?;
    }
    if let Some(group) = lookup(variables, GROUP)? {
        if group.trim().is_empty() {
            return Err(refused(GROUP, "must not be blank", &group));
        }
        config.group = group;
    }
    operations(config, variables)?;
    rollout(config, variables)?;
    let mut any = Vec::new();
    read(variables, &ANY, &mut any, &mut |error| Err(error))?;
    let mut unreadable = Vec::new();
    for (backend, names) in &OWN {
        let mut settings = any.clone();
        read(variables, names, &mut settings, &mut |error| {
            unreadable.push((*backend, error));
            Ok(())
        })?;
        let pool = match backend {
            Backend::Memory => &mut config.memory.actor_pool,
            Backend::Kafka => &mut config.kafka.actor_pool,
            Backend::Nats => &mut config.nats.actor_pool,
        };
        for setting in settings {
            match setting {
                Setting::UseActor(name, value) => {
                    config.origins.record_enabled(*backend, value, ChosenBy::Environment(name));
                }
                Setting::Percent(name, value) => {
                    config.origins.record_percent(*backend, value, ChosenBy::Environment(name));
                }
                _ => {}
            }
            setting.store(pool);
        }
    }
    config.origins.set_unreadable(unreadable);
    Ok(())
}

fn operations(config: &mut Config, variables: Variables<'_>) -> Result<(), ConfigError> {
    if let Some(text) = lookup(variables, RECOVERY_AT_START)? {
        config.recovery.at_start = match &*text {
            "auto" => RecoveryStart::Auto,
            "always" => RecoveryStart::Always,
            "never" => RecoveryStart::Never,
            other => {
                return Err(refused(RECOVERY_AT_START, "must be auto, always or never", other));
            }
        };
    }
    if let Some(on_backlog) = switch(variables, RECOVERY_ON_BACKLOG)? {
        config.recovery.on_backlog = on_backlog;
    }
    if let Some(rate) = number(variables, RECOVERY_RATE, 1, RateLimit::MOST)? {
        config.recovery.rate.get_or_insert_default().per_second = rate;
    }
    if let Some(keys) = number(variables, RECOVERY_KEYS, 1, rules::MAX_CAPACITY)? {
        config.recovery.keys = keys;
    }
    if let Some(memory) = number(variables, HEALTH_MEMORY, 0, u64::MAX)? {
        config.health.memory = memory;
    }
    if let Some(enabled) = switch(variables, HEALTH_PROBE)? {
        config.health.probe.enabled = enabled;
    }
    Ok(())
}

fn rollout(config: &mut Config, variables: Variables<'_>) -> Result<(), ConfigError> {
    let rollout = &mut config.rollout;
    if let Some(plan) = lookup(variables, ROLLOUT_PLAN)? {
        plan.parse::<Plan>().map_err(|error| refused(ROLLOUT_PLAN, &error.to_string(), &plan))?;
        config.origins.record_plan(&plan, ChosenBy::Environment(ROLLOUT_PLAN));
        rollout.plan = Some(plan);
    }
    if let Some(text) = lookup(variables, ROLLOUT_ADVANCE)? {
        rollout.advance = match &*text {
            "manual" => Advance::Manual,
            "automatic" => Advance::Automatic,
            other => return Err(refused(ROLLOUT_ADVANCE, "must be manual or automatic", other)),
        };
    }
    if let Some(token) = lookup(variables, ROLLOUT_TOKEN)? {
        rollout.token = Some(token.into());
    }
    Ok(())
}

/// One variable that was read.
#[derive(Clone, Copy)]
enum Setting {
    UseActor(&'static str, bool),
    Percent(&'static str, u8),
    Size(usize),
    Inbox(usize),
    Restarts(u32),
}

impl Setting {
    const fn store(self, pool: &mut ActorPoolConfig) {
        match self {
            Self::UseActor(_, value) => pool.enabled = value,
            Self::Percent(_, value) => pool.percent = Some(value),
            Self::Size(value) => pool.pool_size = value,
            Self::Inbox(value) => pool.inbox_size = value,
            Self::Restarts(value) => pool.max_restarts = value,
        }
    }
}

/// Appends what the variables of one prefix say; each that cannot be read goes to `refuse`.
fn read(
    variables: Variables<'_>,
    names: &PoolVariables,
    settings: &mut Vec<Setting>,
    refuse: &mut dyn FnMut(ConfigError) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    let results = [
        switch(variables, names.use_actor)
            .map(|value| value.map(|value| Setting::UseActor(names.use_actor, value))),
        number(variables, names.percent, 0, rules::ALL)
            .map(|value| value.map(|value| Setting::Percent(names.percent, value))),
        number(variables, names.size, 1, rules::MAX_WORKERS).map(|value| value.map(Setting::Size)),
        number(variables, names.inbox, 1, rules::MAX_CAPACITY)
            .map(|value| value.map(Setting::Inbox)),
        number(variables, names.restarts, 0, u32::MAX).map(|value| value.map(Setting::Restarts)),
    ];
    for result in results {
        match result {
            Ok(setting) => settings.extend(setting),
            Err(error) => refuse(error)?,
        }
    }
    Ok(())
}

fn switch(variables: Variables<'_>, name: &'static str) -> Result<Option<bool>, ConfigError> {
    match lookup(variables, name)?.as_deref() {
        None => Ok(None),
        Some("true" | "1") => Ok(Some(true)),
        Some("false" | "0") => Ok(Some(false)),
        Some(other) => Err(refused(name, "must be true, false, 1 or 0", other)),
    }
}

fn number<N>(
    variables: Variables<'_>,
    name: &'static str,
    least: N,
    most: N,
) -> Result<Option<N>, ConfigError>
where
    N: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let Some(text) = lookup(variables, name)? else {
        return Ok(None);
    };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<N>() {
        Ok(value) if digits && value >= least && value <= most => Ok(Some(value)),
        _ => Err(refused(name, &format!("must be a whole number from {least} to {most}"), &text)),
    }
}

fn lookup(variables: Variables<'_>, name: &'static str) -> Result<Option<String>, ConfigError> {
    match variables(name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(ConfigError::Variable {
            name,
            rule: "must be Unicode".to_owned(),
            found: "bytes that are not UTF-8".to_owned(),
        }),
    }
}

fn refused(name: &'static str, rule: &str, found: &str) -> ConfigError {
    ConfigError::Variable { name, rule: rule.to_owned(), found: format!("{found:?}") }
}
