//! Loads on a real Kafka. Each side of a comparison runs in a process of its own, so that its processor time and its memory
//! are its own.

mod bare;
mod bus;
mod idle;
mod load;
mod publish;
mod side;
mod topic;

pub use bare::Bare;
pub use bus::{BusSide, Pool, Reader};
pub use idle::idle;
pub use load::Load;
pub use publish::Form;
pub use side::{Measured, Side, measure};
pub use topic::FilledTopic;

/// Where the Kafka is.
///
/// # Panics
/// When the environment does not say it.
#[must_use]
pub fn server() -> String {
    buslane_testkit::server::address("KAFKA_BOOTSTRAP_SERVERS")
}
