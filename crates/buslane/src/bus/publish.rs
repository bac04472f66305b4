//! Publishing: one record, many records, envelopes.

use super::{EventBus, Inner};
use crate::BusError;
use buslane_core::{Answer, BoxFuture, Envelope, PublishError, Receipt, Record, Topic};
use bytes::BytesMut;
use std::borrow::Borrow;

impl EventBus {
    /// Publishes a regular message, and returns after the broker's acknowledgement.
    ///
    /// # Errors
    /// A topic name that breaks a rule, a closed bus, or the broker's reason; a timeout after the
    /// publish timeout.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open whether the message was published.
    pub async fn publish(
        &self,
        topic: &str,
        record: impl Into<Record>,
    ) -> Result<Receipt, BusError> {
        let (inner, topic) = self.publishing(topic)?;
        let receipts = inner.send(&topic, vec![record.into()]).await;
        receipts.into_iter().next().unwrap_or(Err(PublishError::Closed)).map_err(Into::into)
    }

    /// Publishes many regular messages: one answer a record, in their order.
    ///
    /// # Errors
    /// A topic name that breaks a rule, or a closed bus; the answers have the errors of single
    /// records.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open which of the records were published.
    pub async fn publish_batch(
        &self,
        topic: &str,
        records: Vec<Record>,
    ) -> Result<Vec<Result<Receipt, PublishError>>, BusError> {
        let (inner, topic) = self.publishing(topic)?;
        Ok(inner.send(&topic, records).await)
    }

    /// Checks an envelope and publishes it; returns after the broker's acknowledgement.
    ///
    /// # Errors
    /// The rule that the envelope breaks, and then nothing was sent; else as [`EventBus::publish`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open whether the envelope was published.
    pub async fn publish_envelope(
        &self,
        topic: &str,
        envelope: impl Borrow<Envelope>,
    ) -> Result<Receipt, BusError> {
        let (inner, topic) = self.publishing(topic)?;
        let record = Record::from_envelope(envelope.borrow(), &mut BytesMut::new())?;
        let receipts = inner.send(&topic, vec![record]).await;
        receipts.into_iter().next().unwrap_or(Err(PublishError::Closed)).map_err(Into::into)
    }

    /// Checks all envelopes, then publishes them: one answer an envelope, in their order.
    ///
    /// # Errors
    /// The first rule that an envelope breaks, and then nothing was sent; a topic name that breaks
    /// a rule; a closed bus. The answers have the errors of single envelopes.
    ///
    /// # Cancel safety
    /// Dropping the future leaves it open which of the envelopes were published.
    pub async fn publish_envelopes(
        &self,
        topic: &str,
        envelopes: &[Envelope],
    ) -> Result<Vec<Result<Receipt, PublishError>>, BusError> {
        let (inner, topic) = self.publishing(topic)?;
        let mut arena = BytesMut::new();
        let records = envelopes
            .iter()
            .map(|envelope| Record::from_envelope(envelope, &mut arena))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(inner.send(&topic, records).await)
    }

    /// Publishing ends later than subscribing: handlers that drain may still publish.
    fn publishing(&self, topic: &str) -> Result<(&Inner, Topic), BusError> {
        if self.0.closing.is_drained() {
            return Err(BusError::Closed);
        }
        Ok((&self.0, self.0.topics.get(topic)?))
    }
}

impl Inner {
    async fn send(
        &self,
        topic: &Topic,
        mut records: Vec<Record>,
    ) -> Vec<Result<Receipt, PublishError>> {
        let count = records.len();
        if let Some(context) = self.flow.services.trace() {
            for record in records.iter_mut().filter(|record| !record.has_trace()) {
                *record = std::mem::take(record).with_trace(&context);
            }
        }
        let turn = match self.publish_limits.get() {
            None => None,
            Some(limits) => {
                match Box::pin(limits.pass(topic, count, self.config.publish_timeout)).await {
                    Ok(turn) => Some(turn),
                    Err(error) => return vec![Err(error); count],
                }
            }
        };
        let answer = self.broker.publish(topic, records);
        // Those who came later come after.
        drop(turn);
        let receipts = match answer {
            Answer::Now(receipts) => receipts,
            Answer::Later(waiting) => self.wait_for_receipts(topic, count, waiting).await,
        };
        let published = receipts.iter().filter(|receipt| receipt.is_ok()).count();
        self.flow.services.metrics.published(published as u64);
        receipts
    }

    /// Waits for the broker, which may keep silent.
    async fn wait_for_receipts(
        &self,
        topic: &Topic,
        count: usize,
        waiting: BoxFuture<'_, Vec<Result<Receipt, PublishError>>>,
    ) -> Vec<Result<Receipt, PublishError>> {
        self.outgoing.within(count, waiting).await.unwrap_or_else(|_| {
            let (waited, detail) =
                (self.config.publish_timeout, "the broker has not answered".to_owned());
            vec![Err(PublishError::Timeout { topic: topic.clone(), waited, detail }); count]
        })
    }
}
