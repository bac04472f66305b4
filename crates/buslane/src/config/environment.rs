//! The environment variables: their names, how they are read, and what they decided.
//!
//! A variable with a backend's prefix wins over the same one with `BUSLANE_` for that backend. One
//! that cannot be read is an error as soon as its backend is the one in use.

use super::{ChosenBy, Config, ConfigError, Variables};
use buslane_core::Backend;
use buslane_settings::{BrokenRule, Value as _};
use std::ffi::OsString;

pub(super) const CONFIG: &str = "BUSLANE_CONFIG";

/// The file that `BUSLANE_CONFIG` names. Its name need not be Unicode.
pub(super) fn config_file(variables: Variables<'_>) -> Result<Option<OsString>, ConfigError> {
    match variables(CONFIG) {
        Some(path) if path.is_empty() => Err(refused(CONFIG, "must name a file", "")),
        path => Ok(path),
    }
}

/// Overlays `config` with what the variables say.
pub(super) fn apply(config: &mut Config, variables: Variables<'_>) -> Result<(), ConfigError> {
    let mut unreadable = Vec::new();
    for setting in Config::reference() {
        for name in setting.variables.into_iter().rev() {
            let result = overlay(config, &setting.key, name, variables);
            match (result, backend_of(name)) {
                (Ok(()), _) => {}
                (Err(error), Some(backend)) => unreadable.push((backend, error)),
                (Err(error), None) => return Err(error),
            }
        }
    }
    config.origins.set_unreadable(unreadable);
    Ok(())
}

/// The backend whose own variable this is.
fn backend_of(name: &str) -> Option<Backend> {
    let prefix = name.split('_').next().unwrap_or_default();
    [Backend::Memory, Backend::Kafka, Backend::Nats]
        .into_iter()
        .find(|backend| backend.as_str().eq_ignore_ascii_case(prefix))
}

fn overlay(
    config: &mut Config,
    key: &str,
    name: &'static str,
    variables: Variables<'_>,
) -> Result<(), ConfigError> {
    let Some(text) = lookup(variables, name)? else { return Ok(()) };
    config.set(key, &text).map_err(|BrokenRule { rule, found, .. }| ConfigError::Variable {
        name,
        rule,
        found,
    })?;
    config.record(key, ChosenBy::Environment(name));
    Ok(())
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
