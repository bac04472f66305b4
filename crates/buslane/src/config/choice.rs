//! Which pool runs which share of the keys at the start, and what contradicts itself in that.
//!
//! Who stands higher wins: code over the environment over the file. A plan and a percentage of the
//! same rank contradict each other.

use super::{ActorPoolConfig, ChosenBy, Config, ConfigError, InFile, KeyedPoolConfig, PoolChoice};
use buslane_core::Backend;
use buslane_settings::BrokenRule;

impl Config {
    /// What the file that was read says of the rollout by itself, without environment and code.
    pub(crate) fn in_file(&self, backend: Backend) -> InFile {
        self.origins.in_file(backend)
    }

    /// Takes over what `other` says of the rollout.
    pub(crate) fn take_rollout(&mut self, other: &Self, backend: Backend) {
        let (_, actor) = other.pools_of(backend);
        let (enabled, percent) = (actor.enabled, actor.percent);
        let own = match backend {
            Backend::Memory => &mut self.memory.actor_pool,
            Backend::Kafka => &mut self.kafka.actor_pool,
            Backend::Nats => &mut self.nats.actor_pool,
        };
        (own.enabled, own.percent) = (enabled, percent);
        self.rollout.plan.clone_from(&other.rollout.plan);
        self.rollout.advance = other.rollout.advance;
        self.origins.clone_from(&other.origins);
    }

    /// Remembers who has set the switch at `key`, when there is one.
    pub(super) fn record(&mut self, key: &str, by: ChosenBy) {
        for backend in [Backend::Memory, Backend::Kafka, Backend::Nats] {
            let (_, actor) = self.pools_of(backend);
            let (enabled, percent) = (actor.enabled, actor.percent);
            match key.strip_prefix(backend.as_str()) {
                Some(".actor_pool.enabled") => self.origins.record_enabled(backend, enabled, by),
                Some(".actor_pool.percent") => {
                    self.origins.record_percent(backend, percent.unwrap_or_default(), by);
                }
                _ => {}
            }
        }
        if let ("rollout.plan", Some(plan)) = (key, &self.rollout.plan) {
            self.origins.record_plan(plan, by);
        }
    }

    const fn pools_of(&self, backend: Backend) -> (&KeyedPoolConfig, &ActorPoolConfig) {
        match backend {
            Backend::Memory => (&self.memory.keyed_pool, &self.memory.actor_pool),
            Backend::Kafka => (&self.kafka.keyed_pool, &self.kafka.actor_pool),
            Backend::Nats => (&self.nats.keyed_pool, &self.nats.actor_pool),
        }
    }
}

/// Each stands above those before it.
const fn rank(by: ChosenBy) -> u8 {
    match by {
        ChosenBy::Default => 0,
        ChosenBy::File => 1,
        ChosenBy::Environment(_) => 2,
        ChosenBy::Code => 3,
    }
}

pub(super) fn of(config: &Config, backend: Backend) -> PoolChoice {
    let (keyed, actor) = config.pools_of(backend);
    let chosen_by = config.origins.of_enabled(backend, actor.enabled);
    let explicit = config.origins.of_percent(backend, actor.percent);
    let plan_by = config.origins.of_plan(&config.rollout.plan);
    let begins = |by: &ChosenBy| {
        actor.enabled && explicit.is_none_or(|percent_by| rank(percent_by) < rank(*by))
    };
    let (plan, plan_by) = match plan_by.filter(begins) {
        Some(by) => (config.rollout.first_plan(), Some(by)),
        None => (None, None),
    };
    let first = plan.as_ref().and_then(|plan| plan.stages().first());
    PoolChoice {
        use_actor: actor.enabled,
        chosen_by,
        percent: first.map_or_else(|| actor.share(), |stage| stage.percent),
        percent_by: plan_by.or(explicit).unwrap_or(chosen_by),
        plan,
        keyed: keyed.clone(),
        actor: actor.clone(),
    }
}

/// Refuses a share of the keys for a pool that is not enabled. What a variable makes of a backend
/// that is not in use is no concern of anybody.
pub(super) fn check(config: &Config, in_use: Backend) -> Result<(), ConfigError> {
    for backend in [Backend::Memory, Backend::Kafka, Backend::Nats] {
        let (_, actor) = config.pools_of(backend);
        let chosen_by = config.origins.of_enabled(backend, actor.enabled);
        let percent_by = config.origins.of_percent(backend, actor.percent).unwrap_or_default();
        let from_variable = |by| matches!(by, ChosenBy::Environment(_));
        if actor.enabled
            || actor.share() == 0
            || backend != in_use && (from_variable(chosen_by) || from_variable(percent_by))
        {
            continue;
        }
        let (percent, rule) =
            (actor.share(), format!("must be 0 while {}", off(backend, chosen_by)));
        return match percent_by {
            ChosenBy::Environment(name) => Err(ConfigError::Variable {
                name,
                rule,
                found: format!("{:?}", percent.to_string()),
            }),
            _ => Ok(BrokenRule::because(format!("{backend}.actor_pool.percent"), rule, percent)?),
        };
    }
    plan(config, in_use)
}

/// Refuses a plan that cannot begin, unless somebody who stands higher does not want it to.
fn plan(config: &Config, backend: Backend) -> Result<(), ConfigError> {
    let Some((text, by)) =
        config.rollout.plan.as_ref().zip(config.origins.of_plan(&config.rollout.plan))
    else {
        return Ok(());
    };
    let (_, actor) = config.pools_of(backend);
    let chosen_by = config.origins.of_enabled(backend, actor.enabled);
    let percent_by = config.origins.of_percent(backend, actor.percent);
    let rule = if !actor.enabled && rank(chosen_by) <= rank(by) {
        format!("must be left out while {}", off(backend, chosen_by))
    } else if actor.enabled && percent_by.is_some_and(|percent_by| rank(percent_by) == rank(by)) {
        format!(
            "must be left out while {backend}.actor_pool.percent is set: the plan says which percentages there are"
        )
    } else {
        return Ok(());
    };
    match by {
        ChosenBy::Environment(name) => {
            Err(ConfigError::Variable { name, rule, found: format!("{text:?}") })
        }
        _ => Ok(BrokenRule::because("rollout.plan", rule, format!("{text:?}"))?),
    }
}

fn off(backend: Backend, by: ChosenBy) -> String {
    let switch = format!("{backend}.actor_pool.enabled");
    match by {
        ChosenBy::Environment(variable) => format!("{variable} sets {switch} to false"),
        _ => format!("{switch} is false"),
    }
}
