//! Loads on a real broker. Each side of a comparison runs in a process of its own, so that its
//! processor time and its memory are its own.
//!
//! All measurements are the same on every broker; only the bare client differs, which is a
//! [`Floor`].

mod bus;
mod compare;
mod floor;
mod idle;
mod load;
mod publish;
mod side;
mod steady;
mod turns;

pub use bus::{BusSide, Pool, Probe, Reader};
pub use floor::{Arrivals, Echo, Floor, Form};
pub use idle::{IDLE_EVERY, idle};
pub use load::{FilledTopic, Load};
pub(crate) use publish::{Made, publish};
pub use side::{BrokerKind, Measured, Program, Side, cost_line};
pub use steady::{Policy, Steady};
pub use turns::{Bench, POOLS};
