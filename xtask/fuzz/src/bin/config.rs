//! Configuration as YAML, as TOML and as variables: accepted, or refused with an error that says
//! something in one line.
#![no_main]

use buslane::{Config, ConfigError};
use libfuzzer_sys::{arbitrary, arbitrary::Arbitrary, fuzz_target};
use std::sync::LazyLock;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    text: &'a str,
    variables: Vec<(u16, &'a str)>,
}

/// The names of all variables.
static NAMES: LazyLock<Vec<&str>> =
    LazyLock::new(|| Config::variables().into_iter().map(|known| known.name).collect());

fn judged(found: Result<Config, ConfigError>) -> Option<Config> {
    match found {
        Ok(config) => {
            if let Err(error) = config.validate() {
                assert!(!error.to_string().trim().is_empty());
            }
            Some(config)
        }
        Err(error) => {
            assert!(!error.to_string().trim().is_empty());
            None
        }
    }
}

fuzz_target!(|input: Input<'_>| {
    let parsed = [Config::parse_yaml(input.text), Config::parse_toml(input.text)].map(judged);
    let value = |name: &str| {
        let known = input.variables.iter();
        let mut known = known.map(|(at, value)| (NAMES[usize::from(*at) % NAMES.len()], value));
        known.find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
    };
    for config in parsed.into_iter().flatten().chain([Config::default()]) {
        judged(config.with_variables(&value));
    }
});
