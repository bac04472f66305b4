//! Reload: applies another configuration to a running bus. Changes what can change live, and
//! reports the keys that a higher-precedence source overrides or that need a restart.

use super::EventBus;
use crate::{
    BusError, Config, PoolChoice,
    config::{ChosenBy, InFile, LimitsConfig, TopicLimitsConfig},
    rollout::{Plan, RolloutError},
};
use buslane_core::Backend;
use serde_json::{Value, to_value};
use std::{collections::BTreeSet, fmt, fmt::Write as _};
use tracing::{info, warn};

const WAY_OUT: &str = "use PUT /rollout or Rollout";

/// The result of a reload. All three lists are empty when nothing has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadReport {
    /// Keys whose new values are in force.
    pub applied: Vec<String>,
    /// Keys whose new values a source of higher precedence overrides.
    pub refused: Vec<ReloadRefusal>,
    /// Keys whose new values take effect at the next start.
    pub needs_restart: Vec<String>,
}

/// The reason why the new value of a key is not in force.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadRefusal {
    /// The key.
    pub key: String,
    /// The source that wins, and what to do.
    pub reason: String,
}

impl fmt::Display for ReloadRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

/// The work of [`EventBus::reload`].
pub(super) fn reload(bus: &EventBus, config: &Config) -> Result<ReloadReport, BusError> {
    let inner = bus.open()?;
    config.validate_for(bus.backend())?;
    let mut running = inner.running.lock();
    let mut report = ReloadReport::default();
    reload_rollout(bus, &mut running, config, &mut report)?;
    reload_limits(bus, &running.limits, &config.limits, &mut report)?;
    running.limits = config.limits.clone();
    report.needs_restart = changed_keys(&running, config, bus.backend());
    Ok(report)
}

fn reload_limits(
    bus: &EventBus,
    old: &LimitsConfig,
    new: &LimitsConfig,
    report: &mut ReloadReport,
) -> Result<(), BusError> {
    if old.publish != new.publish {
        bus.limits().set_publish(new.publish)?;
        report.applied.push("limits.publish".to_owned());
    }
    if old.subscribe != new.subscribe {
        bus.limits().set_subscribe(new.subscribe)?;
        report.applied.push("limits.subscribe".to_owned());
    }
    let topics: BTreeSet<_> = old.topics.keys().chain(new.topics.keys()).collect();
    for topic in topics {
        let of = |limits: &LimitsConfig| limits.topics.get(topic).cloned().unwrap_or_default();
        let (TopicLimitsConfig { publish, subscribe, .. }, old) = (of(new), of(old));
        if publish != old.publish {
            bus.limits().set_publish_of(topic, publish)?;
            report.applied.push(format!("limits.topics.{topic}.publish"));
        }
        if subscribe != old.subscribe {
            bus.limits().set_subscribe_of(topic, subscribe)?;
            report.applied.push(format!("limits.topics.{topic}.subscribe"));
        }
    }
    Ok(())
}

/// Moves the keys, and begins the plan, where no source of higher precedence decides.
fn reload_rollout(
    bus: &EventBus,
    running: &mut Config,
    config: &Config,
    report: &mut ReloadReport,
) -> Result<(), BusError> {
    let backend = bus.backend();
    let (before, after) = (running.in_file(backend), config.in_file(backend));
    let (old, new) = (running.pools_for(backend), config.pools_for(backend));
    let by_code = is_by_code(&new) && !is_same(&old, &new);
    if before == after && !by_code {
        return Ok(());
    }
    let key = key(&before, &after, backend.as_str());
    let wanted = if by_code { Wanted::of(&new) } else { Wanted::of_file(&after, &new, config) };
    let rollout = &bus.flow().rollout;
    let status = bus.rollout().status();
    let is_so = match &wanted.plan {
        Some(_) => wanted.plan == old.plan && rollout.overridden_by().is_none(),
        None => status.plan.is_none() && status.percent == wanted.percent,
    };
    if !is_so {
        let refusal = match rollout.overridden_by() {
            Some(by) => Some(at_run_time(status.percent, &by)),
            None if is_by_code(&old) && !by_code => Some(by_program(old.percent)),
            None => overridden(&wanted, &new),
        };
        let refusal = match refusal {
            Some(reason) => Some(reason),
            None => {
                let by = new.percent_by.to_string();
                match rollout.configure(new.percent, new.plan, &by) {
                    // A change at run time may come first.
                    Ok(overtaken) => {
                        overtaken.map(|by| at_run_time(bus.rollout().status().percent, &by))
                    }
                    Err(RolloutError::Closed) => return Err(BusError::Closed),
                    Err(error) => Some(error.to_string()),
                }
            }
        };
        if let Some(reason) = refusal {
            report.refused.push(ReloadRefusal { key, reason });
            return Ok(());
        }
        report.applied.push(key);
    }
    running.take_rollout(config, backend);
    Ok(())
}

