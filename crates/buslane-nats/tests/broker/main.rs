//! Tests on a real NATS, and on servers that they start themselves: old ones, ones with logins, and
//! ones to break.

mod consumers;
mod contract;
mod input;
mod kit;
mod lag;
mod look_ups;
mod loss;
mod oldest;
mod partitions;
mod publish;
mod secrets;
mod security;
mod settings;
mod whole;
