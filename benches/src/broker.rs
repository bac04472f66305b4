//! Loads on a real broker. Each side of a comparison runs in a process of its own, so that its
//! processor time and its memory are its own.
//!
//! What is measured is the same on every broker. What differs, the client alone, is a [`Floor`].

mod bus;
mod compare;
mod floor;
mod idle;
mod load;
mod publish;
mod side;
mod steady;
mod turns;

pub use bus::Probe;
pub use bus::{BusSide, Pool, Reader};
pub use floor::Arrivals;
pub use floor::{BrokerKind, Echo, Floor};
pub use idle::{IDLE_EVERY, idle};
pub use load::FilledTopic;
pub use load::Load;
pub use publish::Form;
pub(crate) use publish::{Made, publish};
pub use side::{Measured, Program};
pub use side::{Side, cost_line};
pub use steady::{Policy, Steady};
pub use turns::{Bench, POOLS};
