//! The broker is lost and comes back while a member reads and another publishes: both go on by themselves, nothing is
//! lost, and the order of each key stays.

mod kit;

use buslane_core::{Broker, Topic, TopicSettings};
use buslane_kafka::{KafkaBroker, KafkaConfig, ProducerConfig};
use buslane_testkit::{
    broker_suite::{Feed, bodies, record, settle},
    own_server::OwnServer,
    server::unique,
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Mutex, task::JoinHandle, time::Instant};

/// Longer than a broker takes to start beside a build.
const PATIENCE: Duration = Duration::from_secs(120);
const KEYS: usize = 8;
/// Two at once would take each other's time, and memory.
static ONE_SERVER: Mutex<()> = Mutex::const_new(());

fn config(server: &OwnServer) -> KafkaConfig {
    KafkaConfig {
        brokers: server.address.clone(),
        // A broker that stands still is noticed after this time.
        request_timeout: Duration::from_secs(2),
        producer: ProducerConfig { publish_timeout: PATIENCE, ..ProducerConfig::default() },
        create_missing: Some(TopicSettings { partitions: Some(4), ..TopicSettings::default() }),
        ..kit::config(&unique("g"))
    }
}

/// Publishes a record of each key, again and again, one round after the other; ends with the number of rounds.
fn publishes(broker: KafkaBroker, topic: Topic, stop: Arc<AtomicBool>) -> JoinHandle<usize> {
    tokio::spawn(async move {
        let mut rounds = 0;
        while !stop.load(Ordering::SeqCst) {
            let records = (0..KEYS).map(|key| record(&format!("k{key}"), format!("{key} {rounds}"))).collect();
            for answer in broker.publish(&topic, records).get().await {
                answer.expect("publishing resumes within the publish timeout");
            }
            rounds += 1;
        }
        broker.close(PATIENCE).await.expect("nothing is open");
        rounds
    })
}

/// What was read of each key: rounds that have come, without a gap.
#[derive(Default)]
struct Read(HashMap<usize, usize>);

impl Read {
    /// Reads until a condition holds, and checks the order: what comes is the next round of its key, or an older one again.
    async fn until(&mut self, what: &str, member: &mut Feed, holds: impl Fn(&Feed, usize) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(member, self.rounds()) {
            assert!(Instant::now() < deadline, "waited for {what}: {:?}, {:?}, {member:?}", self.0, member.connection);
            let got = member.take_for(Duration::from_millis(20)).await;
            for body in bodies(&got) {
                let (key, round) = body.split_once(' ').expect("a key and a round");
                let (key, round): (usize, usize) = (key.parse().expect("a key"), round.parse().expect("a round"));
                let next = self.0.entry(key).or_default();
                assert!(round <= *next, "round {round} of key {key} came before round {next}");
                *next = (*next).max(round + 1);
            }
            settle(got);
        }
    }

    /// Rounds of which every key's record has come.
    fn rounds(&self) -> usize {
        (0..KEYS).map(|key| self.0.get(&key).copied().unwrap_or(0)).min().unwrap_or(0)
    }
}

/// Breaks the broker, waits until the member says so, mends it, and waits until all that was published has come.
async fn resumes(lose: fn(&mut OwnServer), mend: fn(&mut OwnServer)) {
    let _one = ONE_SERVER.lock().await;
    let mut server = tokio::task::spawn_blocking(OwnServer::start).await.expect("a server");
    let topic = kit::name("lossy");
    let publisher = KafkaBroker::connect(config(&server)).await.expect("a broker that answers");
    let mut member = kit::member(config(&server), &topic).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = publishes(publisher, topic, Arc::clone(&stop));
    let mut read = Read::default();
    read.until("a beginning", &mut member, |_, rounds| rounds >= 50).await;
    for _ in 0..2 {
        tokio::task::block_in_place(|| lose(&mut server));
        read.until("the loss", &mut member, |member, _| member.connection.last() == Some(&false)).await;
        tokio::task::block_in_place(|| mend(&mut server));
        let before = read.rounds();
        read.until("the return", &mut member, |member, rounds| {
            member.connection.last() == Some(&true) && rounds >= before + 50
        })
        .await;
    }
    stop.store(true, Ordering::SeqCst);
    let published = publishing.await.expect("a publisher that goes on");
    read.until("the rest", &mut member, |_, rounds| rounds == published).await;
    member.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k7_a_broker_that_stands_still_and_goes_on_loses_nothing() {
    resumes(OwnServer::pause, OwnServer::resume).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k7_a_broker_that_is_killed_and_started_again_loses_nothing() {
    resumes(OwnServer::kill, OwnServer::start_again).await;
}
