#![doc = include_str!("../README.md")]
//!
//! # Design
//!
//! One lock protects the log and the groups' cursors of a partition ([`Position`]). A settlement
//! sets an atomic bit and takes no lock. A group balances partitions over its members. A waiting
//! call stores a waker and needs no task.

mod assignment;
mod balance;
mod batch;
mod broker;
mod claim;
mod cluster;
mod config;
mod cursor;
mod done_set;
mod fault_script;
mod faults;
mod group;
mod intake;
mod log;
mod member;
mod partition;
mod partition_log;
mod publish;
mod settlement_window;
mod topic;
mod wakes;

pub use broker::MemoryBroker;
pub use config::{MAX_PARTITIONS, MemberOptions, MemoryConfig, MemoryConfigError, OffsetReset};
pub use faults::Faults;
pub use member::MemoryMember;
pub use partition::Position;
