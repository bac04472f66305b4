//! The section of Kafka.

use buslane::TopicCompression;
use buslane::config::{
    Config, ConfigError, KafkaAssignment, KafkaCompression, KafkaIsolation, KafkaLoginConfig,
    KafkaMechanism, KafkaOffsetReset, KafkaPartitioner, KafkaTlsConfig, KafkaTopicConfig,
};
use std::time::Duration;

pub(crate) const YAML: &str = "
url: kafka://one:9092,two:9093
kafka:
  client_id: billing-1
  connect_timeout: 5s
  request_timeout: 20s
  consumer:
    offset_reset: latest
    assignment: round_robin
    instance_id: billing-a
    session_timeout: 30s
    heartbeat_interval: 2s
    max_poll_interval: 2m
    isolation: read_uncommitted
    fetch_min_bytes: 2
    fetch_max_wait: 100ms
    fetch_max_bytes: 2000000
    fetch_partition_bytes: 300000
    prefetch_messages: 7
    prefetch_kib: 8
    drain_deadline: 9s
    commit_interval: 250ms
    commit_every: 11
    metadata_limit: 0
  producer:
    compression: zstd
    partitioner: murmur2
    linger: 5ms
    batch_bytes: 12
    max_message_bytes: 1300
    queue_messages: 14
    queue_kib: 15
    retries: 16
  security:
    tls: { ca_file: /ca, certificate_file: /cert, key_file: /key, key_password: hidden-key }
    login: { mechanism: scram_sha_512, user: billing, password: hidden-word }
  create_missing: { partitions: 6, replication: 3, retention: 1h, retention_bytes: 4096, compression: zstd }
  properties: { socket.keepalive.enable: 'true', sasl.oauthbearer.client.secret: hidden-too }
";

const TOML: &str = r#"
url = "kafka://one:9092,two:9093"

[kafka]
client_id = "billing-1"
connect_timeout = "5s"
request_timeout = "20s"
create_missing = { partitions = 6, replication = 3, retention = "1h", retention_bytes = 4096, compression = "zstd" }
properties = { "socket.keepalive.enable" = "true", "sasl.oauthbearer.client.secret" = "hidden-too" }

[kafka.consumer]
offset_reset = "latest"
assignment = "round_robin"
instance_id = "billing-a"
session_timeout = "30s"
heartbeat_interval = "2s"
max_poll_interval = "2m"
isolation = "read_uncommitted"
fetch_min_bytes = 2
fetch_max_wait = "100ms"
fetch_max_bytes = 2000000
fetch_partition_bytes = 300000
prefetch_messages = 7
prefetch_kib = 8
drain_deadline = "9s"
commit_interval = "250ms"
commit_every = 11
metadata_limit = 0

[kafka.producer]
compression = "zstd"
partitioner = "murmur2"
linger = "5ms"
batch_bytes = 12
max_message_bytes = 1300
queue_messages = 14
queue_kib = 15
retries = 16

[kafka.security]
tls = { ca_file = "/ca", certificate_file = "/cert", key_file = "/key", key_password = "hidden-key" }
login = { mechanism = "scram_sha_512", user = "billing", password = "hidden-word" }
"#;

fn refused(text: &str) -> String {
    Config::parse_yaml(text).unwrap_err().to_string()
}

