//! The bus on a real NATS.
#![cfg(feature = "nats")]

mod contract;
mod headers;
mod health;
mod recovery;
mod wire;
