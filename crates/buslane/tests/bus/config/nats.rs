//! The section of NATS.

use buslane::config::{Config, NatsPartitions, NatsStart, NatsStorage};
use std::time::Duration;

pub(crate) const YAML: &str = "
url: nats://one:4222,two
nats:
  client_name: billing-1
  connect_timeout: 5s
  request_timeout: 4s
  ping_interval: 3s
  ephemeral: [ticks]
  consumer:
    start: latest
    ack_wait: 20s
    max_deliver: 9
    backoff: [1s, 5s]
    max_ack_pending: 200000
    replicas: 3
    memory_storage: true
    prefetch: 7
    expires: 40s
    heartbeat: 8s
    drain_deadline: 9s
    lease: 11s
  publisher: { max_in_flight: 12, duplicate_window: 30s }
  stream: { create: false, partitions: 6, replication: 3, retention: 1h, retention_bytes: 4096, storage: memory }
  security:
    tls: { ca_file: /ca, certificate_file: /cert, key_file: /key }
    login: { user: billing, password: hidden-word }
";

/// Every key that has no default, those of the other logins too.
pub(crate) const KEYS: [&str; 3] = [
    "nats.security.login.token",
    "nats.security.login.nkey_seed",
    "nats.security.login.credentials_file",
];

const TOML: &str = r#"
url = "nats://one:4222,two"

[nats]
client_name = "billing-1"
connect_timeout = "5s"
request_timeout = "4s"
ping_interval = "3s"
ephemeral = ["ticks"]
consumer.start = "latest"
consumer.ack_wait = "20s"
consumer.max_deliver = 9
consumer.backoff = ["1s", "5s"]
consumer.max_ack_pending = 200000
consumer.replicas = 3
consumer.memory_storage = true
consumer.prefetch = 7
consumer.expires = "40s"
consumer.heartbeat = "8s"
consumer.drain_deadline = "9s"
consumer.lease = "11s"
publisher = { max_in_flight = 12, duplicate_window = "30s" }
stream = { create = false, partitions = 6, replication = 3, retention = "1h", retention_bytes = 4096, storage = "memory" }
security.tls = { ca_file = "/ca", certificate_file = "/cert", key_file = "/key" }
security.login = { user = "billing", password = "hidden-word" }
"#;

fn refused(text: &str) -> String {
    Config::parse_yaml(text).expect_err(text).to_string()
}

#[test]
fn n3_every_key_is_read_from_yaml_and_toml() {
    let config = Config::parse_yaml(YAML).unwrap();
    assert_eq!(config, Config::parse_toml(TOML).unwrap());
    let nats = &config.nats;
    assert_eq!(
        (nats.client_name.as_str(), nats.ephemeral.as_slice()),
        ("billing-1", &["ticks".to_owned()][..])
    );
    assert_eq!((nats.consumer.start, nats.consumer.max_deliver), (NatsStart::Latest, Some(9)));
    assert_eq!(nats.consumer.backoff, [Duration::from_secs(1), Duration::from_secs(5)]);
    assert_eq!(
        (nats.stream.partitions, nats.stream.storage),
        (NatsPartitions::Exactly(6), Some(NatsStorage::Memory))
    );
    assert_eq!(
        nats.security.login.as_ref().unwrap().password.as_ref().unwrap().expose(),
        "hidden-word"
    );
    let printed = format!("{config:?}") + &serde_json::to_string(&config).unwrap();
    assert!(!printed.contains("hidden"), "{printed}");
}

#[test]
fn n3_rules_name_the_key_of_nats() {
    for (text, expected) in [
        ("client_name: ' '", "client_name: must not be blank, found \" \""),
        (
            "ephemeral: [a/b]",
            "ephemeral[0]: must be a topic name: allowed are A-Z a-z 0-9 . _ -, found \"a/b\"",
        ),
        (
            "consumer: { ack_wait: 99ms }",
            "consumer.ack_wait: must be from 100ms to 24h, found 99ms",
        ),
        (
            "consumer: { backoff: [1s, 0s] }",
            "consumer.backoff: must be from 100ms to 24h, found 0s",
        ),
        (
            "consumer: { backoff: [1s, 2s], max_deliver: 2 }",
            "consumer.max_deliver: must be more than nats.consumer.backoff has entries (2), found 2",
        ),
        (
            "consumer: { heartbeat: 16s }",
            "consumer.heartbeat: must be at most half of nats.consumer.expires (30s), found 16s",
        ),
        ("consumer: { prefetch: 0 }", "consumer.prefetch: must be from 1 to 50000, found 0"),
        (
            "consumer: { max_ack_pending: 70000 }",
            "keyed_pool.failing_messages: must be less than nine tenths of nats.consumer.max_ack_pending (63000), found 64000",
        ),
        ("stream: { partitions: 0 }", "stream.partitions: must be from 1 to 1024, found 0"),
        ("stream: { partitions: 1025 }", "stream.partitions: must be from 1 to 1024, found 1025"),
        ("stream: { retention_bytes: 0 }", "stream.retention_bytes: must be at least 1, found 0"),
        (
            "security: { tls: { key_file: k } }",
            "security.tls.key_file: needs certificate_file beside it, found none",
        ),
        (
            "security: { login: { user: u } }",
            "security.login.user: needs password beside it, found none",
        ),
        (
            "security: { login: {} }",
            "security.login: must be one of user and password, token, nkey_seed, credentials_file, found 0 of them",
        ),
        (
            "security: { login: { token: t, nkey_seed: s } }",
            "security.login: must be one of user and password, token, nkey_seed, credentials_file, found 2 of them",
        ),
    ] {
        assert_eq!(refused(&format!("nats: {{ {text} }}")), format!("nats.{expected}"));
    }
}

#[test]
fn n3_rules_of_the_bus_on_nats_are_checked_with_its_url() {
    for (text, expected) in [
        (
            "url: nats://h:0",
            "url: must be nats://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT], found \"nats://h:0\"",
        ),
        (
            "url: nats://h\ngroup: a b",
            "group: must be at most 100 characters of A-Z a-z 0-9 . _ - on NATS, found \"a b\"",
        ),
        (
            "url: nats://u:hidden@h\nnats: { security: { login: { token: hidden } } }",
            "nats.security.login: must be left out: the URL has a login, found both",
        ),
        (
            "url: nats://u:hidden@h,v:hidden@i",
            "url: must have the same login for every server, found \"nats://***@i\"",
        ),
    ] {
        assert_eq!(refused(text), expected);
    }
}
