#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod broker_suite;
pub mod deadline;
pub mod folder;
pub mod leak;
pub mod ledger;
pub mod loss;
#[cfg(feature = "nats-login")]
pub mod nats_login;
pub mod pool_suite;
pub mod recorder;
pub mod server;
pub mod signal;
