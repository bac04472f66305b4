//! The subject at which a reader's messages arrive, and the reader's pull requests.

use async_nats::{Client, HeaderMap, StatusCode, SubscribeError, Subscriber};
use bytes::Bytes;
use futures_util::Stream;
use serde::Serialize;
use std::{
    future::poll_fn,
    pin::Pin,
    task::Poll,
    time::{Duration, Instant},
};

/// The largest number of messages that are taken from the client at a time.
const BATCH: usize = 512;

/// The inbox of a reader.
pub(super) struct Inbox {
    subscription: Option<Subscriber>,
    address: String,
    /// The number of requested messages that have not arrived.
    pub(super) requested: usize,
    /// The time of the server's last message of any kind.
    pub(super) heard: Instant,
}

impl Inbox {
    pub(super) const fn new(now: Instant) -> Self {
        Self { subscription: None, address: String::new(), requested: 0, heard: now }
    }

    /// Subscribes to a new subject. Earlier requests are void.
    pub(super) async fn open(&mut self, client: &Client) -> Result<(), SubscribeError> {
        self.requested = 0;
        self.address = client.new_inbox();
        self.subscription = Some(client.subscribe(self.address.clone()).await?);
        Ok(())
    }

    /// Takes the subscription. No message arrives until [`Self::open`].
    pub(super) const fn take(&mut self) -> Option<Subscriber> {
        self.subscription.take()
    }

    /// Sends a request for `count` messages to a consumer.
    pub(super) async fn request(
        &mut self,
        client: &Client,
        consumer: String,
        count: usize,
        request: Request,
    ) {
        let sent =
            client.publish_with_reply(consumer, self.address.clone(), request.payload()).await;
        if sent.is_ok() {
            if self.requested == 0 {
                self.heard = Instant::now();
            }
            self.requested += count;
        }
    }

    /// The waiting messages, at least one; `None` at the end of the subscription. Waits forever
    /// without a subscription.
    ///
    /// # Cancel safety
    /// Dropping the future loses no message.
    pub(super) async fn next(&mut self) -> Option<Vec<async_nats::Message>> {
        match &mut self.subscription {
            Some(subscription) => next_batch(subscription).await,
            None => std::future::pending().await,
        }
    }
}

/// As [`Inbox::next`], from a subscription.
pub(super) async fn next_batch(subscription: &mut Subscriber) -> Option<Vec<async_nats::Message>> {
    let mut batch = Vec::new();
    poll_fn(|cx| {
        loop {
            match Pin::new(&mut *subscription).poll_next(cx) {
                Poll::Ready(Some(message)) if batch.len() + 1 < BATCH => batch.push(message),
                Poll::Ready(Some(message)) => {
                    batch.push(message);
                    return Poll::Ready(Some(std::mem::take(&mut batch)));
                }
                Poll::Ready(None) if batch.is_empty() => return Poll::Ready(None),
                Poll::Pending if batch.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => {
                    return Poll::Ready(Some(std::mem::take(&mut batch)));
                }
            }
        }
    })
    .await
}

/// A pull request.
#[derive(Debug, Serialize)]
pub(super) struct Request {
    batch: usize,
    #[serde(skip_serializing_if = "is_zero")]
    expires: u128,
    #[serde(skip_serializing_if = "is_zero")]
    idle_heartbeat: u128,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    no_wait: bool,
}

const fn is_zero(nanoseconds: &u128) -> bool {
    *nanoseconds == 0
}

impl Request {
    /// A request that waits for messages.
    pub(super) const fn waiting(batch: usize, expires: Duration, heartbeat: Duration) -> Self {
        Self {
            batch,
            expires: expires.as_nanos(),
            idle_heartbeat: heartbeat.as_nanos(),
            no_wait: false,
        }
    }

    /// A request for the messages that are available at once.
    pub(super) const fn at_once(batch: usize) -> Self {
        Self { batch, expires: 0, idle_heartbeat: 0, no_wait: true }
    }

    pub(super) fn payload(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// The server's report about a pull request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PullStatus {
    /// The request is alive.
    Heartbeat,
    /// A request has ended normally; this number of its messages, or all of them, were not sent.
    Ended(Option<usize>),
    /// The consumer does not exist, or cannot answer now.
    Unavailable(String),
}

/// Reads the status of a message; `None` for a delivery.
pub(super) fn pull_status(
    status: Option<StatusCode>,
    description: Option<&str>,
    headers: Option<&HeaderMap>,
) -> Option<PullStatus> {
    // Deliveries have no status, and must not pay for the rest.
    let status = status?;
    let text = description.unwrap_or_default();
    let left =
        headers.and_then(|headers| headers.get("Nats-Pending-Messages")?.as_str().parse().ok());
    Some(match status.as_u16() {
        100 => PullStatus::Heartbeat,
        404 | 408 => PullStatus::Ended(left),
        409 if text.contains("Batch Completed") || text.contains("Exceeds MaxBytes") => {
            PullStatus::Ended(left)
        }
        code => PullStatus::Unavailable(format!("{code} {text}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: u16, text: &str, left: Option<&str>) -> Option<PullStatus> {
        let mut headers = HeaderMap::new();
        if let Some(left) = left {
            headers.insert("Nats-Pending-Messages", left);
        }
        pull_status(Some(StatusCode::from_u16(code).unwrap()), Some(text), Some(&headers))
    }

    #[test]
    fn n1_the_server_is_understood() {
        assert_eq!(said(100, "Idle Heartbeat", None), Some(PullStatus::Heartbeat));
        assert_eq!(said(408, "Request Timeout", Some("7")), Some(PullStatus::Ended(Some(7))));
        assert_eq!(said(404, "No Messages", None), Some(PullStatus::Ended(None)));
        assert_eq!(said(409, "Batch Completed", Some("0")), Some(PullStatus::Ended(Some(0))));
        assert_eq!(
            said(409, "Consumer Deleted", None),
            Some(PullStatus::Unavailable("409 Consumer Deleted".to_owned()))
        );
        assert_eq!(said(503, "", None), Some(PullStatus::Unavailable("503 ".to_owned())));
        assert_eq!(pull_status(None, None, None), None);
        let request =
            Request::waiting(5, Duration::from_secs(1), Duration::from_millis(1)).payload();
        assert_eq!(request, r#"{"batch":5,"expires":1000000000,"idle_heartbeat":1000000}"#);
        assert_eq!(Request::at_once(3).payload(), r#"{"batch":3,"no_wait":true}"#);
    }
}
