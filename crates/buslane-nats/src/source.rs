//! One source of messages: a durable consumer, or a subject of core NATS, read by one task.
//!
//! The task ([`reader`]) owns the requests and the acknowledgements. The intake takes ready
//! messages, and settlements store their outcome. Both lock the [`handle`], and neither waits.

mod ack_queue;
mod catch_up;
mod delivery;
mod handle;
mod inbox;
mod listener;
mod open_messages;
mod reader;
mod recently_acked;
mod unreadable;

pub(crate) use handle::{NatsIntake, SourceHandle};
pub(crate) use listener::Listener;
pub(crate) use reader::{DurableSource, Reader};
pub(crate) use recently_acked::RecentlyAcked;
