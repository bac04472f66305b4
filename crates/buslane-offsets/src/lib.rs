#![doc = include_str!("../README.md")]

pub mod codec;
mod desk;
mod done;
mod picture;
mod ring;
mod tracker;

pub use codec::MetadataError;
pub use desk::{METADATA_LIMIT, Offer};
pub use done::DoneMap;
pub use tracker::{Delivery, Limits, Tracker};
