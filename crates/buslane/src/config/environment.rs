//! The environment variables: their names, how they are read, and what they decided.
//!
//! A variable with a backend's prefix wins over the same one with `BUSLANE_` for that backend. One that cannot
//! be read is an error as soon as its backend is the one in use.

use super::{ActorPoolConfig, ChosenBy, Config, ConfigError, Variables, rules, url};
use buslane_core::Backend;
use std::ffi::OsString;

pub(super) const URL: &str = "BUSLANE_URL";
pub(super) const CONFIG: &str = "BUSLANE_CONFIG";

/// Names of the four variables of a prefix.
pub(super) struct PoolVariables {
    pub(super) use_actor: &'static str,
    pub(super) size: &'static str,
    pub(super) inbox: &'static str,
    pub(super) restarts: &'static str,
}

macro_rules! pool_variables {
    ($prefix:literal) => {
        PoolVariables {
            use_actor: concat!($prefix, "_USE_ACTOR_POOL"),
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

/// What file and environment said of the switch, and variables of a backend that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Origins {
    memory: Origin,
    kafka: Origin,
    nats: Origin,
    unreadable: Vec<(Backend, ConfigError)>,
}

/// The switch as it was read: a value that differs from it was set by code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Origin {
    value: bool,
    by: ChosenBy,
}

impl Origins {
    pub(super) fn record(&mut self, backend: Backend, value: bool, by: ChosenBy) {
        let origin = match backend {
            Backend::Memory => &mut self.memory,
            Backend::Kafka => &mut self.kafka,
            Backend::Nats => &mut self.nats,
        };
        *origin = Origin { value, by };
    }

    pub(super) fn chosen_by(&self, backend: Backend, value: bool) -> ChosenBy {
        let origin = match backend {
            Backend::Memory => self.memory,
            Backend::Kafka => self.kafka,
            Backend::Nats => self.nats,
        };
        if origin.value == value { origin.by } else { ChosenBy::Code }
    }

    /// Refuses a variable of `backend` that could not be read.
    pub(super) fn check(&self, backend: Backend) -> Result<(), ConfigError> {
        match self.unreadable.iter().find(|(of, _)| *of == backend) {
            Some((_, error)) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

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
    let mut any = Vec::new();
    read(variables, &ANY, &mut any, &mut |error| Err(error))?;
    config.origins.unreadable.clear();
    for (backend, names) in &OWN {
        let mut settings = any.clone();
        let unreadable = &mut config.origins.unreadable;
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
            if let Setting::UseActor(name, value) = setting {
                config.origins.record(*backend, value, ChosenBy::Environment(name));
            }
            setting.store(pool);
        }
    }
    Ok(())
}

/// One variable that was read.
#[derive(Clone, Copy)]
enum Setting {
    UseActor(&'static str, bool),
    Size(usize),
    Inbox(usize),
    Restarts(u32),
}

impl Setting {
    const fn store(self, pool: &mut ActorPoolConfig) {
        match self {
            Self::UseActor(_, value) => pool.enabled = value,
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
        switch(variables, names.use_actor).map(|value| value.map(|value| Setting::UseActor(names.use_actor, value))),
        number(variables, names.size, 1, rules::MAX_WORKERS).map(|value| value.map(Setting::Size)),
        number(variables, names.inbox, 1, rules::MAX_CAPACITY).map(|value| value.map(Setting::Inbox)),
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

fn number<N>(variables: Variables<'_>, name: &'static str, least: N, most: N) -> Result<Option<N>, ConfigError>
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
