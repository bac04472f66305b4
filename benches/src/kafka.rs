//! The clients of a real Kafka.

mod bare;
mod echo;
mod publish;
mod stored;

pub use bare::Bare;

/// Where the Kafka is.
///
/// # Panics
/// When the environment does not say it.
#[must_use]
pub fn server() -> String {
    buslane_testkit::server::address("KAFKA_BOOTSTRAP_SERVERS")
}
