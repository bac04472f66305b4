#![doc = include_str!("../README.md")]

mod entry;
mod key;
mod parking;
pub mod record;

pub use entry::{Action, Answer, Cause, Ending, Entry, Refusal, Work};
pub use key::{Edit, ParkedKey};
pub use parking::{Fate, Parking, Request};
pub use record::EntryError;

/// A position in a parking log: an offset, or a sequence number of a stream.
pub type Position = u64;