#[test]
fn k5_yaml_and_toml_say_the_same_of_kafka() {
    let config = Config::parse_yaml(YAML).unwrap();
    assert_eq!(config, Config::parse_toml(TOML).unwrap());

    let mut expected = Config::new("kafka://one:9092,two:9093").unwrap();
    let kafka = &mut expected.kafka;
    kafka.client_id = "billing-1".to_owned();
    kafka.connect_timeout = Duration::from_secs(5);
    kafka.request_timeout = Duration::from_secs(20);
    let consumer = &mut kafka.consumer;
    consumer.offset_reset = KafkaOffsetReset::Latest;
    consumer.assignment = KafkaAssignment::RoundRobin;
    consumer.instance_id = Some("billing-a".to_owned());
    consumer.session_timeout = Duration::from_secs(30);
    consumer.heartbeat_interval = Duration::from_secs(2);
    consumer.max_poll_interval = Duration::from_secs(120);
    consumer.isolation = KafkaIsolation::ReadUncommitted;
    consumer.fetch_min_bytes = 2;
    consumer.fetch_max_wait = Duration::from_millis(100);
    consumer.fetch_max_bytes = 2_000_000;
    consumer.fetch_partition_bytes = 300_000;
    consumer.prefetch_messages = 7;
    consumer.prefetch_kib = 8;
    consumer.drain_deadline = Duration::from_secs(9);
    consumer.commit_interval = Duration::from_millis(250);
    consumer.commit_every = 11;
    consumer.metadata_limit = 0;
    let producer = &mut kafka.producer;
    producer.compression = KafkaCompression::Zstd;
    producer.partitioner = KafkaPartitioner::Murmur2;
    producer.linger = Duration::from_millis(5);
    producer.batch_bytes = 12;
    producer.max_message_bytes = 1300;
    producer.queue_messages = 14;
    producer.queue_kib = 15;
    producer.retries = 16;
    kafka.security.tls = Some(KafkaTlsConfig {
        ca_file: Some("/ca".to_owned()),
        certificate_file: Some("/cert".to_owned()),
        key_file: Some("/key".to_owned()),
        key_password: Some("hidden-key".into()),
    });
    kafka.security.login =
        Some(KafkaLoginConfig::new(KafkaMechanism::ScramSha512, "billing", "hidden-word"));
    kafka.create_missing = Some(KafkaTopicConfig {
        partitions: Some(6),
        replication: Some(3),
        retention: Some(Duration::from_secs(3600)),
        retention_bytes: Some(4096),
        compression: Some(TopicCompression::Zstd),
    });
    kafka.properties.insert("socket.keepalive.enable".to_owned(), "true".into());
    kafka.properties.insert("sasl.oauthbearer.client.secret".to_owned(), "hidden-too".into());
    assert_eq!(config, expected);
}

#[test]
fn k5_unknown_keys_of_kafka_are_refused() {
    for section in [
        "",
        "consumer.",
        "producer.",
        "security.",
        "security.tls.",
        "security.login.",
        "create_missing.",
    ] {
        let path = format!("kafka.{section}colour");
        let yaml = path.replace('.', ": {") + ": 1" + &"}".repeat(path.matches('.').count());
        for result in [Config::parse_yaml(&yaml), Config::parse_toml(&format!("{path} = 1"))] {
            let text = result.unwrap_err().to_string();
            assert!(text.contains(&format!("{path}: unknown field `colour`, expected ")), "{text}");
        }
    }
}

#[test]
fn k5_keys_of_the_predecessor_are_refused_with_their_replacement() {
    for (key, replacement) in [
        ("required_acks", "all in-sync replicas"),
        ("flush_frequency", "kafka.producer.linger"),
        ("flush_messages", "kafka.producer.batch_bytes"),
        ("retry_max", "kafka.producer.retries"),
        ("timeout", "publish_timeout"),
        ("producer.timeout", "publish_timeout"),
        ("batch_size", "kafka.producer.batch_bytes"),
        ("producer.batch_size", "kafka.producer.batch_bytes"),
        ("group_id", "group"),
        ("consumer.group_id", "group"),
        ("auto_offset_reset", "kafka.consumer.offset_reset"),
        ("consumer.auto_offset_reset", "kafka.consumer.offset_reset"),
        ("buffer_size", "kafka.producer.queue_messages"),
        ("max_processing_time", "wait_timeout of kafka.keyed_pool"),
        ("net.dial_timeout", "kafka.connect_timeout"),
        ("net.read_timeout", "kafka.request_timeout"),
        ("net.write_timeout", "kafka.request_timeout"),
        ("producer.required_acks", "all in-sync replicas"),
        ("\"net.dial_timeout\"", "kafka.connect_timeout"),
    ] {
        let text = Config::parse_toml(&format!("kafka.{key} = 1")).unwrap_err().to_string();
        let named = text.contains(": kafka.")
            && text.contains(replacement)
            && !text.contains("unknown field");
        assert!(named, "{key}: {text}");
    }
    let text = refused("kafka: { retry_max: 3 }");
    assert_eq!(text, "YAML line 1, column 10: kafka.retry_max: is kafka.producer.retries now");
    assert!(refused("retry_max: 3").contains("unknown field"));
}

