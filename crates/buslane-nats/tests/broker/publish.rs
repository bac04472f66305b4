//! Publishing to a real server: acknowledgements, repetitions, room, and what foreign readers see.

use super::kit;
use buslane_core::{Broker, Envelope, PublishError, Record, SubscribeOptions, Topic};
use buslane_nats::{NatsBroker, NatsConfig, PublisherConfig};
use buslane_testkit::{
    broker_suite::{bodies, publish, record},
    server::{OwnServer, unique},
};
use bytes::BytesMut;
use std::{sync::Arc, time::Duration};

fn of_envelope(envelope: &Envelope) -> Record {
    Record::from_envelope(envelope, &mut BytesMut::new()).expect("a valid envelope")
}

async fn broker(config: NatsConfig) -> Arc<dyn Broker> {
    Arc::new(NatsBroker::connect(config).await.expect("a server that answers"))
}

/// The event id is the message id: the receipt of the second one says that it is a duplicate, and
/// where the first one is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e4_a_repeated_event_is_stored_once() {
    let (broker, topic) = (broker(kit::config("g")).await, kit::name("events"));
    let one = of_envelope(&Envelope::new("order-1", "Placed", &1).expect("an envelope"));
    let other = of_envelope(&Envelope::new("order-1", "Placed", &2).expect("an envelope"));
    let receipts = publish(&broker, &topic, vec![one.clone(), other, one]).await;
    let told: Vec<_> = receipts.iter().map(|receipt| (receipt.offset, receipt.duplicate)).collect();
    assert_eq!(told, [(1, false), (2, false), (1, true)]);
    // Records without an event id are never duplicates.
    let receipts = publish(&broker, &topic, vec![record("k", "x"), record("k", "x")]).await;
    assert!(receipts.iter().all(|receipt| !receipt.duplicate), "{receipts:?}");
    broker.close(kit::PATIENCE).await.expect("closes");
}

/// A service in another language reads the plain headers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e4_foreign_readers_find_the_headers_of_the_format() {
    let (broker, topic) = (broker(kit::config("g")).await, kit::name("events"));
    let mut envelope =
        Envelope::new("order-1", "Placed", &serde_json::json!({"total": 3})).expect("an envelope");
    (envelope.trace_id, envelope.tenant_id) = ("t-1".into(), 7);
    publish(&broker, &topic, vec![of_envelope(&envelope)]).await;
    let stream = kit::bare().await.get_stream_no_info(topic.as_str()).await.expect("a stream");
    let message = stream.get_raw_message(1).await.expect("a message");
    assert_eq!(message.subject.as_str(), topic.as_str());
    let mut headers: Vec<(String, String)> = message
        .headers
        .iter()
        .flat_map(|(name, values)| {
            values.iter().map(move |value| (name.to_string(), value.as_str().to_owned()))
        })
        .collect();
    headers.sort();
    let id = envelope.event_id.to_string();
    let expected = [
        ("Nats-Msg-Id", id.as_str()),
        ("X-Aggregate-ID", "order-1"),
        ("X-Event-ID", id.as_str()),
        ("X-Event-Type", "Placed"),
        ("X-Event-Version", "1"),
        ("X-Tenant-ID", "7"),
        ("X-Trace-ID", "t-1"),
    ];
    assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let body: serde_json::Value = serde_json::from_slice(&message.payload).expect("JSON");
    assert_eq!(body["payload"]["total"], 3);
    broker.close(kit::PATIENCE).await.expect("closes");
}

/// Each acknowledged record is stored, also with more records than may be in flight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n1_every_acknowledged_record_is_stored() {
    let config = NatsConfig {
        publisher: PublisherConfig { max_in_flight: 100, ..PublisherConfig::default() },
        ..kit::config("g")
    };
    let (broker, topic) = (broker(config).await, kit::name("many"));
    let calls: Vec<_> = (0..8)
        .map(|call| {
            let (broker, topic) = (Arc::clone(&broker), topic.clone());
            tokio::spawn(async move {
                let records =
                    (0..1_000).map(|n| record(&format!("k{call}"), n.to_string())).collect();
                publish(&broker, &topic, records).await
            })
        })
        .collect();
    let mut sequences = Vec::new();
    for call in calls {
        let receipts = call.await.expect("no panic");
        let own: Vec<u64> = receipts.iter().map(|receipt| receipt.offset).collect();
        assert!(own.is_sorted(), "a call keeps its order");
        sequences.extend(own);
    }
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=8_000).collect::<Vec<_>>());
    broker.close(kit::PATIENCE).await.expect("closes");
}

