//! Reads from a member as a bus does: one task waits for events and for all intakes at once.

use buslane_core::{
    Broker, BrokerEvent, Delivery, Intake, Outcome, Receipt, Record, Source, Topic,
};
use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};
use tokio::time::timeout;

/// A member and its intakes.
pub struct Feed {
    /// The member.
    pub broker: Arc<dyn Broker>,
    /// The member's intakes that have not ended.
    pub intakes: Vec<Box<dyn Intake>>,
    /// The sources that ended, in order.
    pub ended: Vec<Arc<Source>>,
    /// Whether `next_event` has reported that the member is closed.
    pub closed: bool,
    /// The reported states of the connection, in order: `true` for connected.
    pub connection: Vec<bool>,
    /// Partitions whose intakes the feed does not poll.
    pub unread: Vec<u32>,
    patience: Duration,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sources: Vec<_> =
            self.intakes.iter().map(|intake| intake.source().to_string()).collect();
        f.debug_struct("Feed")
            .field("sources", &sources)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

enum Step {
    Event(Option<BrokerEvent>),
    Ended(usize),
    Read,
}

impl Feed {
    /// A feed without intakes yet.
    pub fn new(broker: Arc<dyn Broker>, patience: Duration) -> Self {
        Self {
            broker,
            intakes: Vec::new(),
            ended: Vec::new(),
            closed: false,
            connection: Vec::new(),
            unread: Vec::new(),
            patience,
        }
    }

    /// Waits for an event, the end of an intake, or up to `max` deliveries.
    async fn step(&mut self, max: usize, out: &mut Vec<Delivery>) {
        let broker = Arc::clone(&self.broker);
        let mut event = broker.next_event();
        let closed = self.closed;
        let (intakes, unread) = (&mut self.intakes, &self.unread);
        let step = poll_fn(|cx| {
            if !closed && let Poll::Ready(event) = event.as_mut().poll(cx) {
                return Poll::Ready(Step::Event(event));
            }
            for (at, intake) in intakes.iter_mut().enumerate() {
                if intake.poll_end(cx).is_ready() {
                    return Poll::Ready(Step::Ended(at));
                }
                if max == 0 || unread.contains(&intake.source().partition) {
                    continue;
                }
                match intake.poll_next(cx, max, out) {
                    Poll::Ready(None) => return Poll::Ready(Step::Ended(at)),
                    Poll::Ready(Some(count)) => {
                        assert!(count <= max, "an intake gave {count} deliveries, asked for {max}");
                        return Poll::Ready(Step::Read);
                    }
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        });
        match step.await {
            Step::Event(Some(BrokerEvent::Assigned(intake))) => self.intakes.push(intake),
            Step::Event(Some(BrokerEvent::Disconnected { .. })) => self.connection.push(false),
            Step::Event(Some(BrokerEvent::Reconnected)) => self.connection.push(true),
            Step::Event(Some(_)) | Step::Read => {}
            Step::Event(None) => self.closed = true,
            Step::Ended(at) => {
                let intake = self.intakes.remove(at);
                self.ended.push(Arc::clone(intake.source()));
            }
        }
    }

    /// Reads exactly `count` deliveries, in the order of arrival.
    ///
    /// # Panics
    /// When the deliveries do not arrive in time.
    pub async fn take(&mut self, count: usize) -> Vec<Delivery> {
        let mut out = Vec::new();
        while out.len() < count {
            let want = count - out.len();
            let in_time = timeout(self.patience, self.step(want, &mut out)).await.is_ok();
            assert!(
                in_time,
                "{} of {count} deliveries came: {:?}; {self:?}",
                out.len(),
                bodies(&out)
            );
        }
        out
    }

    /// Reads the deliveries that arrive within `time`.
    pub async fn take_for(&mut self, time: Duration) -> Vec<Delivery> {
        let mut out = Vec::new();
        let reading = async {
            loop {
                self.step(64, &mut out).await;
            }
        };
        // Only the timeout ends the loop.
        let _: Result<(), _> = timeout(time, reading).await;
        out
    }

    /// Waits, without reading, until `condition` holds.
    ///
    /// # Panics
    /// When the condition does not hold in time.
    pub async fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        while !condition(self) {
            let in_time = timeout(self.patience, self.step(0, &mut Vec::new())).await.is_ok();
            assert!(in_time, "waited for: {what}; {self:?}");
        }
    }

    /// Waits until the feed has `count` intakes.
    ///
    /// # Panics
    /// When the intakes are not assigned in time.
    pub async fn until_assigned(&mut self, count: usize) {
        self.until(&format!("{count} intakes"), |feed| feed.intakes.len() == count).await;
    }

    /// Closes the member.
    ///
    /// # Panics
    /// When the broker answers with an error.
    pub async fn close(self) {
        self.broker.close(self.patience).await.expect("a member closes");
    }
}

/// A record with a key.
#[must_use]
pub fn record(key: &str, body: impl Into<String>) -> Record {
    Record::new(body.into()).with_key(key.to_owned())
}

/// Publishes, and expects a receipt for each record.
///
/// # Panics
/// When a record gets no receipt.
pub async fn publish(
    broker: &Arc<dyn Broker>,
    topic: &Topic,
    records: Vec<Record>,
) -> Vec<Receipt> {
    let count = records.len();
    let answers = broker.publish(topic, records).get().await;
    assert_eq!(answers.len(), count, "one answer a record");
    answers.into_iter().map(|answer| answer.expect("a record is published")).collect()
}

/// The bodies, as text.
#[must_use]
pub fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries
        .iter()
        .map(|delivery| String::from_utf8_lossy(&delivery.message.payload).into_owned())
        .collect()
}

/// Settles all deliveries as handled.
pub fn settle(deliveries: impl IntoIterator<Item = Delivery>) {
    deliveries.into_iter().for_each(|delivery| delivery.settlement.settle(Outcome::Ok));
}
