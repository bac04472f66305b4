//! Streams and durable consumers as the server shows them.

use super::kit;
use async_nats::jetstream::{
    consumer::{AckPolicy, DeliverPolicy, pull, push},
    stream::{Config as StreamConfig, DiscardPolicy, StorageType},
};
use buslane_core::{
    Broker, BrokerError, Envelope, PublishError, Record, SubscribeOptions, Topic, TopicSettings,
    TopicStorage, TopicStrategy,
};
use buslane_nats::{ConsumerConfig, NatsBroker, NatsConfig, Start};
use buslane_testkit::{
    broker_suite::{bodies, publish, record, settle},
    server::unique,
};
use bytes::BytesMut;
use std::{sync::Arc, time::Duration};

const ENVELOPES: SubscribeOptions =
    SubscribeOptions { settle_first: false, ephemeral: false, subject_key: false };
const REGULAR: SubscribeOptions = SubscribeOptions { ephemeral: true, ..ENVELOPES };

async fn info(topic: &Topic, durable: &str) -> async_nats::jetstream::consumer::Info {
    let stream = kit::bare().await.get_stream_no_info(topic.as_str()).await.expect("a handle");
    stream.consumer_info(durable).await.expect("a consumer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_every_setting_is_visible_on_the_servers_consumer() {
    let (group, topic) = (unique("g"), kit::name("orders"));
    let consumer = ConsumerConfig {
        start: Start::Latest,
        ack_wait: Duration::from_secs(7),
        max_deliver: Some(9),
        max_ack_pending: 321,
        replicas: Some(1),
        memory_storage: true,
        ..ConsumerConfig::default()
    };
    let config = NatsConfig { consumer, ..kit::config(&group) };
    let feed = kit::member(config.clone(), &topic).await;
    let durable = format!("{group}@{topic}");
    let found = info(&topic, &durable).await.config;
    assert_eq!(
        (found.durable_name.as_deref(), found.filter_subject.as_str()),
        (Some(&*durable), topic.as_str())
    );
    assert_eq!((found.ack_policy, found.deliver_policy), (AckPolicy::Explicit, DeliverPolicy::New));
    assert_eq!(
        (found.ack_wait, found.max_deliver, found.max_ack_pending),
        (Duration::from_secs(7), 9, 321)
    );
    assert_eq!((found.num_replicas, found.memory_storage), (1, true));
    feed.close().await;

    // A member with other settings updates the consumer, which keeps its position.
    let consumer = ConsumerConfig {
        start: Start::Earliest,
        backoff: vec![Duration::from_secs(1), Duration::from_secs(3)],
        max_ack_pending: 500,
        ..config.consumer
    };
    let feed = kit::member(NatsConfig { consumer, ..kit::config(&group) }, &topic).await;
    let found = info(&topic, &durable).await.config;
    assert_eq!(found.backoff, [Duration::from_secs(1), Duration::from_secs(3)]);
    assert_eq!((found.max_ack_pending, found.deliver_policy), (500, DeliverPolicy::New));
    feed.close().await;
}

/// Envelopes are stored in files and regular messages in memory, also when publishing comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n2_storage_follows_the_kind_of_the_topic() {
    let broker: Arc<dyn Broker> =
        Arc::new(NatsBroker::connect(kit::config(&unique("g"))).await.expect("connected"));
    let topics = ["events", "ticks", "published", "sent"].map(kit::name);
    let subscribed = [(topics[0].clone(), ENVELOPES), (topics[1].clone(), REGULAR)];
    broker.subscribe(&subscribed).await.expect("subscribes");
    let envelope = Envelope::new("a", "b", &1).expect("an envelope");
    let record = Record::from_envelope(&envelope, &mut BytesMut::new()).expect("a record");
    publish(&broker, &topics[2], vec![record]).await;
    publish(&broker, &topics[3], vec![Record::new("x")]).await;
    let storage = [StorageType::File, StorageType::Memory, StorageType::File, StorageType::Memory];
    for (topic, storage) in topics.iter().zip(storage) {
        let mut stream = kit::bare().await.get_stream(topic.as_str()).await.expect("a stream");
        assert_eq!(stream.info().await.expect("an answer").config.storage, storage, "{topic}");
    }
    let memory = TopicSettings { storage: Some(TopicStorage::Memory), ..TopicSettings::default() };
    let error = broker
        .configure_topic(&topics[0], &memory, TopicStrategy::CreateOrUpdate)
        .await
        .unwrap_err();
    assert!(matches!(error, BrokerError::Setting { setting: "storage", .. }), "{error}");
    let error = broker
        .configure_topic(&topics[0], &memory, TopicStrategy::ValidateOnly)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("File") && error.contains("Memory"), "{error}");
    broker.close(kit::PATIENCE).await.expect("closes");
}