#[test]
fn k5_a_key_without_a_value_is_not_the_default() {
    let config = Config::parse_yaml("kafka:\n  security:\n    tls:\n  create_missing:\n").unwrap();
    assert_eq!(
        config.kafka.security.tls,
        Some(KafkaTlsConfig::default()),
        "encryption is not off in silence"
    );
    assert_eq!(config.kafka.create_missing, Some(KafkaTopicConfig::default()));
    let login = "{ mechanism: plain, user: a, password: 0123 }";
    let config = Config::parse_yaml(&format!(
        "kafka: {{ security: {{ login: {login} }}, properties: {{ a: true }} }}"
    ));
    let config = config.unwrap().kafka.settings;
    assert_eq!(
        config.security.login.unwrap().password.unwrap().expose(),
        "0123",
        "a text needs no quotes in YAML"
    );
    assert_eq!(config.properties["a"].expose(), "true");
    for text in
        ["consumer: { instance_id: }", "security: { tls: { ca_file: } }", "security: { login: }"]
    {
        refused(&format!("kafka: {{ {text} }}"));
    }
}

#[test]
fn k5_secrets_of_kafka_are_never_printed() {
    let config = Config::parse_yaml(YAML).unwrap();
    let printed = format!("{config:?} {config:#?}")
        + &serde_json::to_string(&config).unwrap()
        + &toml::to_string(&config).unwrap();
    assert!(!printed.contains("hidden") && printed.contains("***"), "{printed}");
    assert_eq!(
        config.kafka.settings.security.login.unwrap().password.unwrap().expose(),
        "hidden-word"
    );

    // Where a value of the wrong kind stands, or a secret in the wrong place.
    for text in [
        "kafka.security.login = 'hidden'",
        "kafka.security.tls = 'hidden'",
        "kafka.security = 'hidden'",
        "kafka.properties = 'hidden'",
        "kafka.security.login = { mechanism = 'plain', user = 'a', password = ['hidden'] }",
        "kafka.security.login = { mechanism = 'plain', user = 'a', password = 4711 }",
        "kafka.security.login = { mechanism = 'plain', user = 'a', password = 47.11 }",
        "kafka.security.login = { mechanism = 'plain', user = 4711, password = 'hidden' }",
        "kafka.security.tls.key_password = 4711",
        "kafka.properties = { 'ssl.key.password' = 4711 }",
        "url = 'kafka://u:hidden@host:9092'",
    ] {
        let error = Config::parse_toml(text).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(
            !["hidden", "4711", "47.11"].iter().any(|secret| shown.contains(secret)),
            "{text}: {shown}"
        );
    }
    for text in [
        "security: { login: hidden }",
        "security: { tls: hidden }",
        "security: { tls: [hidden] }",
        "properties: hidden",
        "properties: { a: [hidden] }",
        "security: { login: { password: { hidden: 1 } } }",
    ] {
        let shown = refused(&format!("kafka: {{ {text} }}"));
        assert!(!shown.contains("hidden"), "{text}: {shown}");
    }
}

