//! Health, metrics and rollout over HTTP.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

mod connections;
mod health;
mod kit;
mod rollout;