/// In twenty rounds, no message is replayed and none is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n4_a_shutdown_keeps_the_durable_consumer() {
    let (group, topic) = (unique("g"), kit::name("orders"));
    let mut next = 0;
    for round in 0..20 {
        // So long that a test that waited for it would fail.
        let mut config = kit::config(&group);
        config.consumer.ack_wait = Duration::from_secs(3_600);
        let mut feed = kit::member(config, &topic).await;
        publish(&feed.broker, &topic, kit::numbers(round * 10..round * 10 + 10)).await;
        // Some stay: read and given back, or not read at all.
        let count = if round == 19 { 200 - next } else { 7 };
        let got = feed.take(count).await;
        assert_eq!(bodies(&got), kit::texts(next..next + count), "round {round}");
        next += count;
        settle(got);
        drop(if round == 19 { Vec::new() } else { feed.take(1).await });
        feed.close().await;
    }
    let left = info(&topic, &format!("{group}@{topic}")).await;
    assert_eq!((left.num_pending, left.num_ack_pending), (0, 0));
}

/// Messages stay open for three times `ack_wait`, in a handler and unread in the intake. The time
/// is so long that a starved process still extends them before the server gives up on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n1_what_waits_or_runs_is_delivered_once() {
    let (group, topic) = (unique("g"), kit::name("slow"));
    let mut config = kit::config(&group);
    config.consumer.ack_wait = Duration::from_secs(4);
    let mut feed = kit::member(config, &topic).await;
    publish(&feed.broker, &topic, kit::numbers(0..100)).await;
    let mut got = feed.take(10).await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    got.extend(feed.take(90).await);
    assert_eq!(bodies(&got), kit::texts(0..100));
    settle(got);
    assert!(feed.take_for(Duration::from_millis(500)).await.is_empty(), "nothing comes twice");
    let found = info(&topic, &format!("{group}@{topic}")).await;
    assert_eq!((found.delivered.consumer_sequence, found.num_redelivered), (100, 0));
    feed.close().await;
}

/// The reader keeps a tenth free, so that the server never stops delivering.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_open_messages_never_use_up_max_ack_pending() {
    let (group, topic) = (unique("g"), kit::name("full"));
    let mut config = kit::config(&group);
    (config.consumer.max_ack_pending, config.consumer.prefetch) = (20, 50);
    let mut feed = kit::member(config, &topic).await;
    publish(&feed.broker, &topic, kit::numbers(0..100)).await;
    let mut open = feed.take(18).await;
    assert!(feed.take_for(Duration::from_millis(300)).await.is_empty(), "18 of 20 are open");
    assert_eq!(info(&topic, &format!("{group}@{topic}")).await.num_ack_pending, 18);
    // A settled message makes room for one more.
    settle(open.drain(5..6));
    assert_eq!(bodies(&feed.take(1).await), ["18"]);
    drop(open);
    feed.close().await;
}

/// Several members share one durable consumer: one of them gets each message, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n5_members_of_a_group_share_a_topic() {
    let (group, topic) = (unique("g"), kit::name("shared"));
    let mut config = kit::config(&group);
    config.consumer.prefetch = 10;
    let (mut one, mut two) =
        (kit::member(config.clone(), &topic).await, kit::member(config, &topic).await);
    one.until_assigned(1).await;
    two.until_assigned(1).await;
    publish(&one.broker, &topic, kit::numbers(0..500)).await;
    let (mut seen, mut counts) = (Vec::new(), [0, 0]);
    while seen.len() < 500 {
        for (at, member) in [&mut one, &mut two].into_iter().enumerate() {
            let got = member.take_for(Duration::from_millis(5)).await;
            counts[at] += got.len();
            seen.extend(bodies(&got));
            settle(got);
        }
    }
    seen.sort_by_key(|body| body.parse::<usize>().expect("a number"));
    assert_eq!(seen, kit::texts(0..500));
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    one.close().await;
    two.close().await;
}

