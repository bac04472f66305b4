//! Topics without partitions, and how they get some. SPEC: N5

use super::kit;
use async_nats::jetstream::stream::{Config as StreamConfig, StorageType};
use buslane_core::{
    Broker, BrokerError, Envelope, PublishError, Record, SubscribeOptions, Topic, TopicSettings,
    TopicStrategy, broker::header,
};
use buslane_nats::{NatsBroker, NatsConfig, Partitions, Start};
use buslane_testkit::{
    broker_suite::{Feed, bodies, publish, record, settle},
    deadline::within,
    server::unique,
};
use bytes::BytesMut;
use std::{collections::HashMap, sync::Arc, time::Duration};

const EIGHT: TopicSettings = TopicSettings {
    partitions: Some(8),
    replication: None,
    retention: None,
    retention_bytes: None,
    compression: None,
    storage: None,
    expand: true,
};

/// The default settings, except for a short lease.
fn standard(group: &str) -> NatsConfig {
    let mut config = NatsConfig { stream: Partitions::Auto.into(), ..kit::config(group) };
    config.consumer.lease = Duration::from_secs(2);
    config
}

/// A stream as other programs create it, with the topic's own subject.
async fn plain_stream() -> Topic {
    let topic = kit::name("old");
    let config = StreamConfig {
        name: topic.to_string(),
        subjects: vec![topic.to_string()],
        ..StreamConfig::default()
    };
    kit::bare().await.create_stream(config).await.expect("a stream");
    topic
}

async fn subjects(topic: &Topic) -> (usize, StorageType) {
    let mut stream = kit::bare().await.get_stream(topic.as_str()).await.expect("a stream");
    let config = stream.info().await.expect("an answer").config.clone();
    (config.subjects.len(), config.storage)
}

fn envelope(key: &str) -> Record {
    let envelope = Envelope::new(key, "Counted", &1).expect("an envelope");
    Record::from_envelope(&envelope, &mut BytesMut::new()).expect("a record")
}

/// The second member waits, and continues where the first one has stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n5_a_topic_without_partitions_is_read_by_one_member_at_a_time() {
    let (group, topic) = (unique("g"), plain_stream().await);
    let mut one = kit::member(standard(&group), &topic).await;
    one.until_assigned(1).await;
    let mut two = kit::member(standard(&group), &topic).await;
    publish(&one.broker, &topic, kit::numbers(0..20)).await;
    let mut got = one.take(10).await;
    assert_eq!(bodies(&got), kit::texts(0..10));
    // For several leases, while both members renew theirs.
    assert!(
        two.take_for(Duration::from_secs(5)).await.is_empty() && two.intakes.is_empty(),
        "it is held by another"
    );
    let last = got.pop();
    settle(got);
    let leaving = tokio::spawn({
        let broker = Arc::clone(&one.broker);
        async move { broker.close(kit::PATIENCE).await }
    });
    one.until("the end of its intake", |feed| feed.closed && feed.intakes.is_empty()).await;
    assert!(
        two.take_for(Duration::from_millis(500)).await.is_empty(),
        "not while a message is open"
    );
    settle(last);
    leaving.await.expect("no panic").expect("closes well");
    let got = two.take(10).await;
    assert_eq!(bodies(&got), kit::texts(10..20));
    settle(got);
    two.close().await;
}

/// Topics of regular messages, and topics configured as shared, have several readers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n5_regular_messages_and_shared_topics_have_several_readers() {
    for (partitions, ephemeral) in [(Partitions::Auto, true), (Partitions::Shared, false)] {
        let (group, topic) = (unique("g"), plain_stream().await);
        let mut members = Vec::new();
        for _ in 0..2 {
            let feed =
                kit::connect(NatsConfig { stream: partitions.into(), ..standard(&group) }).await;
            let options = SubscribeOptions { ephemeral, ..SubscribeOptions::default() };
            feed.broker.subscribe(&[(topic.clone(), options)]).await.expect("subscribes");
            members.push(feed);
        }
        for member in &mut members {
            member.until_assigned(1).await;
        }
        for member in members {
            member.close().await;
        }
    }
}

/// Publishing creates the same stream as subscribing. A dead letter is stored as its envelope was,
/// also without an event id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n5_streams_of_envelopes_are_created_with_partitions() {
    let broker: Arc<dyn Broker> =
        Arc::new(NatsBroker::connect(standard(&unique("g"))).await.expect("connected"));
    let letter = record("k", "x")
        .with_headers([(header::ORIGINAL_TOPIC, b"orders".as_slice())].into_iter().collect());
    let partitions = 2 * Partitions::DEFAULT as usize;
    for (record, expected) in [
        (envelope("k"), (partitions, StorageType::File)),
        (letter, (partitions, StorageType::File)),
        (record("k", "raw"), (1, StorageType::Memory)),
    ] {
        let topic = kit::name("made");
        publish(&broker, &topic, vec![record]).await;
        assert_eq!(subjects(&topic).await, expected);
    }
    for (ephemeral, expected) in
        [(false, (partitions, StorageType::File)), (true, (1, StorageType::Memory))]
    {
        let topic = kit::name("made");
        let options = SubscribeOptions { ephemeral, ..SubscribeOptions::default() };
        broker.subscribe(&[(topic.clone(), options)]).await.expect("subscribes");
        assert_eq!(subjects(&topic).await, expected);
    }
    let topic = kit::name("made");
    broker
        .configure_topic(&topic, &TopicSettings::default(), TopicStrategy::CreateOnly)
        .await
        .expect("created");
    assert_eq!(subjects(&topic).await, (partitions, StorageType::File));
    Feed::new(broker, kit::PATIENCE).close().await;
}

