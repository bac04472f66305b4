//! Who said what of the switches: the file, the environment, or code after them.

use super::{ChosenBy, ConfigError};
use buslane_core::Backend;

/// What file and environment said of the switches, and variables of a backend that could not be
/// read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Origins {
    memory: Switches,
    kafka: Switches,
    nats: Switches,
    plan: Origin<Option<String>>,
    plan_in_file: Option<String>,
    unreadable: Vec<(Backend, ConfigError)>,
}

/// What the file alone says of the rollout on one backend.
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

/// A switch as it was read: a value that differs from it was set by code.
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

    /// Who decided which pool runs the lanes.
    pub(super) fn of_enabled(&self, backend: Backend, value: bool) -> ChosenBy {
        self.of(backend).enabled.chosen_by(&value)
    }

    /// Who decided the percentage; none when nobody did, and it follows from the other switch.
    pub(super) fn of_percent(&self, backend: Backend, value: Option<u8>) -> Option<ChosenBy> {
        value.map(|_| self.of(backend).percent.chosen_by(&value))
    }

    /// Who gave the plan.
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