/// A consumer of that name exists, made by another program with settings that do not fit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n2_foreign_consumers_are_refused_by_name() {
    let (group, topic) = (unique("g"), kit::name("orders"));
    let jetstream = kit::bare().await;
    let config = StreamConfig {
        name: topic.to_string(),
        subjects: vec![topic.to_string()],
        ..StreamConfig::default()
    };
    let stream = jetstream.create_stream(config).await.expect("a stream");
    let durable = format!("{group}@{topic}");
    let broker: Arc<dyn Broker> =
        Arc::new(NatsBroker::connect(kit::config(&group)).await.expect("connected"));
    let pushes = push::Config {
        durable_name: Some(durable.clone()),
        deliver_subject: format!("inbox.{topic}"),
        ..push::Config::default()
    };
    let silent = pull::Config {
        durable_name: Some(durable.clone()),
        ack_policy: AckPolicy::None,
        ..pull::Config::default()
    };
    let subscribed = [(topic.clone(), ENVELOPES)];
    stream.create_consumer(pushes).await.expect("a consumer");
    let error = broker.subscribe(&subscribed).await.unwrap_err().to_string();
    assert!(error.contains(&durable) && error.contains("pushes its messages"), "{error}");
    stream.delete_consumer(&durable).await.expect("gone");
    stream.create_consumer(silent).await.expect("a consumer");
    let error = broker.subscribe(&subscribed).await.unwrap_err().to_string();
    assert!(error.contains(&durable) && error.contains("explicit acknowledgements"), "{error}");
    stream.delete_consumer(&durable).await.expect("gone");
    broker.subscribe(&subscribed).await.expect("nothing is left of the failures");
    broker.close(kit::PATIENCE).await.expect("closes");
}

/// A stream of another program that covers the subject is used as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n2_a_stream_that_covers_the_topic_is_used() {
    let name = unique("business");
    let config = StreamConfig {
        name: name.clone(),
        subjects: vec![format!("{name}.>")],
        ..StreamConfig::default()
    };
    let jetstream = kit::bare().await;
    jetstream.create_stream(config).await.expect("a stream");
    let topics =
        ["orders", "mails"].map(|what| Topic::new(&format!("{name}.{what}")).expect("a name"));
    let mut feed = kit::member(kit::config("g"), &topics[0]).await;
    for topic in &topics {
        publish(&feed.broker, topic, vec![record("k", topic.to_string())]).await;
    }
    let got = feed.take(1).await;
    assert_eq!(bodies(&got), [topics[0].to_string()]);
    settle(got);
    assert!(
        feed.take_for(Duration::from_millis(100)).await.is_empty(),
        "the other topic is not read"
    );
    let mut stream = jetstream.get_stream(&name).await.expect("a stream");
    assert_eq!(stream.info().await.expect("an answer").state.messages, 2);
    feed.close().await;
}

/// Each error names the topic and the reason, and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n2_topics_that_cannot_be_are_refused() {
    let config = NatsConfig {
        stream: buslane_nats::StreamConfig { create: false, ..Default::default() },
        ..kit::config("g")
    };
    let broker: Arc<dyn Broker> = Arc::new(NatsBroker::connect(config).await.expect("connected"));
    let missing = kit::name("missing");
    let error = broker.subscribe(&[(missing.clone(), ENVELOPES)]).await.unwrap_err();
    assert_eq!(error, BrokerError::UnknownTopic { topic: missing.clone() });
    assert_eq!(broker.ensure_topic(&missing).await, Err(error));
    let answer = broker.publish(&missing, vec![record("k", "x")]).get().await.remove(0);
    let Err(PublishError::Refused { topic, reason }) = answer else { panic!("{answer:?}") };
    assert!(topic == missing && reason.contains("does not exist"), "{reason}");
    let odd = Topic::new("a..b").expect("a topic elsewhere");
    let error = broker.subscribe(&[(odd, ENVELOPES)]).await.unwrap_err().to_string();
    assert!(error.contains("a..b") && error.contains("dots"), "{error}");
    broker.close(kit::PATIENCE).await.expect("closes");
}