/// The errors of publisher and subscriber name the setting, the partitions of the stream, and the
/// remedy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n5_configured_partitions_that_are_not_in_force_are_refused() {
    let four = kit::name("four");
    let maker =
        kit::member(NatsConfig { stream: Partitions::Exactly(4).into(), ..standard("m") }, &four)
            .await;
    for (topic, has) in [(plain_stream().await, "has none"), (four, "has 4")] {
        let config = NatsConfig { stream: Partitions::Exactly(8).into(), ..standard(&unique("g")) };
        let broker: Arc<dyn Broker> =
            Arc::new(NatsBroker::connect(config).await.expect("connected"));
        let answer = broker.publish(&topic, vec![envelope("k")]).get().await.remove(0);
        let Err(PublishError::Refused { reason: published, .. }) = answer else {
            panic!("{answer:?}")
        };
        let refused =
            broker.subscribe(&[(topic.clone(), SubscribeOptions::default())]).await.unwrap_err();
        assert!(
            matches!(refused, BrokerError::Setting { setting: "partitions", .. }),
            "{refused:?}"
        );
        for said in [published, refused.to_string()] {
            for part in
                ["nats.stream.partitions is 8", &format!("stream {topic} {has}"), "expand", "auto"]
            {
                assert!(said.contains(part), "{part}: {said}");
            }
        }
        let regular = SubscribeOptions { ephemeral: true, ..SubscribeOptions::default() };
        broker
            .subscribe(&[(topic.clone(), regular)])
            .await
            .expect("regular messages have no order to lose");
        broker.unsubscribe(&topic).await.expect("unsubscribes");
        broker
            .configure_topic(&topic, &EIGHT, TopicStrategy::CreateOrUpdate)
            .await
            .expect("it gets them");
        publish(&broker, &topic, vec![envelope("k")]).await;
        let mut feed = Feed::new(broker, kit::PATIENCE);
        feed.subscribe(&topic).await;
        settle(feed.take(1).await);
        feed.close().await;
    }
    maker.close().await;
}

/// While others publish and read, the messages from before the partitions are settled before any
/// partition is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n5_a_topic_gets_partitions_in_place_and_each_key_keeps_its_order() {
    for start in [Start::Earliest, Start::Latest] {
        let (group, topic) = (unique("g"), plain_stream().await);
        let config = || {
            let mut config = standard(&group);
            config.consumer.start = start;
            config
        };
        let mut reader = kit::member(config(), &topic).await;
        // This publisher knows the topic without partitions.
        let publisher = kit::connect(standard("p")).await.broker;
        publish(&publisher, &topic, kit::numbers(0..70)).await;
        let mut got = reader.take(70).await;
        let open = got.split_off(69);
        let mut seen = bodies(&got);
        settle(got);
        let admin = kit::connect(standard("a")).await;
        let half = TopicSettings { expand: false, ..EIGHT };
        let refused = admin
            .broker
            .configure_topic(&topic, &half, TopicStrategy::CreateOrUpdate)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("expand"), "{refused}");
        let stands =
            admin.broker.configure_topic(&topic, &EIGHT, TopicStrategy::CreateOrUpdate).await;
        assert_eq!(stands.expect("it gets them").partitions, Some(8));
        publish(&publisher, &topic, kit::numbers(70..140)).await;
        let mut late = kit::member(config(), &topic).await;
        for member in [&mut reader, &mut late] {
            let early = member.take_for(Duration::from_secs(3)).await;
            assert!(early.is_empty(), "one without a partition is open: {:?}", bodies(&early));
        }
        seen.extend(bodies(&open));
        settle(open);
        let take = async {
            while seen.len() < 140 {
                for member in [&mut reader, &mut late] {
                    let got = member.take_for(Duration::from_millis(20)).await;
                    seen.extend(bodies(&got));
                    settle(got);
                }
            }
        };
        within(kit::PATIENCE, "everything is read", take).await;
        let mut last: HashMap<usize, usize> = HashMap::new();
        for number in seen.iter().map(|body| body.parse::<usize>().expect("a number")) {
            let before = last.insert(number % 7, number);
            assert_eq!(before.map_or(number % 7, |before| before + 7), number, "{seen:?}");
        }
        // A new group gets both parts, in this order.
        if start == Start::Earliest {
            let mut new = kit::member(standard(&unique("n")), &topic).await;
            let got = new.take(70).await;
            assert_eq!(bodies(&got), kit::texts(0..70));
            settle(got);
            settle(new.take(70).await);
            new.close().await;
        }
        for member in [reader, late, admin, Feed::new(publisher, kit::PATIENCE)] {
            member.close().await;
        }
    }
}

/// The stream's wildcard covers more than the topic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n5_a_topic_under_a_wildcard_gets_no_partitions() {
    let name = unique("business");
    let config = StreamConfig {
        name: name.clone(),
        subjects: vec![format!("{name}.>")],
        ..StreamConfig::default()
    };
    kit::bare().await.create_stream(config).await.expect("a stream");
    let topic = Topic::new(&format!("{name}.orders")).expect("a name");
    let feed = kit::connect(standard("g")).await;
    let refused = feed
        .broker
        .configure_topic(&topic, &EIGHT, TopicStrategy::CreateOrUpdate)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("wildcard"), "{refused}");
    feed.close().await;
}

/// Two members take one partition each of two topics, not necessarily of the same number, so the
/// broker must report scattered keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r3_topics_are_shared_out_one_by_one() {
    let feed = kit::connect(standard(&unique("g"))).await;
    let (one, other) = (kit::name("one"), kit::name("other"));
    assert_eq!(feed.broker.scatters(&[&one]), None);
    let reason = feed.broker.scatters(&[&one, &other]).expect("two topics are scattered");
    assert!(reason.contains("lane_scope: topic"), "{reason}");
}
