#![doc = include_str!("../README.md")]

mod entry;
mod key;
mod parking;
pub mod record;

pub use entry::{Action, Cause, Ending, Entry};
pub use key::{Edit, ParkedKey, Work};
pub use parking::{Applied, Fate, Parking, Refusal};
pub use record::EntryError;

/// A position in a parking log: an offset, or a sequence number of a stream.
pub type Position = u64;
