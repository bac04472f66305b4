//! A broker's client alone, which is the limit of what a bus can do on it.

use super::{Arrivals, Form};
use crate::Cost;
use buslane::{
    Config, Record,
    config::{ActorPoolConfig, KeyedPoolConfig},
};
use buslane_core::BoxFuture;
use bytes::Bytes;
use std::{fmt::Debug, sync::Arc};
use tokio::runtime::Runtime;

/// The client of one broker, with the settings that the bus gives it where they decide how fast it
/// is.
///
/// # Panics
/// All of it panics when the broker refuses, or messages do not come.
pub trait Floor: Debug {
    /// Where a bus finds the broker.
    fn url(&self) -> String;

    /// The settings of the pools of a bus on this broker.
    fn pools<'a>(
        &self,
        config: &'a mut Config,
    ) -> (&'a mut KeyedPoolConfig, &'a mut ActorPoolConfig);

    /// Makes a topic.
    fn create(&self, runtime: &Runtime, topic: &str, partitions: u32);

    /// Publishes records to a topic and waits for all acknowledgements.
    fn fill(&self, runtime: &Runtime, topic: &str, records: &mut dyn Iterator<Item = Record>);

    /// Deletes a topic. The broker may be the user's own; what is left there is a pity and no
    /// reason to fail.
    fn delete(&self, runtime: &Runtime, topic: &str);

    /// Takes `messages` messages of a topic, and settles them where that is done one by one;
    /// measured from the first one.
    fn read(&self, runtime: &Runtime, topic: &str, messages: u64) -> Cost;

    /// The bodies of all messages that a topic holds.
    fn stored(&self, runtime: &Runtime, topic: &str, partitions: u32) -> Vec<Bytes>;

    /// How many different records the publishing of `messages` takes, one more included: a broker
    /// that knows event ids stores each once.
    fn different(&self, messages: u64) -> u64;

    /// Publishes `messages` records.
    fn publish(&self, runtime: &Runtime, topic: &str, form: Form, messages: u64) -> Cost;

    /// Tells `log` of each message of a topic, and publishes to it.
    fn echo(&self, runtime: &Runtime, topic: &str, log: &Arc<Arrivals>) -> Echo;
}

/// A kind of broker, as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BrokerKind {
    /// `KAFKA_BOOTSTRAP_SERVERS`
    Kafka,
    /// `NATS_URL`
    Nats,
}

impl BrokerKind {
    /// The client of the broker of this kind that the environment names.
    ///
    /// # Panics
    /// When it names none.
    #[must_use]
    pub fn floor(self) -> Box<dyn Floor> {
        match self {
            Self::Kafka => Box::new(crate::kafka::Bare::of_environment()),
            Self::Nats => Box::new(crate::nats::Bare::of_environment()),
        }
    }
}

/// A consumer that tells of each message, and a publisher to its topic.
pub struct Echo {
    /// Publishes one body and waits for the acknowledgement.
    pub publish: Box<dyn Fn(Vec<u8>) -> BoxFuture<'static, ()> + Send>,
    /// Ends the consumer.
    pub end: Box<dyn FnOnce()>,
}

impl std::fmt::Debug for Echo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Echo")
    }
}