fn at_run_time(percent: u8, by: &str) -> String {
    format!(
        "{percent} % was set at run time by {by}, which wins over file and environment: {WAY_OUT}"
    )
}

fn by_program(percent: u8) -> String {
    format!("{percent} % was set by the program, which wins over file and environment: {WAY_OUT}")
}

/// A share of the keys, and the plan that begins with it.
#[derive(PartialEq)]
struct Wanted {
    percent: u8,
    plan: Option<Plan>,
}

impl Wanted {
    fn of(choice: &PoolChoice) -> Self {
        Self { percent: choice.percent, plan: choice.plan.clone() }
    }

    /// The values of the file. A switch that the file leaves out comes from the environment.
    fn of_file(file: &InFile, new: &PoolChoice, config: &Config) -> Self {
        let is_enabled = file.enabled.unwrap_or(new.use_actor);
        let share = if is_enabled { file.percent.unwrap_or(100) } else { 0 };
        let text = file.plan.as_ref().filter(|_| is_enabled && file.percent.is_none());
        let plan = text
            .and_then(|text| text.parse().ok())
            .map(|plan: Plan| plan.advancing(config.rollout.advance));
        let first = plan.as_ref().and_then(|plan| plan.stages().first());
        Self { percent: first.map_or(share, |stage| stage.percent), plan }
    }
}

/// The reason why the file is not in force, if another source overrides it.
fn overridden(wanted: &Wanted, new: &PoolChoice) -> Option<String> {
    if *wanted == Wanted::of(new) {
        return None;
    }
    let variable = [new.percent_by, new.chosen_by].into_iter().find_map(|by| match by {
        ChosenBy::Environment(variable) => Some(variable),
        _ => None,
    });
    let mut reason = format!("the file would have {} %", wanted.percent);
    // Writing to a String cannot fail.
    let _ = match variable {
        Some(variable) => {
            write!(reason, ", and environment {variable} makes it {} %, which wins", new.percent)
        }
        None => write!(reason, ", and something that wins makes it {} %", new.percent),
    };
    Some(reason + ": " + WAY_OUT + ", or change the variable and restart")
}

fn is_by_code(choice: &PoolChoice) -> bool {
    choice.percent_by == ChosenBy::Code || choice.chosen_by == ChosenBy::Code
}

fn is_same(one: &PoolChoice, other: &PoolChoice) -> bool {
    (one.percent, &one.plan) == (other.percent, &other.plan)
}

/// The key that has changed; the switch where more than one has.
fn key(before: &InFile, after: &InFile, backend: &str) -> String {
    if before.enabled != after.enabled {
        format!("{backend}.actor_pool.enabled")
    } else if before.plan != after.plan {
        "rollout.plan".to_owned()
    } else {
        format!("{backend}.actor_pool.percent")
    }
}

/// The keys whose values differ, in order, without those that a reload applies itself. Secrets are
/// named by their section.
fn changed_keys(old: &Config, new: &Config, backend: Backend) -> Vec<String> {
    let mut found = BTreeSet::new();
    // A configuration that was read can always be serialised.
    let (old_values, new_values) =
        (to_value(old).unwrap_or_default(), to_value(new).unwrap_or_default());
    walk(String::new(), &old_values, &new_values, &mut found);
    let own = [
        format!("{backend}.actor_pool.enabled"),
        format!("{backend}.actor_pool.percent"),
        "rollout.plan".to_owned(),
    ];
    found.retain(|key| !own.contains(key) && !key.starts_with("limits."));
    for (section, is_same) in [
        ("url", old.url == new.url),
        ("rollout.token", old.rollout.token == new.rollout.token),
        ("kafka.properties", old.kafka.properties == new.kafka.properties),
        ("kafka.security", old.kafka.security == new.kafka.security),
        ("nats.security", old.nats.security == new.nats.security),
    ] {
        if !is_same && !found.iter().any(|key| key.starts_with(section)) {
            found.insert(section.to_owned());
        }
    }
    found.into_iter().collect()
}

