#![doc = include_str!("../README.md")]

mod bounds;
mod count;
mod lanes;
mod local_queue;
mod model;
mod router;
mod scheduler;
mod slab;
mod sync;
mod waiters;

pub use bounds::{Bounds, Refusal};
pub use count::{Counts, End, Observer};
pub use lanes::{LaneKind, LaneRef, LaneStats, Lanes, Moved, Parked};
pub use local_queue::Ended;
pub use router::{MigrationProgress, RouterRefusal, SLOTS, SlotCounts, SlotRouter, slot_of};
pub use scheduler::{Item, Mode, Next, Scheduler, Taken, Tick};
pub use waiters::WaitFor;
