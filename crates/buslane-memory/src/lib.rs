#![doc = include_str!("../README.md")]
//!
//! Inside: a partition ([`Position`]) is one lock around a log and the groups' cursors; settlements
//! are atomic bits that cost no lock; a group shares partitions out; and wakers, not tasks, carry
//! every wait.

mod assignment;
mod batch;
mod broker;
mod cluster;
mod config;
mod connection;
mod cursor;
mod faults;
mod group;
mod intake;
mod log;
mod member;
mod partition;
mod place;
mod publish;
mod queue;
mod script;
mod share;
mod signal;
mod topic;
mod tracker;
mod wakes;
mod window;

pub use broker::MemoryBroker;
pub use config::{MAX_PARTITIONS, MemberOptions, MemoryConfig, MemoryConfigError, OffsetReset};
pub use faults::Faults;
pub use member::MemoryMember;
pub use partition::Position;
