//! The share of the keys and the plan: they come into force where nobody who stands higher has
//! decided.

use super::{EventBus, ReloadRefusal, ReloadReport};
use crate::{
    BusError, Config, PoolChoice,
    config::{ChosenBy, InFile},
};
use std::fmt::Write as _;

const WAY_OUT: &str = "use PUT /rollout or Rollout";

impl EventBus {
    pub(super) fn reload_rollout(
        &self,
        running: &mut Config,
        config: &Config,
        report: &mut ReloadReport,
    ) -> Result<(), BusError> {
        let backend = self.backend();
        let (before, after) = (running.in_file(backend), config.in_file(backend));
        let (old, new) = (running.pools_for(backend), config.pools_for(backend));
        let by_code = is_by_code(&new) && !is_same(&old, &new);
        if before == after && !by_code {
            return Ok(());
        }
        let key = key(&before, &after, backend.as_str());
        let wanted = if by_code { Wanted::of(&new) } else { Wanted::of_file(&after, &new, config) };
        let rollout = &self.flow().rollout;
        let status = self.rollout().status();
        let is_so = match &wanted.plan {
            Some(_) => wanted.plan == old.plan && rollout.overridden_by().is_none(),
            None => status.plan.is_none() && status.percent == wanted.percent,
        };
        if !is_so {
            let refusal = match rollout.overridden_by() {
                Some(by) => Some(at_run_time(status.percent, &by)),
                None if is_by_code(&old) && !by_code => Some(by_program(old.percent)),
                None => shadow(&wanted, &new),
            };
            let refusal = match refusal {
                Some(reason) => Some(reason),
                None => {
                    let by = new.percent_by.to_string();
                    // Closed since it was looked at, if at all; or somebody was quicker.
                    let quicker = rollout
                        .configure(new.percent, new.plan, &by)
                        .map_err(|_| BusError::Closed)?;
                    quicker.map(|by| at_run_time(self.rollout().status().percent, &by))
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
    plan: Option<crate::rollout::Plan>,
}

impl Wanted {
    fn of(choice: &PoolChoice) -> Self {
        Self { percent: choice.percent, plan: choice.plan.clone() }
    }

    /// What the file would have. A switch that it leaves to the environment is the environment's.
    fn of_file(file: &InFile, new: &PoolChoice, config: &Config) -> Self {
        let is_enabled = file.enabled.unwrap_or(new.use_actor);
        let share = if is_enabled { file.percent.unwrap_or(100) } else { 0 };
        let text = file.plan.as_ref().filter(|_| is_enabled && file.percent.is_none());
        let plan = text
            .and_then(|text| text.parse().ok())
            .map(|plan: crate::rollout::Plan| plan.advancing(config.rollout.advance));
        let first = plan.as_ref().and_then(|plan| plan.stages().first());
        Self { percent: first.map_or(share, |stage| stage.percent), plan }
    }
}

/// Who keeps the file from having its way, if anybody.
fn shadow(wanted: &Wanted, new: &PoolChoice) -> Option<String> {
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