fn walk(key: String, old: &Value, new: &Value, found: &mut BTreeSet<String>) {
    let (Value::Object(old_keys), Value::Object(new_keys)) = (old, new) else {
        if old != new {
            found.insert(key);
        }
        return;
    };
    let names: BTreeSet<_> = old_keys.keys().chain(new_keys.keys()).collect();
    for name in names {
        let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        let of =
            |keys: &serde_json::Map<String, Value>| keys.get(name).cloned().unwrap_or_default();
        walk(key, &of(old_keys), &of(new_keys), found);
    }
}

/// The work of [`EventBus::reload_on_sighup`].
#[cfg(unix)]
pub(super) fn on_sighup(bus: &EventBus) -> std::io::Result<bool> {
    if !Config::names_file() {
        return Ok(false);
    }
    use tokio::signal::unix::{SignalKind, signal};

    let mut hangups = signal(SignalKind::hangup())?;
    let (reading, inner) = (bus.0.flow.state.reading.clone(), std::sync::Arc::downgrade(&bus.0));
    bus.spawn(async move {
        while let Some(Some(())) = reading.run_until_cancelled(hangups.recv()).await {
            // Reading a file may block.
            let config = tokio::task::spawn_blocking(Config::load).await;
            let Some(bus) = inner.upgrade().map(EventBus) else { return };
            match config {
                Ok(Ok(config)) => match bus.reload(&config) {
                    Ok(report) => log(&report),
                    Err(error) => log_refused(&error),
                },
                Ok(Err(error)) => log_refused(&error),
                Err(error) => log_refused(&error),
            }
        }
    });
    Ok(true)
}

#[cfg(unix)]
fn log(ReloadReport { applied, refused, needs_restart }: &ReloadReport) {
    let (applied, needs_restart) = (applied.join(", "), needs_restart.join(", "));
    if refused.is_empty() {
        info!(applied, needs_restart, "configuration reloaded");
    } else {
        let reason = refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        warn!(reason, applied, needs_restart, "configuration reload refused");
    }
}

#[cfg(unix)]
fn log_refused(error: &dyn fmt::Display) {
    warn!(reason = %error, applied = "", needs_restart = "", "configuration reload refused");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differ(old: &str, new: &str) -> Vec<String> {
        let (old, new) = (Config::parse_yaml(old).unwrap(), Config::parse_yaml(new).unwrap());
        changed_keys(&old, &new, old.backend())
    }

    #[test]
    fn s3_every_key_that_needs_a_restart_is_named() {
        assert_eq!(differ("", ""), Vec::<String>::new());
        assert_eq!(
            differ("group: a", "group: b\nretry: {attempts: 7}"),
            ["group", "retry.attempts"]
        );
        assert_eq!(differ("terminal: skip", "terminal: {dead_letter: {topic: t}}"), ["terminal"]);
        let enabled = "memory: {actor_pool: {enabled: true, percent: 5}}";
        assert_eq!(differ("", enabled), Vec::<String>::new(), "that is looked after");
        assert_eq!(
            differ("", "kafka: {actor_pool: {enabled: true}}"),
            ["kafka.actor_pool.enabled"],
            "not the backend in use"
        );
        assert_eq!(differ("", "limits: {publish: {}}"), Vec::<String>::new(), "that too");
        assert_eq!(differ("", "rollout: {window: 5s}"), ["rollout.window"]);
    }

    #[test]
    fn s3_a_secret_that_has_changed_is_named_and_not_shown() {
        let token = |text: &str| format!("rollout: {{token: {text}}}");
        assert_eq!(
            differ(&token("0123456789abcdef"), &token("fedcba9876543210")),
            ["rollout.token"]
        );
        assert_eq!(differ("", &token("fedcba9876543210")), ["rollout.token"]);
        assert_eq!(differ("url: nats://u:one@h", "url: nats://u:two@h"), ["url"]);
        let property =
            |value: &str| format!("kafka: {{properties: {{sasl.kerberos.service.name: {value}}}}}");
        assert_eq!(differ(&property("one"), &property("two")), ["kafka.properties"]);
    }
}
