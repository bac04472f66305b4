//! Rights that the server has denied. The server reports a denial as an error of the connection;
//! the request itself just gets no answer.

use std::collections::BTreeSet;

/// The largest number of rights that are remembered and logged.
const MOST: usize = 64;

/// The denied rights, such as `publish to $JS.API.STREAM.INFO.orders`.
#[derive(Debug, Default)]
pub(super) struct DeniedRights(BTreeSet<String>);

impl DeniedRights {
    /// Records an error of the server. Returns the right if the error denies one for the first
    /// time.
    pub(super) fn note(&mut self, error: &str) -> Option<String> {
        let (_, denial) = error.split_once("Permissions Violation for ")?;
        let (action, subject) = denial.split_once(" to \"")?;
        let subject = general(subject.split('"').next()?);
        let right = match action {
            "Publish" => publish_to(subject),
            "Subscription" => subscribe_to(subject),
            _ => return None,
        };
        (self.0.len() < MOST && self.0.insert(right.clone())).then_some(right)
    }

    pub(super) fn has_publish(&self, subject: &str) -> bool {
        self.0.contains(&publish_to(general(subject)))
    }

    pub(super) fn has_subscription(&self, subject: &str) -> bool {
        self.0.contains(&subscribe_to(general(subject)))
    }
}

/// The subject without the part that differs between the consumers of an advisory, or between the
/// messages of an acknowledgement.
fn general(subject: &str) -> &str {
    const ADVISORY: &str = "$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED";
    if subject.starts_with(ADVISORY) {
        return ADVISORY;
    }
    match subject.strip_prefix("$JS.ACK.") {
        Some(_) => subject.match_indices('.').nth(3).map_or(subject, |(at, _)| &subject[..at]),
        None => subject,
    }
}

fn publish_to(subject: &str) -> String {
    format!("publish to {subject}")
}

fn subscribe_to(subject: &str) -> String {
    format!("subscribe to {subject}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o3_each_denied_right_is_reported_once() {
        let mut denied = DeniedRights::default();
        let publish =
            "nats: Permissions Violation for Publish to \"$JS.API.STREAM.MSG.GET.orders\"";
        let right = "publish to $JS.API.STREAM.MSG.GET.orders";
        assert_eq!(denied.note(publish).as_deref(), Some(right));
        assert_eq!(denied.note(publish), None);
        assert!(denied.has_publish("$JS.API.STREAM.MSG.GET.orders"));
        assert!(!denied.has_publish("$JS.API.STREAM.MSG.GET.other"));
        let ack = |n| format!("Permissions Violation for Publish to \"$JS.ACK.s.c.1.{n}.{n}.0.0\"");
        assert_eq!(denied.note(&ack(1)).as_deref(), Some("publish to $JS.ACK.s.c"));
        assert_eq!(denied.note(&ack(2)), None);
        let listen = "Permissions Violation for Subscription to \"events.>\" using queue \"q\"";
        assert_eq!(denied.note(listen).as_deref(), Some("subscribe to events.>"));
        assert!(denied.has_subscription("events.>") && !denied.has_publish("events.>"));
        let advisory =
            |consumer: &str| format!("$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.s.{consumer}");
        let deaf = format!("Permissions Violation for Subscription to \"{}\"", advisory("one"));
        assert!(denied.note(&deaf).is_some() && denied.has_subscription(&advisory("other")));
        for other in ["Authorization Violation", "Permissions Violation for Publish to"] {
            assert_eq!(denied.note(other), None, "{other}");
        }
    }
}
