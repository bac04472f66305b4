//! One source of messages: a durable consumer, or a subject of core NATS, read by one task.
//!
//! The task ([`reader`]) owns the requests and the acknowledgements. The intake takes messages that
//! are ready, and settlements leave their outcome behind; both lock the [`handle`], and neither
//! waits.

mod ack_queue;
mod arena;
mod handle;
mod inbox;
mod intake;
mod listener;
mod reader;
mod recently_acked;
mod recovery;
mod reply;
mod unreadable;
mod window;

pub(crate) use handle::SourceHandle;
pub(crate) use intake::NatsIntake;
pub(crate) use listener::Listener;
pub(crate) use reader::{DurableSource, Reader};
