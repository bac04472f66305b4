//! Which pool runs which share of the keys at the start, who decided it, and which settings
//! contradict each other.
//!
//! The higher source wins: code over the environment over the file. A plan and a percentage of the
//! same source contradict each other.

use super::{ActorPoolConfig, Config, ConfigError, KeyedPoolConfig};
use buslane_core::Backend;
use buslane_rollout::Plan;
use buslane_settings::BrokenRule;
use std::fmt;

const BACKENDS: [Backend; 3] = [Backend::Memory, Backend::Kafka, Backend::Nats];

/// Who decided which pool runs the keys, or which share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ChosenBy {
    /// Nobody: it is the default.
    #[default]
    Default,
    /// The configuration file, or text that was parsed.
    File,
    /// This environment variable.
    Environment(&'static str),
    /// The program, after it read the file and the environment.
    Code,
}

impl fmt::Display for ChosenBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File => f.write_str("file"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Code => f.write_str("code"),
        }
    }
}

/// Which pools run the keys at the start, and the settings of both.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolChoice {
    /// Whether the actor pool is enabled.
    pub use_actor: bool,
    /// Who decided it.
    pub chosen_by: ChosenBy,
    /// Share of the keys that the actor pool runs, 0 to 100; 0 when `use_actor` is false.
    pub percent: u8,
    /// Who decided that share. If nobody named one, who decided `use_actor`.
    pub percent_by: ChosenBy,
    /// The plan that begins at the start, with that share.
    pub plan: Option<Plan>,
    /// Settings of the keyed pool.
    pub keyed: KeyedPoolConfig,
    /// Settings of the actor pool.
    pub actor: ActorPoolConfig,
}

/// The source of each switch, and the variables of a backend that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Origins {
    memory: Switches,
    kafka: Switches,
    nats: Switches,
    plan: Origin<Option<String>>,
    plan_in_file: Option<String>,
    unreadable: Vec<(Backend, ConfigError)>,
}

/// The rollout settings of the file alone, for one backend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct InFile {
    pub(crate) enabled: Option<bool>,
    pub(crate) percent: Option<u8>,
    pub(crate) plan: Option<String>,
}

/// The switches of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Switches {
    enabled: Origin<bool>,
    percent: Origin<Option<u8>>,
    enabled_in_file: Option<bool>,
    percent_in_file: Option<u8>,
}

/// A switch as it was read. A value that differs from it was set by code.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Origin<T> {
    value: T,
    by: ChosenBy,
}

impl<T: PartialEq> Origin<T> {
    fn chosen_by(&self, value: &T) -> ChosenBy {
        if self.value == *value { self.by } else { ChosenBy::Code }
    }
}

impl Origins {
    pub(super) fn record_enabled(&mut self, backend: Backend, value: bool, by: ChosenBy) {
        let switches = self.of_mut(backend);
        switches.enabled = Origin { value, by };
        if by == ChosenBy::File {
            switches.enabled_in_file = Some(value);
        }
    }

    pub(super) fn record_percent(&mut self, backend: Backend, percent: u8, by: ChosenBy) {
        let switches = self.of_mut(backend);
        switches.percent = Origin { value: Some(percent), by };
        if by == ChosenBy::File {
            switches.percent_in_file = Some(percent);
        }
    }

    pub(super) fn record_plan(&mut self, plan: &str, by: ChosenBy) {
        self.plan = Origin { value: Some(plan.to_owned()), by };
        if by == ChosenBy::File {
            self.plan_in_file = Some(plan.to_owned());
        }
    }

    /// Who decided whether the actor pool is enabled.
    pub(super) fn of_enabled(&self, backend: Backend, value: bool) -> ChosenBy {
        self.of(backend).enabled.chosen_by(&value)
    }

    /// Who decided the percentage; `None` when it follows from the other switch.
    pub(super) fn of_percent(&self, backend: Backend, value: Option<u8>) -> Option<ChosenBy> {
        value.map(|_| self.of(backend).percent.chosen_by(&value))
    }

    /// Who set the plan.
    pub(super) fn of_plan(&self, value: &Option<String>) -> Option<ChosenBy> {
        value.as_ref().map(|_| self.plan.chosen_by(value))
    }

    pub(super) fn in_file(&self, backend: Backend) -> InFile {
        let Switches { enabled_in_file: enabled, percent_in_file: percent, .. } = *self.of(backend);
        InFile { enabled, percent, plan: self.plan_in_file.clone() }
    }

    pub(super) fn set_unreadable(&mut self, unreadable: Vec<(Backend, ConfigError)>) {
        self.unreadable = unreadable;
    }

    /// Refuses a variable of `backend` that could not be read.
    pub(super) fn check(&self, backend: Backend) -> Result<(), ConfigError> {
        match self.unreadable.iter().find(|(of, _)| *of == backend) {
            Some((_, error)) => Err(error.clone()),
            None => Ok(()),
        }
    }

    const fn of(&self, backend: Backend) -> &Switches {
        match backend {
            Backend::Memory => &self.memory,
            Backend::Kafka => &self.kafka,
            Backend::Nats => &self.nats,
        }
    }

    const fn of_mut(&mut self, backend: Backend) -> &mut Switches {
        match backend {
            Backend::Memory => &mut self.memory,
            Backend::Kafka => &mut self.kafka,
            Backend::Nats => &mut self.nats,
        }
    }
}

impl Config {
    /// The rollout settings of the file alone, without environment and code.
    pub(crate) fn in_file(&self, backend: Backend) -> InFile {
        self.origins.in_file(backend)
    }

    /// Takes over the rollout settings of `other`.
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

    /// Records the source of the switch at `key`; other keys need none.
    pub(super) fn record(&mut self, key: &str, by: ChosenBy) {
        for backend in BACKENDS {
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

    /// Refuses an enabled actor pool with this rule.
    pub(crate) fn refuse_actor_pool(
        &self,
        backend: Backend,
        rule: &str,
    ) -> Result<(), ConfigError> {
        let (_, actor) = self.pools_of(backend);
        if !actor.enabled {
            return Ok(());
        }
        match self.origins.of_enabled(backend, actor.enabled) {
            ChosenBy::Environment(name) => Err(ConfigError::Variable {
                name,
                rule: rule.to_owned(),
                found: "\"true\"".to_owned(),
            }),
            _ => Ok(BrokenRule::because(format!("{backend}.actor_pool.enabled"), rule, true)?),
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

/// The higher rank wins.
const fn rank(by: ChosenBy) -> u8 {
    match by {
        ChosenBy::Default => 0,
        ChosenBy::File => 1,
        ChosenBy::Environment(_) => 2,
        ChosenBy::Code => 3,
    }
}

/// The choice for a backend.
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

/// Refuses a pool that this build does not contain, and a share of the keys for a pool that is not
/// enabled. A contradiction that a variable
/// makes in a backend that is not in use does no harm.
pub(super) fn check(config: &Config, in_use: Backend) -> Result<(), ConfigError> {
    for backend in BACKENDS {
        let (_, actor) = config.pools_of(backend);
        let chosen_by = config.origins.of_enabled(backend, actor.enabled);
        if cfg!(not(feature = "actor")) && backend == in_use {
            let rule = "must be false: the actor pool is not part of this build, which needs the \
                        cargo feature actor of buslane";
            config.refuse_actor_pool(backend, rule)?;
        }
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
    check_plan(config, in_use)
}

/// Refuses a plan that cannot begin, unless a higher source disables it.
fn check_plan(config: &Config, backend: Backend) -> Result<(), ConfigError> {
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
