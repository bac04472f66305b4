//! What operators see and do about the parked keys of a bus.

use super::EventBus;
use crate::{
    BusError,
    parking::{Owner, first_of},
};
use buslane_core::{Message, Topic};
use buslane_parking::{Action, Answer};
use bytes::Bytes;
use std::sync::Arc;

/// The parked keys of one bus: those in the partitions that this process reads now.
///
/// Every request is a record in the log of the key's partition, and so is the answer to it.
#[derive(Clone, Copy)]
pub struct Parking<'a>(&'a EventBus);

/// A key of which messages are set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParkedKey {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: u32,
    /// The key.
    pub key: Bytes,
    /// How many of its messages are set aside.
    pub messages: u64,
    /// How many times the first of them has failed in a redrive.
    pub redrives: u32,
    /// Whether they are redriven, skipped or discarded now.
    pub is_worked_on: bool,
}

impl EventBus {
    /// The parked keys of this process, and what to do about them.
    ///
    /// ```
    /// # use buslane::{Config, Event, EventBus};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bus = EventBus::connect(Config::default()).await?;
    /// bus.subscription("orders").park().envelopes(async |_: Event| ()).await?;
    /// for parked in bus.parking().keys() {
    ///     println!("{:?}: {} messages", parked.key, parked.messages);
    ///     bus.parking().redrive(&parked.topic, &parked.key).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn parking(&self) -> Parking<'_> {
        Parking(self)
    }
}

impl Parking<'_> {
    /// The parked keys, in no order.
    #[must_use]
    pub fn keys(&self) -> Vec<ParkedKey> {
        let owners = self.0.flow().services.owners.live();
        let of_owner = |owner: &Arc<Owner>| {
            let source = Arc::clone(owner.source());
            owner.keys().into_iter().map(move |(key, parked)| ParkedKey {
                topic: source.topic.clone(),
                partition: source.partition,
                key,
                messages: parked.count(),
                redrives: parked.redrives(),
                is_worked_on: parked.work().is_some(),
            })
        };
        owners.iter().flat_map(of_owner).collect()
    }

    /// The first parked message of a key, as its source has delivered it; `None` if the key is not
    /// parked in this process.
    ///
    /// # Errors
    /// [`BusError::Closed`].
    ///
    /// # Cancel safety
    /// Cancelling changes nothing.
    pub async fn first(&self, topic: &str, key: &[u8]) -> Result<Option<Message>, BusError> {
        self.0.open()?;
        let Ok(owner) = self.owner(topic, key) else { return Ok(None) };
        Ok(first_of(&owner, &Bytes::copy_from_slice(key)).await)
    }

    /// Handles the parked messages of a key in order, with the subscription's handler. Messages of
    /// the key that arrive meanwhile are parked behind them. When none is left, the key is live
    /// again; when one fails again, the key stays parked. Returns once the redrive has begun.
    ///
    /// # Errors
    /// The key is not parked in this process, or something else is being done with it; the log
    /// cannot be written; a closed bus.
    ///
    /// # Cancel safety
    /// The redrive may begin.
    pub async fn redrive(&self, topic: &str, key: &[u8]) -> Result<(), BusError> {
        self.ask(topic, key, Action::Redrive, Bytes::new()).await
    }

    /// Drops the first parked message of a key, if it is the one that lies at `offset` of the
    /// source: of two operators who skip it, one is refused. The key stays parked if others are
    /// behind it.
    ///
    /// # Errors
    /// As for [`redrive`](Self::redrive); the message is not parked, or not any more.
    ///
    /// # Cancel safety
    /// The message may be dropped.
    pub async fn skip(&self, topic: &str, key: &[u8], offset: u64) -> Result<(), BusError> {
        self.ask(topic, key, Action::Skip { origin: offset }, Bytes::new()).await
    }

    /// Moves the messages of a key that are parked now to the dead letters, the topic
    /// `{topic}.dlq`. Later ones of the key are live if none was parked meanwhile.
    ///
    /// # Errors
    /// As for [`redrive`](Self::redrive).
    ///
    /// # Cancel safety
    /// The messages may be moved.
    pub async fn discard(&self, topic: &str, key: &[u8]) -> Result<(), BusError> {
        self.ask(topic, key, Action::Discard, Bytes::new()).await
    }

    /// Gives a parked message, which lies at `offset` of the source, another body for its redrive.
    /// The original stays in the log.
    ///
    /// # Errors
    /// As for [`skip`](Self::skip); another message of the key was edited and is still parked.
    ///
    /// # Cancel safety
    /// The message may get the body.
    pub async fn edit(
        &self,
        topic: &str,
        key: &[u8],
        offset: u64,
        body: impl Into<Bytes>,
    ) -> Result<(), BusError> {
        self.ask(topic, key, Action::Edit { origin: offset }, body.into()).await
    }

    fn owner(&self, topic: &str, key: &[u8]) -> Result<Arc<Owner>, BusError> {
        let owners = self.0.flow().services.owners.live();
        let mut of_topic = owners.into_iter().filter(|owner| *owner.source().topic == *topic);
        of_topic.find(|owner| owner.has(key)).ok_or_else(|| BusError::Parking {
            topic: topic.to_owned(),
            key: String::from_utf8_lossy(key).into_owned(),
            reason: "is not parked in this process",
        })
    }

    async fn ask(
        &self,
        topic: &str,
        key: &[u8],
        action: Action,
        body: Bytes,
    ) -> Result<(), BusError> {
        self.0.open()?;
        let owner = self.owner(topic, key)?;
        let reason = match owner.ask(key, action, body).await? {
            Some(Answer::Begun(_) | Answer::Edited { .. }) => return Ok(()),
            Some(Answer::Refused(refusal)) => refusal.reason(),
            None => "has another owner now, which answers in the log",
        };
        let key = String::from_utf8_lossy(key).into_owned();
        Err(BusError::Parking { topic: topic.to_owned(), key, reason })
    }
}
