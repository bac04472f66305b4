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
pub use lanes::{Deferred, LaneKind, LaneRef, LaneStats, Lanes, Moved};
pub use local_queue::Ended;
pub use router::{MigrationProgress, RouterRefusal, SLOTS, SlotCounts, SlotRouter, slot_of};
pub use scheduler::{Item, Mode, Next, Scheduler, Taken, Tick};
pub use waiters::WaitFor;
