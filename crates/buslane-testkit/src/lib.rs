#![doc = include_str!("../README.md")]

pub mod broker_suite;
#[cfg(feature = "bus")]
pub mod bus_suite;
pub mod deadline;
pub mod folder;
pub mod leak;
pub mod ledger;
pub mod loss;
#[cfg(feature = "nats-login")]
pub mod nats_login;
pub mod own_server;
pub mod pool_suite;
pub mod recorder;
pub mod server;
pub mod signal;
