//! The bus on a real NATS.

mod contract;
mod headers;
mod health;
mod power;
mod recovery;
mod wire;
