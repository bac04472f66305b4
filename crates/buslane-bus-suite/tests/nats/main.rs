//! The bus on a real NATS.

mod contract;
mod headers;
mod health;
mod recovery;
mod wire;
