//! The keys of messages that other programs publish.

use super::kit::{PATIENCE, Taken, bare, bus, collected, config, name};
use async_nats::HeaderMap;
use buslane::config::NatsPartitions;
use buslane::{BusError, Config, EventBus, Message, Topic};
use buslane_testkit::{deadline::within, signal::Count};
use std::sync::Arc;

async fn send(subject: String, headers: &[(&str, &str)], body: &'static str) {
    let mut map = HeaderMap::new();
    headers.iter().for_each(|(name, value)| map.insert(*name, *value));
    let jetstream = bare().await;
    let sent = jetstream.publish_with_headers(subject, map, body.into()).await.expect("sent");
    sent.await.expect("stored");
}

fn partitioned() -> Config {
    let mut config = config();
    config.nats.stream.partitions = NatsPartitions::Exactly(2);
    config
}

/// The body and the key of each received message, sorted by body.
fn keys(taken: &Taken) -> Vec<(String, Option<String>)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let taken = taken.lock();
    let mut keys: Vec<_> = taken
        .iter()
        .map(|message| (text(&message.payload), message.routing_key().map(text)))
        .collect();
    keys.sort();
    keys
}

fn key(body: &str, key: Option<&str>) -> (String, Option<String>) {
    (body.to_owned(), key.map(str::to_owned))
}

/// Each message has one more possible source of a key than the previous one.
async fn send_all(topic: &Topic) {
    send(format!("{topic}.1"), &[], "a partition alone").await;
    send(format!("{topic}.0.order-1"), &[], "b token").await;
    send(format!("{topic}.1.eu.order-2"), &[], "c last token").await;
    send(format!("{topic}.1.order-3"), &[("Buslane-Key", "=record")], "d record key").await;
    send(format!("{topic}.0.order-4"), &[("aggregateID", "header")], "e header").await;
}

async fn subscribe(bus: &EventBus, topic: &Topic, asks: bool) -> (Taken, Arc<Count>) {
    let subscription = bus.subscription(topic);
    let subscription = if asks { subscription.key_from_subject() } else { subscription };
    let (taken, count, handler) = collected();
    subscription.messages(handler).await.expect("subscribes");
    (taken, count)
}

/// The subject names the key only if the subscription asks for that, and nothing else names one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_the_last_token_of_the_subject_is_the_key_of_who_asks_for_it() {
    let (bus, topics) = (bus(partitioned()).await, [true, false].map(|asks| (name("keys"), asks)));
    for (topic, asks) in &topics {
        let (taken, count) = subscribe(&bus, topic, *asks).await;
        send_all(topic).await;
        within(PATIENCE, "all of them", count.reached(5)).await;
        let token = |token| if *asks { Some(token) } else { None };
        let expected = [
            key("a partition alone", None),
            key("b token", token("order-1")),
            key("c last token", token("order-2")),
            key("d record key", Some("record")),
            key("e header", Some("header")),
        ];
        assert_eq!(keys(&taken), expected, "asked for: {asks}");
    }
    bus.shutdown(PATIENCE).await.expect("it reports");
}

/// Messages that were read before the subscription asked for subject keys get them too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_an_announced_topic_may_be_asked_for_keys_later() {
    let (bus, topic) = (bus(partitioned()).await, name("keys"));
    bus.topics().announce([&*topic]).await.expect("announced");
    send_all(&topic).await;
    let (taken, count) = subscribe(&bus, &topic, true).await;
    within(PATIENCE, "all of them", count.reached(5)).await;
    assert_eq!(keys(&taken)[1], key("b token", Some("order-1")));
    bus.shutdown(PATIENCE).await.expect("it reports");
}

/// The subject of a topic without partitions is the topic itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_a_topic_without_partitions_has_one_key_by_its_subject() {
    let (bus, topic) =
        (bus(config()).await, Topic::new(&format!("{}.order-7", name("keys"))).expect("a name"));
    let (taken, count) = subscribe(&bus, &topic, true).await;
    send(topic.to_string(), &[], "x").await;
    within(PATIENCE, "it", count.reached(1)).await;
    assert_eq!(keys(&taken), [key("x", Some("order-7"))]);
    bus.shutdown(PATIENCE).await.expect("it reports");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_other_brokers_have_no_subjects() {
    let bus = bus(Config::new("memory://").expect("a URL")).await;
    let refused =
        bus.subscription("orders").key_from_subject().messages(|_: Message| async {}).await;
    let Err(error @ BusError::Option { option: "key_from_subject", .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(error.to_string().contains("NATS"), "{error}");
    bus.shutdown(PATIENCE).await.expect("it reports");
}
