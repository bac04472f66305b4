//! What a bus promises on a real NATS, with the server's own figures as witness.

mod deliveries;
mod keys;
mod kit;
mod letters;
mod stopped;
mod traces;
