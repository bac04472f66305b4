//! The numbers of a delivery, which the server puts into the subject for its acknowledgement.

/// The numbers of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// How often the message was delivered, this time included.
    pub(crate) deliveries: u64,
    /// The message's sequence in its stream.
    pub(crate) sequence: u64,
    /// Counts the deliveries of the consumer, one by one.
    pub(crate) delivery: u64,
    /// When the stream took the message, in milliseconds since the Unix epoch.
    pub(crate) timestamp_ms: i64,
}

/// Reads `$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<delivery>.<nanoseconds>.<pending>`,
/// or the newer form with domain and account behind `ACK`. `None` for anything else.
pub(crate) fn numbers(reply: &str) -> Option<Numbers> {
    let numbers = reply.strip_prefix("$JS.ACK.")?;
    let tokens = 1 + numbers.bytes().filter(|byte| *byte == b'.').count();
    // Stream and consumer, behind domain and account in the newer form, which may end in a token
    // more.
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

/// The subject that acknowledges a delivery which this reader has not received.
pub(crate) fn forge(stream: &str, durable: &str, sequence: u64, delivery: u64) -> String {
    format!("$JS.ACK.{stream}.{durable}.1.{sequence}.{delivery}.0.0")
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
}