/// While a server is stopped, publishers wait for room and then time out; a waiting one goes on
/// when the server does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b6_publishers_wait_for_room_and_time_out() {
    let mut server = tokio::task::spawn_blocking(|| OwnServer::nats("")).await.expect("a server");
    let config = |timeout| NatsConfig {
        servers: server.address.replace("nats://", ""),
        publisher: PublisherConfig {
            max_in_flight: 2,
            publish_timeout: timeout,
            ..PublisherConfig::default()
        },
        ..kit::config("g")
    };
    let topic = Topic::new("orders").expect("a name");
    let (quick, patient) =
        (broker(config(Duration::from_millis(200))).await, broker(config(kit::PATIENCE)).await);
    publish(&quick, &topic, vec![record("k", "first")]).await;
    publish(&patient, &topic, vec![record("k", "second")]).await;
    tokio::task::block_in_place(|| server.pause());
    for answer in
        quick.publish(&topic, (0..5).map(|n| record("k", n.to_string())).collect()).get().await
    {
        let Err(PublishError::Timeout { topic: named, waited, detail }) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!((named, waited), (topic.clone(), Duration::from_millis(200)));
        assert!(!detail.is_empty());
    }
    let waiting = tokio::spawn({
        let (patient, topic) = (Arc::clone(&patient), topic.clone());
        async move {
            publish(&patient, &topic, (0..5).map(|n| record("k", n.to_string())).collect()).await
        }
    });
    tokio::task::block_in_place(|| server.resume());
    assert_eq!(waiting.await.expect("no panic").len(), 5);
    // A record that has timed out frees its room.
    publish(&quick, &topic, vec![record("k", "last")]).await;
    for broker in [quick, patient] {
        broker.close(kit::PATIENCE).await.expect("closes");
    }
}

/// Nothing is stored: present listeners get each record, in order; later ones do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n1_an_ephemeral_topic_lives_in_core_nats() {
    let topic = kit::name("ticks");
    let config = |group: &str| NatsConfig {
        ephemeral: vec![topic.to_string()],
        ..kit::config(&unique(group))
    };
    let mut feed = kit::connect(config("one")).await;
    publish(&feed.broker, &topic, vec![record("k", "nobody listens")]).await;
    feed.broker
        .subscribe(&[(topic.clone(), SubscribeOptions::default())])
        .await
        .expect("subscribes");
    let mut other = kit::member(config("two"), &topic).await;
    for member in [&mut feed, &mut other] {
        member.until_assigned(1).await;
    }
    // Once the server has answered each member, it has both subscriptions.
    for member in [&feed, &other] {
        let asked = [(topic.clone(), SubscribeOptions::default())];
        member.broker.subscribe(&asked).await.expect("subscribed already");
        let lag = member.broker.lag().await.expect("an answer");
        assert_eq!(
            lag.iter().map(|lag| (&lag.topic, lag.messages, lag.open)).collect::<Vec<_>>(),
            [(&topic, 0, 0)]
        );
    }
    let publisher = broker(config("three")).await;
    let mut seen = Vec::new();
    while seen.is_empty() {
        // A subscription may not have reached the server yet; a record without a listener is lost
        // by design.
        publish(&publisher, &topic, vec![record("k", "0")]).await;
        seen = feed.take_for(Duration::from_millis(50)).await;
    }
    publish(&publisher, &topic, (1..20).map(|n| record("k", n.to_string())).collect()).await;
    let mut got = Vec::new();
    while got.len() < 19 {
        // Some of the repeated records may come late.
        got.extend(feed.take(1).await.into_iter().filter(|one| *one.message.payload != *b"0"));
    }
    assert_eq!(bodies(&got)[..], kit::texts(1..20)[..]);
    assert_eq!(got[0].message.key.as_deref(), Some(&b"k"[..]));
    assert!(kit::bare().await.get_stream(topic.as_str()).await.is_err(), "no stream was made");
    assert!(!other.take_for(Duration::from_millis(50)).await.is_empty(), "every group listens");
    publisher.close(kit::PATIENCE).await.expect("closes");
    feed.close().await;
    other.close().await;
}
