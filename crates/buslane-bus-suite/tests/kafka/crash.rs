//! The successor of a killed process does not repeat the messages that were handled before the last
//! commit to a real Kafka.
#![allow(
    clippy::print_stdout,
    reason = "a line on its output is how the member says that it has done its work"
)]

use buslane::{Config, Envelope, Event, EventBus, Topic, TopicSettings, TopicStrategy};
use buslane_core::Record;
use buslane_testkit::{deadline::within, server, signal::Count};
use bytes::BytesMut;
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

const DONE: usize = 100_000;
/// The number of messages that the next process may repeat: one in a hundred.
const REDELIVERED: usize = DONE / 100;
/// Longer than the commit interval of one second.
const AFTER_THE_LAST: Duration = Duration::from_secs(2);
const PATIENCE: Duration = buslane_testkit::deadline::LIMIT;
const STUCK: &str = "stuck";
/// The variable that makes this test the member to be killed. Its value is the topic, which is also
/// the group.
const MEMBER: &str = "BUSLANE_TEST_MEMBER_OF";

fn config(group: &Topic) -> Config {
    let mut config =
        Config::new(&format!("kafka://{}", server::address("KAFKA_BOOTSTRAP_SERVERS")))
            .expect("a URL");
    group.as_str().clone_into(&mut config.group);
    config.kafka.consumer.session_timeout = Duration::from_secs(6);
    config.kafka.consumer.heartbeat_interval = Duration::from_millis(500);
    config
}

async fn bus(group: &Topic) -> EventBus {
    EventBus::connect(config(group)).await.expect("a broker that answers")
}

/// Handles all messages but one, prints a line, and waits to be killed.
async fn be_killed(topic: &Topic) {
    let (bus, done) = (bus(topic).await, Arc::new(Count::default()));
    let counted = Arc::clone(&done);
    let handler = move |event: Event| {
        let counted = Arc::clone(&counted);
        async move {
            if event.aggregate_id == STUCK {
                std::future::pending::<()>().await;
            }
            counted.add();
        }
    };
    bus.subscribe_envelopes(topic, handler).await.expect("subscribes");
    done.reached(DONE).await;
    println!("\n{MEMBER}");
    std::future::pending::<()>().await;
}

fn envelope(aggregate: &str) -> Envelope {
    Envelope::new(aggregate, "Counted", &serde_json::json!(1)).expect("valid")
}

/// Publishes the message that gets stuck, and the messages behind it.
async fn publish(bus: &EventBus, topic: &Topic) {
    let mut arena = BytesMut::new();
    let mut record =
        |aggregate: &str| Record::from_envelope(&envelope(aggregate), &mut arena).expect("valid");
    let stuck = record(STUCK);
    let others: Vec<_> = (0..DONE).map(|n| record(&format!("a{}", n % 1_000))).collect();
    for part in [vec![stuck]].into_iter().chain(others.chunks(5_000).map(<[_]>::to_vec)) {
        let answers = bus.publish_batch(topic, part).await.expect("taken");
        assert!(answers.iter().all(Result::is_ok));
    }
}

/// Runs this test in a second process until that process has handled all messages, then kills it.
fn kill_a_member(topic: &Topic) {
    let test = "crash::k2_a_killed_process_repeats_at_most_one_in_a_hundred";
    let mut member = Command::new(std::env::current_exe().expect("a path"))
        .args([test, "--exact", "--nocapture"])
        .env(MEMBER, topic.as_str())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts");
    let said = BufReader::new(member.stdout.take().expect("piped")).lines();
    let is_done = said.map_while(Result::ok).any(|line| line == MEMBER);
    assert!(is_done, "it ended before it had done all: {:?}", member.wait());
    std::thread::sleep(AFTER_THE_LAST);
    member.kill().expect("it runs");
    member.wait().expect("it is dead");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k2_a_killed_process_repeats_at_most_one_in_a_hundred() {
    if let Some(topic) = std::env::var_os(MEMBER) {
        let topic = Topic::new(topic.to_str().expect("text")).expect("a good name");
        return within(PATIENCE, "its end", Box::pin(be_killed(&topic))).await;
    }
    let topic = Topic::new(&server::unique("killed")).expect("a good name");
    let first = bus(&Topic::new("publishes-only").expect("a good name")).await;
    let settings = TopicSettings { partitions: Some(1), ..TopicSettings::default() };
    first.configure_topic(&topic, &settings, TopicStrategy::CreateOnly).await.expect("a new topic");
    publish(&first, &topic).await;
    tokio::task::block_in_place(|| kill_a_member(&topic));

    let (next, seen) = (bus(&topic).await, Arc::new(Count::default()));
    let counted = Arc::clone(&seen);
    let last = Arc::new(Count::default());
    let came = Arc::clone(&last);
    let handler = move |event: Event| {
        counted.add();
        if event.aggregate_id == STUCK || event.aggregate_id == "last" {
            came.add();
        }
        std::future::ready(())
    };
    next.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    first.publish_envelope(&topic, envelope("last")).await.expect("taken");
    within(PATIENCE, "the stuck one, and the last one", last.reached(2)).await;
    // The last message arrived, so all messages before it were read. The shutdown waits until they
    // are handled.
    let report = next.shutdown(PATIENCE).await.expect("a report");
    assert_eq!(report.abandoned, 0, "{report:?}");
    let redelivered = seen.get() - 2;
    println!("{redelivered} of {DONE} came again");
    assert!(redelivered <= REDELIVERED, "{redelivered} of {DONE} came again");
    first.shutdown(PATIENCE).await.expect("a report");
}
