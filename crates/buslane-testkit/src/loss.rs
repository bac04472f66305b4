//! The loss and the return of a server while one member reads and another publishes. Both members
//! continue by themselves, no message is lost, and each key keeps its order.

use super::broker_suite::{Feed, bodies, record, settle};
use super::server::OwnServer;
use buslane_core::{Broker, Topic};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{task::JoinHandle, time::Instant};

const KEYS: usize = 8;

/// Whether a settled message may be delivered again after a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Messages whose settlement did not reach the server are delivered again.
    Allowed,
    /// No message is delivered twice while the member is open.
    Never,
}

/// The loss of a server, and the members that survive it.
pub struct Loss {
    /// The server.
    pub server: OwnServer,
    /// Stops the server.
    pub lose: fn(&mut OwnServer),
    /// Restores the server.
    pub mend: fn(&mut OwnServer),
    /// The publishing member, whose publish timeout is at least `patience`.
    pub publisher: Arc<dyn Broker>,
    /// The reading member.
    pub member: Feed,
    /// The topic.
    pub topic: Topic,
    /// Whether settled messages may be delivered again.
    pub again: Again,
    /// The longest time that a step may take.
    pub patience: Duration,
}

impl Loss {
    /// Stops the server twice. Each time waits until the member reports the loss, restores the
    /// server, and waits until both members continue. Finally waits until every published message
    /// has arrived.
    ///
    /// # Panics
    /// When a message is lost, out of order, late, or delivered again although `again` forbids it.
    /// Outside of a multi-threaded runtime.
    pub async fn is_survived(mut self) {
        let stop = Arc::new(AtomicBool::new(false));
        let publishing = publishes(self.publisher, self.topic, Arc::clone(&stop), self.patience);
        let mut read = Read { next: HashMap::new(), again: self.again, patience: self.patience };
        let member = &mut self.member;
        read.until("a beginning", member, |_, rounds| rounds >= 50).await;
        for _ in 0..2 {
            tokio::task::block_in_place(|| (self.lose)(&mut self.server));
            read.until("the loss", member, |member, _| member.connection.last() == Some(&false))
                .await;
            tokio::task::block_in_place(|| (self.mend)(&mut self.server));
            let before = read.rounds();
            let goes_on = |member: &Feed, rounds| {
                member.connection.last() == Some(&true) && rounds >= before + 50
            };
            read.until("the return", member, goes_on).await;
        }
        stop.store(true, Ordering::SeqCst);
        let published = publishing.await.expect("a publisher that goes on");
        read.until("the rest", member, |_, rounds| rounds == published).await;
        self.member.close().await;
    }
}

/// Publishes rounds of one record for each key until `stop` is set. The records of every second
/// key carry an event id. Returns the number of rounds.
fn publishes(
    broker: Arc<dyn Broker>,
    topic: Topic,
    stop: Arc<AtomicBool>,
    patience: Duration,
) -> JoinHandle<usize> {
    tokio::spawn(async move {
        let mut rounds = 0;
        while !stop.load(Ordering::SeqCst) {
            let records = (0..KEYS).map(|key| {
                let record = record(&format!("k{key}"), format!("{key} {rounds}"));
                if key % 2 == 0 {
                    return record;
                }
                let id = format!("{topic}-{key}-{rounds}");
                record.with_headers([("X-Event-ID", id.as_bytes())].into_iter().collect())
            });
            for answer in broker.publish(&topic, records.collect()).get().await {
                answer.expect("publishing resumes within the publish timeout");
            }
            rounds += 1;
        }
        broker.close(patience).await.expect("nothing is open");
        rounds
    })
}

/// The rounds that have arrived for each key, without a gap.
struct Read {
    next: HashMap<usize, usize>,
    again: Again,
    patience: Duration,
}

impl Read {
    /// Reads until a condition holds, and checks the order of each key.
    async fn until(&mut self, what: &str, member: &mut Feed, holds: impl Fn(&Feed, usize) -> bool) {
        let deadline = Instant::now() + self.patience;
        while !holds(member, self.rounds()) {
            assert!(
                Instant::now() < deadline,
                "waited for {what}: {:?}, {:?}, {member:?}",
                self.next,
                member.connection
            );
            let got = member.take_for(Duration::from_millis(20)).await;
            for body in bodies(&got) {
                self.came(&body);
            }
            settle(got);
        }
    }

    fn came(&mut self, body: &str) {
        let (key, round) = body.split_once(' ').expect("a key and a round");
        let (key, round): (usize, usize) =
            (key.parse().expect("a key"), round.parse().expect("a round"));
        let next = self.next.entry(key).or_default();
        assert!(round <= *next, "round {round} of key {key} came before round {next}");
        assert!(
            round == *next || self.again == Again::Allowed,
            "round {round} of key {key} came again"
        );
        *next = (*next).max(round + 1);
    }

    /// The number of rounds whose records have all arrived.
    fn rounds(&self) -> usize {
        (0..KEYS).map(|key| self.next.get(&key).copied().unwrap_or(0)).min().unwrap_or(0)
    }
}
