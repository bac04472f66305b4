//! Writing a dead letter in the fullest form that its topic takes.

use super::{Letter, room::ROOMS};
use buslane_core::{Broker, PublishError, Topic};
use tracing::warn;

/// Writes the letter, reduced as far as its size makes necessary.
///
/// A repetition of the same letter, whose acknowledgement was lost, counts as written.
///
/// # Errors
/// Why the topic does not take it, and whether that passes by itself.
pub(in crate::flow) async fn write(
    broker: &dyn Broker,
    to: &Topic,
    letter: &Letter<'_>,
) -> Result<(), String> {
    let (mut refused, mut last) = (None, usize::MAX);
    for room in &ROOMS {
        let (record, cut) = letter.record(room);
        if record.bytes() >= last {
            continue;
        }
        last = record.bytes();
        match broker
            .publish(to, vec![record])
            .get()
            .await
            .pop()
            .unwrap_or(Err(PublishError::Closed))
        {
            Ok(_) => {
                if let Some(reason) = refused {
                    tell(letter, to, &cut, &reason);
                }
                return Ok(());
            }
            Err(error @ PublishError::TooLarge { .. }) => refused = Some(error),
            Err(error) if error.is_permanent() => {
                return Err(format!("permanent refusal: {error}"));
            }
            Err(error) => return Err(format!("outage: {error}")),
        }
    }
    let reason = refused.unwrap_or(PublishError::Closed);
    Err(format!("permanent refusal, even of the smallest form: {reason}"))
}

fn tell(letter: &Letter<'_>, to: &Topic, cut: &str, reason: &PublishError) {
    let message = letter.message;
    let (topic, partition, offset) =
        (message.topic().as_str(), message.partition(), message.offset);
    warn!(kind = "envelope", topic, partition, offset, dead_letters = %to, cut, %reason, "dead letter reduced");
}
