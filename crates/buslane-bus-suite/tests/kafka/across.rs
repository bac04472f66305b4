//! Two buses of one group, as in two processes, and keys that occur in two topics.

use buslane::{
    Config, Envelope, Event, EventBus, TopicSettings, TopicStrategy, config::KafkaAssignment,
};
use buslane_testkit::{
    deadline::{until, within},
    server,
    signal::Count,
};
use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(120);
const KEYS: usize = 40;
const ROUNDS: usize = 10;

/// The keys that are running, and those that ever ran twice at the same time.
#[derive(Default)]
struct Keys {
    running: HashSet<String>,
    twice: BTreeSet<String>,
}

struct Seen {
    keys: Mutex<Keys>,
    /// The number of messages of each bus.
    handled: [Count; 2],
}

async fn bus(group: &str, assignment: KafkaAssignment) -> EventBus {
    let mut config =
        Config::new(&format!("kafka://{}", server::address("KAFKA_BOOTSTRAP_SERVERS")))
            .expect("a URL");
    group.clone_into(&mut config.group);
    config.kafka.consumer.assignment = assignment;
    config.kafka.consumer.heartbeat_interval = Duration::from_millis(500);
    EventBus::connect(config).await.expect("a broker that answers")
}

async fn reads(bus: &EventBus, at: usize, topics: &[String], seen: &Arc<Seen>) {
    for topic in topics {
        let seen = Arc::clone(seen);
        let handler = move |event: Event| {
            let (seen, key) = (Arc::clone(&seen), event.aggregate_id.to_string());
            async move {
                {
                    let mut keys = seen.keys.lock().unwrap_or_else(PoisonError::into_inner);
                    if !keys.running.insert(key.clone()) {
                        keys.twice.insert(key.clone());
                    }
                }
                // Widens the window in which two handlers of one key can overlap.
                tokio::time::sleep(Duration::from_millis(10)).await;
                seen.keys.lock().unwrap_or_else(PoisonError::into_inner).running.remove(&key);
                seen.handled[at].add();
            }
        };
        bus.subscribe_envelopes(topic, handler).await.expect("subscribes");
    }
}

async fn publish(bus: &EventBus, topics: &[String], rounds: usize) {
    for _ in 0..rounds {
        for topic in topics {
            let of = |key| Envelope::new(format!("key-{key}"), "Counted", &1).expect("valid");
            let envelopes: Vec<_> = (0..KEYS).map(of).collect();
            let answers = bus.publish_envelopes(topic, &envelopes).await.expect("taken");
            assert!(answers.iter().all(Result::is_ok));
        }
    }
}

/// The keys that ran on both buses at once, from before the second bus joined until it had
/// partitions and work.
async fn handled_twice(assignment: KafkaAssignment) -> BTreeSet<String> {
    let (group, topics) = (server::unique("across"), ["one", "two"].map(server::unique));
    let seen =
        Arc::new(Seen { keys: Mutex::default(), handled: [Count::default(), Count::default()] });
    let first = bus(&group, assignment).await;
    let settings = TopicSettings { partitions: Some(8), ..TopicSettings::default() };
    for topic in &topics {
        first
            .configure_topic(topic, &settings, TopicStrategy::CreateOnly)
            .await
            .expect("a new topic");
    }
    reads(&first, 0, &topics, &seen).await;
    publish(&first, &topics, 1).await;
    within(PATIENCE, "the first bus", seen.handled[0].reached(KEYS * 2)).await;
    let second = bus(&group, assignment).await;
    reads(&second, 1, &topics, &seen).await;
    let handled = || seen.handled[0].get() + seen.handled[1].get();
    let mut published = KEYS * 2;
    let both = async {
        while seen.handled[1].get() == 0 {
            publish(&first, &topics, 1).await;
            published += KEYS * 2;
            until("every message so far", || handled() >= published).await;
        }
    };
    within(PATIENCE, "work of the second bus", both).await;
    publish(&first, &topics, ROUNDS).await;
    published += KEYS * 2 * ROUNDS;
    until("every message", || handled() >= published).await;
    for bus in [first, second] {
        bus.shutdown(PATIENCE).await.expect("a report");
    }
    let keys = seen.keys.lock().unwrap_or_else(PoisonError::into_inner);
    keys.twice.clone()
}

/// With range assignment, no key runs on both buses at once, not even while partitions move.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k3_with_ranges_two_buses_never_handle_one_key_at_once() {
    assert_eq!(handled_twice(KafkaAssignment::Range).await, BTreeSet::new());
}
