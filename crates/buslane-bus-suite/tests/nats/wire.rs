//! Promises of a bus on a real NATS, checked against the server's own figures.

mod deliveries;
mod keys;
mod kit;
mod letters;
mod stopped;
mod traces;
