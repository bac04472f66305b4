//! Leases in a key-value bucket of the server decide which member of a group reads which partition.
//!
//! A member proves that it is alive by renewing one key. The key of a partition names its owner,
//! and is only written over its last known revision. [`state`](self::state) decides what a member
//! does, and [`task`](self::task) does it.

mod coordinator;
mod keys;
#[cfg(test)]
mod simulation;
mod state;
mod task;
pub(crate) mod term;

pub(crate) use coordinator::Coordinator;
pub(crate) use task::keep_leases;
