//! What librdkafka reports as its own configuration after each setting was changed: the effect of
//! settings that no broker shows, such as the sizes of the consumer's buffers.

use super::*;
use rdkafka::ClientConfig;

type Change = fn(&mut KafkaConfig);

fn is_reported(client: fn(&KafkaConfig) -> ClientConfig, cases: &[(&str, &str, Change)]) {
    let reported = |config: &KafkaConfig, property| {
        let native = client(config).create_native_config().expect("valid properties");
        // librdkafka reports no value of a property without a default.
        native.get(property).ok()
    };
    for &(property, value, change) in cases {
        let mut config = KafkaConfig::default();
        assert_ne!(reported(&config, property).as_deref(), Some(value), "{property}'s default");
        change(&mut config);
        assert_eq!(config.validate(), Ok(()), "{property}");
        assert_eq!(reported(&config, property).as_deref(), Some(value), "{property}");
    }
}

#[test]
fn k5_the_member_reports_its_settings() {
    let cases: [(&str, &str, Change); 18] = [
        ("client.id", "billing", |c| c.client_id = "billing".to_owned()),
        ("group.id", "orders", |c| c.group = "orders".to_owned()),
        ("socket.connection.setup.timeout.ms", "7000", |c| c.connect_timeout = secs(7)),
        ("socket.timeout.ms", "8000", |c| c.request_timeout = secs(8)),
        ("group.instance.id", "one", |c| c.consumer.instance_id = Some("one".to_owned())),
        ("session.timeout.ms", "20000", |c| c.consumer.session_timeout = secs(20)),
        ("heartbeat.interval.ms", "1500", |c| c.consumer.heartbeat_interval = millis(1_500)),
        ("max.poll.interval.ms", "60000", |c| c.consumer.max_poll_interval = minutes(1)),
        ("auto.offset.reset", "largest", |c| c.consumer.offset_reset = OffsetReset::Latest),
        ("isolation.level", "read_uncommitted", |c| {
            c.consumer.isolation = Isolation::ReadUncommitted;
        }),
        ("partition.assignment.strategy", "roundrobin", |c| {
            c.consumer.assignment = Assignment::RoundRobin;
        }),
        ("group.protocol", "consumer", |c| c.consumer.assignment = Assignment::Broker),
        ("fetch.min.bytes", "1234", |c| c.consumer.fetch_min_bytes = 1_234),
        ("fetch.wait.max.ms", "77", |c| c.consumer.fetch_max_wait = millis(77)),
        ("fetch.max.bytes", "5000000", |c| c.consumer.fetch_max_bytes = 5_000_000),
        ("fetch.message.max.bytes", "54321", |c| c.consumer.fetch_partition_bytes = 54_321),
        ("queued.min.messages", "321", |c| c.consumer.prefetch_messages = 321),
        ("queued.max.messages.kbytes", "4321", |c| c.consumer.prefetch_kib = 4_321),
    ];
    is_reported(KafkaConfig::consumer, &cases);
}

#[test]
fn k5_the_producer_reports_its_settings() {
    let cases: [(&str, &str, Change); 12] = [
        ("client.id", "billing", |c| c.client_id = "billing".to_owned()),
        ("socket.connection.setup.timeout.ms", "7000", |c| c.connect_timeout = secs(7)),
        ("socket.timeout.ms", "8000", |c| c.request_timeout = secs(8)),
        ("linger.ms", "25", |c| c.producer.linger = millis(25)),
        ("batch.size", "20000", |c| c.producer.batch_bytes = 20_000),
        ("message.max.bytes", "3000000", |c| c.producer.max_message_bytes = 3_000_000),
        ("queue.buffering.max.messages", "99", |c| c.producer.queue_messages = 99),
        ("queue.buffering.max.kbytes", "999", |c| c.producer.queue_kib = 999),
        ("retries", "4", |c| c.producer.retries = 4),
        ("message.timeout.ms", "9000", |c| c.producer.publish_timeout = secs(9)),
        ("compression.codec", "zstd", |c| c.producer.compression = Compression::Zstd),
        ("partitioner", "murmur2_random", |c| c.producer.partitioner = Partitioner::Murmur2),
    ];
    is_reported(KafkaConfig::producer, &cases);
}