#[test]
fn k5_the_url_holds_hosts_and_ports_alone() {
    for (url, shown) in [
        ("kafka://u:se/cr?et,secret@@host:1,other:2", "kafka://***@host:1,other:2"),
        ("kafka://user:secret@host:9092", "kafka://***@host:9092"),
    ] {
        let text = Config::new(url).unwrap_err().to_string();
        let rule = "must not hold user and password: set kafka.security.login";
        assert_eq!(text, format!("url: {rule}, found {shown:?}"));
    }
    for hosts in
        ["h", "h:0", "h:65536", ":9092", "h:9092,", "h:9092/", "h:9092?a=b", "a/b:9092", ","]
    {
        let error = Config::new(&format!("kafka://{hosts}")).unwrap_err();
        let ConfigError::Rule { key, rule, .. } = &error else { panic!("{error:?}") };
        assert_eq!(
            (key.as_str(), rule.as_str()),
            ("url", "must be kafka://HOST:PORT,HOST:PORT"),
            "{hosts}"
        );
    }
    for hosts in ["h:9092", "a:1,b:65535", "[::1]:9092"] {
        Config::new(&format!("kafka://{hosts}")).unwrap();
    }
}

#[test]
fn k5_rules_name_the_key_of_kafka() {
    for (text, expected) in [
        ("client_id: ' '", "client_id: must not be blank, found \" \""),
        ("connect_timeout: 10ms", "connect_timeout: must be from 1s to 24h, found 10ms"),
        ("request_timeout: 6m", "request_timeout: must be from 10ms to 5m, found 6m"),
        (
            "consumer: { heartbeat_interval: 20s }",
            "consumer.heartbeat_interval: must be at most a third of session_timeout (10s), found 20s",
        ),
        (
            "consumer: { session_timeout: 10m }",
            "consumer.session_timeout: must be at most max_poll_interval (5m), found 10m",
        ),
        (
            "consumer: { drain_deadline: 5m }",
            "consumer.drain_deadline: must be less than max_poll_interval (5m), found 5m",
        ),
        (
            "consumer: { fetch_max_wait: 500us }",
            "consumer.fetch_max_wait: must be whole milliseconds, found 500us",
        ),
        (
            "consumer: { fetch_max_bytes: 1 }",
            "consumer.fetch_max_bytes: must be from 1000000 to 2147483135, found 1",
        ),
        (
            "consumer: { prefetch_kib: 0 }",
            "consumer.prefetch_kib: must be from 1 to 2097151, found 0",
        ),
        ("consumer: { commit_every: 0 }", "consumer.commit_every: must be at least 1, found 0"),
        (
            "producer: { linger: 10s }",
            "producer.linger: must be less than publish_timeout (10s), found 10s",
        ),
        ("producer: { retries: 0 }", "producer.retries: must be from 1 to 2147483647, found 0"),
        (
            "producer: { max_message_bytes: 999 }",
            "producer.max_message_bytes: must be from 1000 to 1000000000, found 999",
        ),
        (
            "security: { tls: { key_file: k } }",
            "security.tls.key_file: needs certificate_file beside it, found none",
        ),
        (
            "security: { login: { mechanism: plain, user: a } }",
            "security.login.password: is needed for this mechanism, found none",
        ),
        (
            "security: { login: { mechanism: oauthbearer } }",
            "security.login.token_file: is needed for this mechanism, found none",
        ),
        (
            "security: { login: { mechanism: oauthbearer, token_file: f, password: hidden } }",
            "security.login.password: must be left out for this mechanism, found one",
        ),
        (
            "security: { login: { mechanism: plain, user: a, password: hidden, token_file: f } }",
            "security.login.token_file: must be left out for this mechanism, found one",
        ),
        (
            "security: { login: { mechanism: oauthbearer, token_file: ' ' } }",
            "security.login.token_file: must not be blank, found \" \"",
        ),
        (
            "create_missing: { partitions: 0 }",
            "create_missing.partitions: must be at least 1, found 0",
        ),
        (
            "create_missing: { replication: 40000 }",
            "create_missing.replication: must be at most 32767, found 40000",
        ),
        (
            "create_missing: { retention: 0s }",
            "create_missing.retention: must be at least 1ms, found 0s",
        ),
    ] {
        assert_eq!(refused(&format!("kafka: {{ {text} }}")), format!("kafka.{expected}"));
    }
    let brokers_decide = "kafka: { consumer: { assignment: broker, heartbeat_interval: 20s } }";
    Config::parse_yaml(brokers_decide).unwrap();
}
