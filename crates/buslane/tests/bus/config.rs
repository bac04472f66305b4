//! Configuration: files, environment, code, and the page that documents it.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

mod choice;
mod files;
mod health;
mod kafka;
mod nats;
mod operations;
mod reference;
mod rollout;
mod secrets;
mod variables;

use buslane::config::Variables;
use std::ffi::OsString;

/// Looks variables up in a list of `NAME=value`, as [`Variables`] wants it.
fn table(list: &'static [&'static str]) -> impl Fn(&str) -> Option<OsString> {
    move |name| {
        list.iter()
            .filter_map(|entry| entry.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.into())
    }
}

/// No variables at all.
const NONE: Variables<'static> = &|_| None;
