//! Trace contexts between a bus and a foreign client. SPEC: O5

use buslane::{Config, EventBus, Message, TopicSettings, TopicStrategy};
use buslane_testkit::{deadline::within, server};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{Header, Headers as _, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use std::time::Duration;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const STATE: &str = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";
const PATIENCE: Duration = buslane_testkit::deadline::LIMIT;

fn client() -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", server::address("KAFKA_BOOTSTRAP_SERVERS"))
        .set("group.id", "bare");
    client
}

/// The body and the headers of the first message of a partition.
fn first_of(topic: &str, partition: u32) -> (String, Vec<(String, String)>) {
    let consumer: BaseConsumer = client().create().expect("a client");
    let mut list = TopicPartitionList::new();
    let partition = i32::try_from(partition).expect("few partitions");
    list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
    consumer.assign(&list).expect("assigned");
    let message = consumer.poll(PATIENCE).expect("a message in time").expect("no error");
    let text =
        |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let headers = message.headers().map(|headers| {
        headers.iter().map(|Header { key, value }| (key.to_owned(), text(value))).collect()
    });
    (text(message.payload()), headers.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o5_another_client_begins_a_trace_and_finds_it_again() {
    let (topic, next) = (server::unique("begun"), server::unique("continued"));
    let mut config =
        Config::new(&format!("kafka://{}", server::address("KAFKA_BOOTSTRAP_SERVERS")))
            .expect("a URL");
    config.group = server::unique("traces");
    let bus = EventBus::connect(config).await.expect("a broker that answers");
    let settings = TopicSettings { partitions: Some(1), ..TopicSettings::default() };
    for topic in [&topic, &next] {
        bus.configure_topic(topic, &settings, TopicStrategy::CreateOnly)
            .await
            .expect("a new topic");
    }
    let (done, mut receipts) = tokio::sync::mpsc::channel(1);
    let (publisher, to) = (bus.clone(), next.clone());
    let handler = move |message: Message| {
        let (bus, to, done) = (publisher.clone(), to.clone(), done.clone());
        async move {
            let receipt = bus.publish(&to, message.payload).await.expect("published");
            done.send(receipt).await.expect("the test waits for it");
        }
    };
    bus.subscribe(&topic, handler).await.expect("subscribes");

    let producer: FutureProducer = client().create().expect("a client");
    let headers = OwnedHeaders::new()
        .insert(Header { key: "traceparent", value: Some(PARENT) })
        .insert(Header { key: "tracestate", value: Some(STATE) });
    let record = FutureRecord::<str, str>::to(&topic).payload("begun").headers(headers);
    producer.send(record, PATIENCE).await.expect("stored");

    let receipt =
        within(PATIENCE, "the handler has published", receipts.recv()).await.expect("a receipt");
    let (body, headers) = tokio::task::spawn_blocking(move || first_of(&next, receipt.partition))
        .await
        .expect("read");
    assert_eq!(body, "begun");
    let expected = [("traceparent", PARENT), ("tracestate", STATE)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(headers, expected);
    bus.shutdown(PATIENCE).await.expect("it reports");
}
