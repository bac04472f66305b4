//! Unusual servers and unusual messages: each is refused by name or delivered.

use super::kit;
use async_nats::{HeaderMap, jetstream::stream::Config as StreamConfig};
use buslane_core::{Broker, TopicSettings, TopicStrategy};
use buslane_nats::{NatsBroker, NatsConfig, Partitions};
use buslane_testkit::{
    broker_suite::{bodies, publish, record, settle},
    deadline::within,
    server::{OwnServer, unique},
};
use std::{sync::Arc, time::Duration};
use tokio::{io::AsyncWriteExt, net::TcpListener};

async fn refused(servers: String) -> String {
    let config =
        NatsConfig { servers, connect_timeout: Duration::from_secs(2), ..kit::config("g") };
    let answer =
        within(kit::PATIENCE, "an answer within the connect timeout", NatsBroker::connect(config))
            .await;
    answer.expect_err("a refusal").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_a_server_that_is_not_there_is_named() {
    let error = refused("127.0.0.1:1".to_owned()).await;
    assert!(error.contains("127.0.0.1:1") && error.contains("refused"), "{error}");
    let error = refused("no-such-host.invalid:4222".to_owned()).await;
    assert!(error.contains("no-such-host.invalid:4222"), "{error}");
    // A server that accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("bound").to_string();
    let error = refused(address.clone()).await;
    assert!(error.contains(&address), "{error}");
}

/// All servers of the list are tried.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_any_server_of_the_list_will_do() {
    let config =
        NatsConfig { servers: format!("127.0.0.1:1,{}", kit::servers()), ..kit::config("g") };
    let broker = NatsBroker::connect(config).await.expect("the second server answers");
    broker.close(kit::PATIENCE).await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_a_server_without_jetstream_is_named() {
    let server = tokio::task::spawn_blocking(|| OwnServer::nats("jetstream: false\n"))
        .await
        .expect("a server");
    let address = server.address.replace("nats://", "");
    let error = refused(address.clone()).await;
    assert!(error.contains("JetStream") && error.contains(&address), "{error}");
}

/// A server ignores settings that it does not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n2_a_server_that_is_too_old_is_named_with_its_version() {
    let old = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = old.local_addr().expect("bound").to_string();
    let serve = tokio::spawn(async move {
        let (mut stream, _) = old.accept().await.expect("a connection");
        let info =
            r#"{"server_id":"x","version":"2.8.4","proto":1,"headers":true,"max_payload":1048576}"#;
        stream.write_all(format!("INFO {info}\r\nPONG\r\n").as_bytes()).await.expect("written");
        std::future::pending::<()>().await;
    });
    let error = refused(address).await;
    assert!(error.contains("2.8.4") && error.contains("2.9.0"), "{error}");
    serve.abort();
}

/// Messages of other programs: without headers, with odd ones, without a payload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e6_messages_of_foreign_publishers_arrive() {
    let topic = kit::name("foreign");
    let mut member = kit::member(kit::config(&unique("g")), &topic).await;
    let jetstream = kit::bare().await;
    let mut headers = HeaderMap::new();
    for (name, value) in
        [("X-Aggregate-ID", "order-1"), ("Buslane-Headers", "%%%=&==&"), ("Buslane-Key", "no sign")]
    {
        headers.insert(name, value);
    }
    jetstream.publish(topic.to_string(), "".into()).await.expect("sent").await.expect("stored");
    let sent = jetstream
        .publish_with_headers(topic.to_string(), headers, "body".into())
        .await
        .expect("sent");
    sent.await.expect("stored");
    let got = member.take(2).await;
    assert_eq!(bodies(&got), ["", "body"]);
    assert_eq!((got[0].message.key.clone(), got[0].message.headers.is_empty()), (None, true));
    assert_eq!(got[1].message.key, None, "a key that cannot be read is none");
    settle(got);
    member.close().await;
}

/// The consumer is deleted while the member reads, then the stream: the member goes on with the
/// next messages, and repeats none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n2_a_consumer_that_is_gone_is_created_again() {
    let (group, topic) = (unique("g"), kit::name("orders"));
    let mut member = kit::member(kit::config(&group), &topic).await;
    publish(&member.broker, &topic, kit::numbers(0..5)).await;
    settle(member.take(5).await);
    let jetstream = kit::bare().await;
    let stream = jetstream.get_stream_no_info(topic.as_str()).await.expect("a handle");
    // Sometimes before the server has received the acknowledgements.
    for n in 1..6 {
        stream.delete_consumer(&format!("{group}@{topic}")).await.expect("deleted");
        publish(&member.broker, &topic, kit::numbers(5 * n..5 * n + 5)).await;
        let got = member.take(5).await;
        assert_eq!(bodies(&got), kit::texts(5 * n..5 * n + 5));
        settle(got);
    }
    jetstream.delete_stream(topic.as_str()).await.expect("deleted");
    publish(&member.broker, &topic, kit::numbers(30..35)).await;
    let got = member.take(5).await;
    assert_eq!(bodies(&got), kit::texts(30..35));
    settle(got);
    member.close().await;
}

/// The server chooses the partition by its own mapping, and appends the key as a token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n5_the_servers_subject_mapping_may_choose_the_partition() {
    let config = "mappings { \"placed.*\": \"orders.{{partition(4,1)}}.{{wildcard(1)}}\" }\n";
    let server = tokio::task::spawn_blocking(|| OwnServer::nats(config)).await.expect("a server");
    let mut own = kit::config("g");
    own.servers = server.address.replace("nats://", "");
    own.stream.partitions = Partitions::Exactly(4);
    let topic = buslane_core::Topic::new("orders").expect("a name");
    let mut member = kit::member(own, &topic).await;
    member.until_assigned(4).await;
    let client = async_nats::connect(server.address.clone()).await.expect("connected");
    let jetstream = async_nats::jetstream::new(client);
    for n in 0..40 {
        let subject = format!("placed.order-{}", n % 10);
        jetstream
            .publish(subject, n.to_string().into())
            .await
            .expect("sent")
            .await
            .expect("stored");
    }
    let got = member.take(40).await;
    let mut partitions = std::collections::HashMap::new();
    for delivery in &got {
        let n: usize = bodies(std::slice::from_ref(delivery))[0].parse().expect("a number");
        let partition = delivery.message.partition();
        assert_eq!(
            *partitions.entry(n % 10).or_insert(partition),
            partition,
            "a key has one partition"
        );
    }
    settle(got);
    member.close().await;
}

/// The stream of one topic would cover the other: the error has the server's reason and the topic.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n2_streams_that_overlap_are_refused() {
    let name = unique("a");
    let config = StreamConfig {
        name: unique("s"),
        subjects: vec![format!("{name}.3.*")],
        ..StreamConfig::default()
    };
    kit::bare().await.create_stream(config).await.expect("a stream");
    let broker: Arc<dyn Broker> =
        Arc::new(NatsBroker::connect(kit::config("g")).await.expect("connected"));
    let topic = buslane_core::Topic::new(&name).expect("a name");
    let four = TopicSettings { partitions: Some(4), ..TopicSettings::default() };
    let error = broker
        .configure_topic(&topic, &four, TopicStrategy::CreateOnly)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains(&name) && error.contains("overlap"), "{error}");
    publish(&broker, &topic, vec![record("k", "without partitions it fits")]).await;
    broker.close(kit::PATIENCE).await.expect("closes");
}
