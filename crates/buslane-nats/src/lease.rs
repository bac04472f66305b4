//! Leases in a key-value bucket of the server decide which member of a group reads which partition.
//!
//! A member proves that it is alive by renewing one key. The key of a partition names its owner,
//! and a write succeeds only over the last known revision. [`state`](self::state) decides the
//! actions of a member, and [`task`](self::task) carries them out.

mod coordinator;
mod keys;
#[cfg(test)]
mod simulation;
mod state;
mod task;
pub(crate) mod term;

pub(crate) use coordinator::Coordinator;
pub(crate) use task::keep_leases;
