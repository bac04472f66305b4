//! The clients of a real NATS with JetStream.

mod bare;
mod publish;
mod read;

pub use bare::Bare;