/// A topic that must be stored gets a stream in files; one that is never stored is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n2_a_topic_is_made_sure_of() {
    let (missing, ephemeral) = (kit::name("missing"), kit::name("ephemeral"));
    let config = NatsConfig { ephemeral: vec![ephemeral.to_string()], ..kit::config("g") };
    let broker: Arc<dyn Broker> = Arc::new(NatsBroker::connect(config).await.expect("connected"));
    assert_eq!(broker.ensure_topic(&missing).await, Ok(()));
    let settings = broker.topic_settings(&missing).await.expect("an answer").expect("a topic");
    assert_eq!(settings.storage, Some(TopicStorage::File));
    let error = broker.ensure_topic(&ephemeral).await.unwrap_err().to_string();
    assert!(error.contains(ephemeral.as_str()) && error.contains("nothing is stored"), "{error}");
    broker.close(kit::PATIENCE).await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n2_a_stream_at_its_limits_refuses_by_name() {
    let topic = kit::name("full");
    let config = StreamConfig {
        name: topic.to_string(),
        subjects: vec![topic.to_string()],
        max_messages: 2,
        discard: DiscardPolicy::New,
        ..StreamConfig::default()
    };
    kit::bare().await.create_stream(config).await.expect("a stream");
    let broker: Arc<dyn Broker> =
        Arc::new(NatsBroker::connect(kit::config("g")).await.expect("connected"));
    let answers = broker.publish(&topic, kit::numbers(0..4)).get().await;
    let stored = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(stored, 2, "{answers:?}");
    for answer in &answers[2..] {
        let Err(PublishError::Unavailable { topic: named, reason }) = answer else {
            panic!("{answer:?}")
        };
        assert!(*named == topic && reason.contains("maximum messages"), "{reason}");
        assert!(
            answer.as_ref().is_err_and(|error| !error.is_permanent()),
            "there may be room again"
        );
    }
    broker.close(kit::PATIENCE).await.expect("closes");
}

/// A server whose limit a record exceeds does not close the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n2_a_record_that_is_too_large_is_refused_alone() {
    let topic = kit::name("large");
    let broker: Arc<dyn Broker> =
        Arc::new(NatsBroker::connect(kit::config("g")).await.expect("connected"));
    let records = vec![record("k", "a"), Record::new(vec![b'x'; 9 << 20]), record("k", "b")];
    let answers = broker.publish(&topic, records).get().await;
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    let Err(PublishError::TooLarge { bytes, limit, .. }) = &answers[1] else {
        panic!("{answers:?}")
    };
    assert!(*bytes == 9 << 20 && limit.starts_with("max_payload of the server, "), "{limit}");
    // The stream has a limit of its own, and the server one of headers.
    let config = StreamConfig {
        name: format!("{topic}-small"),
        subjects: vec![format!("{topic}-small")],
        max_message_size: 1_000,
        ..StreamConfig::default()
    };
    kit::bare().await.create_stream(config).await.expect("a stream");
    let small = Topic::new(&format!("{topic}-small")).expect("a good name");
    let headers = [("long", &[b'h'; 70_000][..])].into_iter().collect();
    for (topic, record) in
        [(&small, Record::new(vec![b'x'; 1_000])), (&topic, Record::new("x").with_headers(headers))]
    {
        let answers = broker.publish(topic, vec![record]).get().await;
        let Err(error @ PublishError::TooLarge { .. }) = &answers[0] else { panic!("{answers:?}") };
        assert!(error.is_permanent() && error.to_string().contains("exceeds"), "{error}");
    }
    broker.close(kit::PATIENCE).await.expect("closes");
}
