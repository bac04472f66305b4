//! Unusual records and settings: each is delivered or refused as the README of the crate says, and
//! the next good record is delivered.

use super::kit;
use buslane_core::{BrokerError, PublishError, Record, Topic};
use buslane_kafka::{ConnectError, KafkaBroker, KafkaConfig, ProducerConfig};
use buslane_testkit::{
    broker_suite::{Feed, bodies, publish, record, settle},
    deadline::within,
    server::unique,
};
use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};
use std::{net::TcpListener, time::Duration};

const LARGE: usize = 2 << 20;

async fn no_connection(brokers: String) -> String {
    let config = KafkaConfig {
        brokers,
        connect_timeout: Duration::from_secs(2),
        ..kit::config(&unique("g"))
    };
    let answer =
        within(kit::PATIENCE, "an answer within the connect timeout", KafkaBroker::connect(config))
            .await;
    let error = answer.expect_err("nobody is there");
    assert!(matches!(error, ConnectError::Broker(BrokerError::Unreachable { .. })), "{error:?}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_a_port_where_nobody_listens_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let text = no_connection(address.clone()).await;
    assert!(text.contains(&address) && text.contains("refused"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_a_host_without_an_address_is_named() {
    let text = no_connection("no-such-host.invalid:9092".to_owned()).await;
    assert!(text.contains("resolve") && text.contains("no-such-host.invalid"), "{text}");
}

/// A server that accepts connections and never answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_a_silent_server_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let text = no_connection(address.clone()).await;
    assert!(text.contains(&address), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_an_unknown_property_is_refused() {
    let mut config = kit::config(&unique("g"));
    config.properties.insert("no.such.property".to_owned(), "1".into());
    let error = KafkaBroker::connect(config).await.expect_err("no such property");
    assert!(
        matches!(error, ConnectError::Config(_)) && error.to_string().contains("no.such.property"),
        "{error}"
    );
}

/// The error names a missing topic, and the other topics are still read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k1_a_missing_topic_is_refused_by_name() {
    let (there, missing) = (kit::topic("there", 1, &[]).await, kit::name("missing"));
    let mut member = kit::member(kit::config(&unique("g")), &there).await;
    let answer = member.broker.subscribe(&[(missing.clone(), Default::default())]).await;
    assert_eq!(answer, Err(BrokerError::UnknownTopic { topic: missing.clone() }));
    assert!(answer.expect_err("refused").to_string().contains(missing.as_str()));
    still_reads(&mut member, &there).await;
    member.close().await;
}

async fn still_reads(member: &mut Feed, topic: &Topic) {
    publish(&member.broker, topic, vec![record("k", "the last")]).await;
    let got = member.take(1).await;
    assert_eq!(bodies(&got), ["the last"]);
    settle(got);
}

fn send(producer: &BaseProducer, record: BaseRecord<'_, str, [u8]>) {
    producer.send(record).map_err(|(error, _)| error).expect("room in the queue");
}

/// Records of other programs: without a key, without a value, with headers without a value, and
/// with bytes that are not text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_records_of_other_programs_are_delivered_as_they_are() {
    let topic = kit::topic("foreign", 1, &[]).await;
    let producer: BaseProducer = kit::foreign(&[("linger.ms", "0")]);
    let odd = OwnedHeaders::new()
        .insert(Header { key: "none", value: None::<&[u8]> })
        .insert(Header { key: "empty", value: Some(b"") })
        .insert(Header { key: "bytes", value: Some(&[0xff, 0x00, 0xfe]) })
        .insert(Header { key: "", value: Some(b"without a name") })
        .insert(Header { key: "bytes", value: Some(b"again") });
    send(&producer, BaseRecord::to(&topic).payload(b"without a key".as_slice()));
    send(&producer, BaseRecord::to(&topic).key("tombstone"));
    send(&producer, BaseRecord::to(&topic));
    send(&producer, BaseRecord::to(&topic).key("").payload(b"an empty key".as_slice()));
    send(
        &producer,
        BaseRecord::to(&topic).key("k").payload([0xff, 0x00, 0xfe].as_slice()).headers(odd),
    );
    producer.flush(kit::PATIENCE).expect("records are stored");

    let mut member = kit::member(kit::config(&unique("g")), &topic).await;
    let got = member.take(5).await;
    let found: Vec<_> = got
        .iter()
        .map(|delivery| (delivery.message.key.as_deref(), &delivery.message.payload[..]))
        .collect();
    let expected: [(Option<&[u8]>, &[u8]); 5] = [
        (None, b"without a key"),
        (Some(b"tombstone"), b""),
        (None, b""),
        (Some(b""), b"an empty key"),
        (Some(b"k"), &[0xff, 0x00, 0xfe]),
    ];
    assert_eq!(found, expected);
    let null: Vec<_> = got.iter().map(|delivery| delivery.message.is_null).collect();
    assert_eq!(null, [false, true, true, false, false]);
    let headers: Vec<_> = got[4].message.headers.iter().collect();
    let expected: [(&str, &[u8]); 5] = [
        ("none", b""),
        ("empty", b""),
        ("bytes", &[0xff, 0x00, 0xfe]),
        ("", b"without a name"),
        ("bytes", b"again"),
    ];
    assert_eq!(headers, expected);
    settle(got);
    still_reads(&mut member, &topic).await;
    member.close().await;
}

fn large(n: usize) -> Record {
    record("k", "x".repeat(LARGE + n))
}

async fn large_member(topic: &Topic, max_message_bytes: u32) -> Feed {
    let producer = ProducerConfig { max_message_bytes, ..ProducerConfig::default() };
    kit::member(KafkaConfig { producer, ..kit::config(&unique("g")) }, topic).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_records_of_two_megabytes_go_both_ways() {
    let topic = kit::topic("large", 1, &[]).await;
    let mut member = large_member(&topic, 3 << 20).await;
    publish(&member.broker, &topic, (0..3).map(large).collect()).await;
    let got = member.take(3).await;
    let sizes: Vec<_> = got.iter().map(|delivery| delivery.message.payload.len()).collect();
    assert_eq!(sizes, [LARGE, LARGE + 1, LARGE + 2]);
    settle(got);
    // A member that cannot publish them can read them.
    let mut other = kit::member(kit::config(&unique("g")), &topic).await;
    let got = other.take(3).await;
    assert_eq!(
        got.iter().map(|delivery| delivery.message.payload.len()).collect::<Vec<_>>(),
        sizes
    );
    settle(got);
    member.close().await;
    other.close().await;
}

/// A record above the limit of the client, or of the broker, is refused alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_a_record_that_is_too_large_is_refused_alone() {
    for (client, broker) in [(1_000_000, "4194304"), (3 << 20, "1000000")] {
        let is_refused_here = client < LARGE;
        let topic = kit::topic("too-large", 1, &[("max.message.bytes", broker)]).await;
        let mut member = large_member(&topic, client.try_into().expect("small")).await;
        let mut answers = Vec::new();
        for record in [record("k", "before"), large(0), record("k", "after")] {
            answers.extend(member.broker.publish(&topic, vec![record]).get().await);
        }
        assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
        let error = answers.remove(1).expect_err("too large");
        assert!(
            matches!(error, PublishError::TooLarge { bytes, .. } if bytes == LARGE + 1),
            "{error:?}"
        );
        assert!(error.is_permanent(), "{error:?}");
        let limit =
            if is_refused_here { "max_message_bytes, 1000000" } else { "max.message.bytes" };
        // The key has one byte.
        for part in [topic.as_str(), "size", &(LARGE + 1).to_string(), limit] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        let got = member.take(2).await;
        assert_eq!(bodies(&got), ["before", "after"]);
        settle(got);
        member.close().await;
    }
}
