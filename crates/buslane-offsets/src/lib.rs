#![doc = include_str!("../README.md")]

pub mod codec;
mod commit_state;
mod done_map;
mod ring;
mod snapshot;
mod tracker;

pub use commit_state::{METADATA_LIMIT, PendingCommit};
pub use done_map::DoneMap;
pub use done_map::MetadataError;
pub use tracker::{Disposition, Limits, Tracker};
