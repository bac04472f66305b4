//! Reads a delivery of the server: its numbers, key, headers and payload.

use super::open_messages::{Ack, AckKind};
use crate::wire;
use async_nats::Subject;
use buslane_core::{Message, Record, Source};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;

/// A delivery of the server.
pub(super) struct NumberedMessage {
    pub(super) message: Message,
    pub(super) subject: Subject,
    pub(super) ack: Ack,
    /// The number of this delivery among those of the consumer.
    pub(super) delivery: u64,
}

/// Reads a delivery; `None` for any other message.
pub(super) fn read(
    source: &Arc<Source>,
    arena: &mut PayloadArena,
    message: async_nats::Message,
) -> Option<NumberedMessage> {
    let reply = message.reply?;
    let numbers = numbers(&reply)?;
    let (key, headers) = wire::from_nats(message.headers.as_ref());
    let mut record = Record::new(arena.copy(message.payload)).with_headers(headers);
    record.key = key;
    Some(NumberedMessage {
        subject: message.subject,
        ack: Ack {
            sequence: numbers.sequence,
            deliveries: numbers.deliveries,
            timestamp_ms: numbers.timestamp_ms,
            reply,
            kind: AckKind::Nak,
        },
        delivery: numbers.delivery,
        message: record.into_message(Arc::clone(source), numbers.sequence, numbers.timestamp_ms),
    })
}

/// The numbers of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// The number of times that the message was delivered, including this one.
    pub(crate) deliveries: u64,
    /// The message's sequence in its stream.
    pub(crate) sequence: u64,
    /// The number of this delivery among those of the consumer, without gaps.
    pub(crate) delivery: u64,
    /// When the stream stored the message, in milliseconds since the Unix epoch.
    pub(crate) timestamp_ms: i64,
}

/// Reads `$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<delivery>.<nanoseconds>.<pending>`,
/// or the newer form with domain and account behind `ACK`. `None` for anything else.
pub(crate) fn numbers(reply: &str) -> Option<Numbers> {
    let numbers = reply.strip_prefix("$JS.ACK.")?;
    let tokens = 1 + numbers.bytes().filter(|byte| *byte == b'.').count();
    // Skips the stream and the consumer, after domain and account in the newer form, which may end
    // in one more token.
    let skip = match tokens {
        7 => 2,
        9.. => 4,
        _ => return None,
    };
    let mut tokens = numbers.split('.').skip(skip);
    let mut number = || tokens.next()?.parse::<u64>().ok();
    let (deliveries, sequence, delivery, nanoseconds) =
        (number()?, number()?, number()?, number()?);
    Some(Numbers {
        deliveries,
        sequence,
        delivery,
        timestamp_ms: i64::try_from(nanoseconds / 1_000_000).unwrap_or(0),
    })
}

/// The subject that acknowledges a delivery which this reader did not receive.
pub(crate) fn forge(stream: &str, durable: &str, sequence: u64, delivery: u64) -> String {
    format!("$JS.ACK.{stream}.{durable}.1.{sequence}.{delivery}.0.0")
}

/// Bytes of a page that small payloads share.
const PAGE_BYTES: usize = 4_096;
/// A copy of a larger payload costs more than it saves, because the client's buffer has 64 KiB.
const LARGE_PAYLOAD: usize = 16_384;

/// Copies payloads out of the client's buffer. A slice of that buffer would keep the whole buffer
/// in memory for as long as its message waits.
#[derive(Default)]
pub(super) struct PayloadArena(BytesMut);

impl PayloadArena {
    pub(super) fn copy(&mut self, payload: Bytes) -> Bytes {
        if payload.is_empty() || payload.len() > LARGE_PAYLOAD {
            return payload;
        }
        if self.0.capacity() < payload.len() {
            self.0 = BytesMut::with_capacity(PAGE_BYTES.max(payload.len()));
        }
        self.0.extend_from_slice(&payload);
        self.0.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e6_numbers_are_read_from_both_forms() {
        let expected =
            Numbers { deliveries: 2, sequence: 17, delivery: 40, timestamp_ms: 1_700_000_000_123 };
        for reply in [
            "$JS.ACK.orders.g@orders.2.17.40.1700000000123456789.5",
            "$JS.ACK.hub.ACCOUNT.orders.g@orders.2.17.40.1700000000123456789.5",
            "$JS.ACK._.ACCOUNT.orders.g@orders.2.17.40.1700000000123456789.5.random",
        ] {
            assert_eq!(numbers(reply), Some(expected), "{reply}");
        }
        for bad in ["", "_INBOX.a.b", "$JS.ACK.a.b", "$JS.ACK.a.b.x.1.1.1.1"] {
            assert_eq!(numbers(bad), None, "{bad}");
        }
        let forged = numbers(&forge("orders", "g@orders", 9, 12)).unwrap();
        assert_eq!((forged.sequence, forged.delivery), (9, 12));
    }

    #[test]
    fn only_large_payloads_keep_the_buffer() {
        let mut arena = PayloadArena::default();
        for size in [1, 100, 4_000, 200, 5_000, LARGE_PAYLOAD, 7] {
            let buffer = Bytes::from(vec![7; 65_535]);
            let copy = arena.copy(buffer.slice(..size));
            assert!(buffer.is_unique() && copy == buffer.slice(..size), "{size}");
        }
        let buffer = Bytes::from(vec![7; 65_535]);
        let large = arena.copy(buffer.slice(..=LARGE_PAYLOAD));
        assert!(!buffer.is_unique() && large.len() == LARGE_PAYLOAD + 1);
    }
}
