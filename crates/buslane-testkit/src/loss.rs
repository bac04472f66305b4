//! A server that is lost and comes back while a member reads and another publishes: both go on by
//! themselves, nothing is lost, and the order of each key stays.

use crate::{
    broker_suite::{Feed, bodies, record, settle},
    own_server::OwnServer,
};
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

/// Whether a message that was settled may come again after a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Settlements that the server has not seen are asked for again.
    Allowed,
    /// Nothing comes twice while the member lives.
    Never,
}

/// One loss of a server, and who lives through it.
pub struct Loss {
    /// The server.
    pub server: OwnServer,
    /// Breaks it.
    pub lose: fn(&mut OwnServer),
    /// Mends it.
    pub mend: fn(&mut OwnServer),
    /// Who publishes; its publish timeout is `patience` at least.
    pub publisher: Arc<dyn Broker>,
    /// Who reads the topic.
    pub member: Feed,
    /// What is published and read.
    pub topic: Topic,
    /// Whether messages may come again.
    pub again: Again,
    /// How long each step may take.
    pub patience: Duration,
}

impl Loss {
    /// Twice: breaks the server, waits until the member says so, mends it, and waits until both go
    /// on. Then waits until all that was published has come.
    ///
    /// # Panics
    /// When something is lost, out of order, again where that is not allowed, or late. Outside of a
    /// multi-threaded runtime.
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

/// Publishes a record of each key, every second one with an event id, again and again, one round
/// after the other; ends with the number of rounds.
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

/// What was read of each key: rounds that have come, without a gap.
struct Read {
    next: HashMap<usize, usize>,
    again: Again,
    patience: Duration,
}

impl Read {
    /// Reads until a condition holds, and checks the order.
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

    /// Rounds of which every key's record has come.
    fn rounds(&self) -> usize {
        (0..KEYS).map(|key| self.next.get(&key).copied().unwrap_or(0)).min().unwrap_or(0)
    }
}
