//! A member that is stopped for longer than its lease, and resumes after another one took over.
#![allow(
    clippy::print_stdout,
    reason = "lines on its output are how the member says what it has done"
)]

use super::kit::{PATIENCE, bus, config, name};
use buslane::config::NatsPartitions;
use buslane::{Config, Envelope, Event, EventBus, Topic};
use buslane_testkit::{
    deadline::within,
    signal::{Count, Gate},
};
use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

/// The variable that makes this test the member to be stopped. Its value is the topic.
const MEMBER: &str = "BUSLANE_TEST_MEMBER_OF";
const KEYS: usize = 20;
const EACH: usize = 5;

fn one_partition() -> Config {
    let mut config = config();
    config.nats.stream.partitions = NatsPartitions::Exactly(1);
    config.nats.consumer.lease = Duration::from_secs(1);
    config
}

/// Starts messages that wait for a line of input, and prints the number of started messages when
/// none is left.
async fn be_stopped(topic: &Topic) {
    let (bus, begun, gate) =
        (bus(one_partition()).await, Arc::new(Count::default()), Arc::new(Gate::default()));
    let (counts, waits) = (Arc::clone(&begun), Arc::clone(&gate));
    let handler = move |_: Event| {
        let (counts, waits) = (Arc::clone(&counts), Arc::clone(&waits));
        async move {
            counts.add();
            waits.wait().await;
        }
    };
    bus.subscribe_envelopes(topic, handler).await.expect("subscribes");
    println!("\nready");
    begun.reached(KEYS).await;
    settled(&bus, KEYS * EACH).await;
    println!("\nbegun");
    let told = std::thread::spawn(move || {
        std::io::stdin().lines().next().expect("a word").expect("text");
        gate.open();
    });
    settled(&bus, 0).await;
    println!("\n{}", begun.get());
    told.join().expect("it was told");
    std::future::pending::<()>().await;
}

/// Waits until the pool has `open` messages.
async fn settled(bus: &EventBus, open: usize) {
    while bus.pool_stats().open != open {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A second process of this test, which ends when the value is dropped.
struct Member(Child, Lines<BufReader<ChildStdout>>);

impl Member {
    fn start(topic: &Topic) -> Self {
        let test = "wire::stopped::n5_a_member_that_was_stopped_begins_nothing_that_another_has";
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args([test, "--exact", "--nocapture"])
            .env(MEMBER, topic.as_str())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self(child, lines)
    }

    /// Reads lines until `take` accepts one.
    fn says<T>(&mut self, take: impl Fn(&str) -> Option<T>) -> T {
        self.1.by_ref().find_map(|line| take(&line.expect("text"))).expect("it says so")
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("sh")
            .args(["-c", &format!("kill {signal} {}", self.0.id())])
            .status()
            .expect("a shell");
        assert!(sent.success(), "{signal}");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Messages that the stopped member has started may end. Those queued in it belong to the other
/// member.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(
    clippy::disallowed_methods,
    reason = "the member is this program again, told by its environment"
)]
async fn n5_a_member_that_was_stopped_begins_nothing_that_another_has() {
    if let Ok(topic) = std::env::var(MEMBER) {
        return be_stopped(&Topic::new(&topic).expect("a name")).await;
    }
    let topic = name("orders");
    let mut member = Member::start(&topic);
    tokio::task::block_in_place(|| member.says(|line| (line == "ready").then_some(())));
    let (bus, handled) = (bus(one_partition()).await, Arc::new(Count::default()));
    let envelopes: Vec<_> = (0..KEYS * EACH)
        .map(|n| Envelope::new(format!("k{}", n % KEYS), "Counted", &n).expect("valid"))
        .collect();
    for answer in bus.publish_envelopes(&topic, &envelopes).await.expect("taken") {
        answer.expect("stored");
    }
    tokio::task::block_in_place(|| member.says(|line| (line == "begun").then_some(())));
    member.signal("-STOP");
    let into = Arc::clone(&handled);
    let handler = move |_: Event| {
        into.add();
        std::future::ready(())
    };
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    within(PATIENCE, "the other one has all of it", handled.reached(KEYS * EACH)).await;
    writeln!(member.0.stdin.as_ref().expect("piped"), "end").expect("it takes a word");
    member.signal("-CONT");
    let begun = tokio::task::block_in_place(|| member.says(|line| line.parse::<usize>().ok()));
    assert_eq!(begun, KEYS, "no other message was begun after the lease was over");
    assert_eq!(handled.get(), KEYS * EACH);
    bus.shutdown(PATIENCE).await.expect("it reports");
}
