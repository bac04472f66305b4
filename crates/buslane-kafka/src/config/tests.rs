//! Each rule is enforced, and librdkafka creates clients from every valid configuration.

use super::{properties::CONTROLLED, *};
use crate::KafkaConfigError;
use rdkafka::{consumer::BaseConsumer, producer::BaseProducer};
use std::collections::BTreeSet;

fn refusal(change: impl Fn(&mut KafkaConfig)) -> String {
    let mut config = KafkaConfig::default();
    change(&mut config);
    config.validate().expect_err("a rule is broken").to_string()
}

fn with_property(name: &str, value: &str) -> KafkaConfig {
    KafkaConfig {
        properties: BTreeMap::from([(name.to_owned(), value.into())]),
        ..KafkaConfig::default()
    }
}

/// Creates the clients of a valid configuration. None of them connects.
fn make(config: &KafkaConfig) -> Result<(), KafkaConfigError> {
    config.validate()?;
    config.consumer().create::<BaseConsumer>()?;
    config.producer().create::<BaseProducer>()?;
    Ok(())
}

#[test]
fn k5_the_default_makes_clients() {
    assert_eq!(make(&KafkaConfig::default()), Ok(()));
}

#[test]
fn k5_each_broken_rule_names_its_setting() {
    type Change = fn(&mut KafkaConfig);
    let cases: [(&str, Change); 27] = [
        ("brokers", |c| c.brokers = " ".to_owned()),
        ("brokers", |c| c.brokers = "localhost".to_owned()),
        ("brokers", |c| c.brokers = "localhost:0".to_owned()),
        ("brokers", |c| c.brokers = "a:1,:2".to_owned()),
        ("brokers", |c| c.brokers = "a:1,".to_owned()),
        ("group", |c| c.group = String::new()),
        ("client_id", |c| c.client_id = "\t".to_owned()),
        ("connect_timeout", |c| c.connect_timeout = Duration::ZERO),
        ("connect_timeout", |c| c.connect_timeout = Duration::from_millis(999)),
        ("request_timeout", |c| c.request_timeout = Duration::from_hours(25)),
        ("consumer.session_timeout", |c| c.consumer.session_timeout = Duration::from_secs(301)),
        ("consumer.session_timeout", |c| {
            c.consumer.max_poll_interval = Duration::from_hours(3);
            c.consumer.session_timeout = Duration::from_hours(2);
        }),
        ("consumer.heartbeat_interval", |c| {
            c.consumer.heartbeat_interval = Duration::from_secs(16)
        }),
        ("consumer.max_poll_interval", |c| c.consumer.max_poll_interval = Duration::from_nanos(1)),
        ("consumer.drain_deadline", |c| c.consumer.drain_deadline = c.consumer.max_poll_interval),
        ("consumer.commit_interval", |c| c.consumer.commit_interval = Duration::ZERO),
        ("consumer.commit_every", |c| c.consumer.commit_every = 0),
        ("consumer.fetch_min_bytes", |c| c.consumer.fetch_min_bytes = 0),
        ("consumer.fetch_max_bytes", |c| c.consumer.fetch_max_bytes = 0),
        ("consumer.fetch_partition_bytes", |c| c.consumer.fetch_partition_bytes = 0),
        ("consumer.prefetch_messages", |c| c.consumer.prefetch_messages = 0),
        ("consumer.prefetch_kib", |c| c.consumer.prefetch_kib = u32::MAX),
        ("producer.publish_timeout", |c| c.producer.publish_timeout = Duration::ZERO),
        ("producer.max_message_bytes", |c| c.producer.max_message_bytes = 1),
        ("producer.batch_bytes", |c| c.producer.batch_bytes = 0),
        ("producer.queue_kib", |c| c.producer.queue_kib = 0),
        ("producer.retries", |c| c.producer.retries = u32::MAX),
    ];
    for (setting, change) in cases {
        let error = refusal(change);
        let named = error.strip_prefix("kafka.").and_then(|rest| rest.strip_prefix(setting));
        assert!(named.is_some_and(|rest| rest.starts_with([' ', ':'])), "{setting}: {error}");
    }
}

/// The error of two conflicting settings names both.
#[test]
fn k5_a_conflict_names_both_settings() {
    type Change = fn(&mut KafkaConfig);
    let cases: [([&str; 2], Change); 4] = [
        (["consumer.heartbeat_interval", "session_timeout"], |c| {
            c.consumer.session_timeout = Duration::from_secs(6);
        }),
        (["consumer.session_timeout", "max_poll_interval"], |c| {
            c.consumer.max_poll_interval = Duration::from_secs(9);
        }),
        (["consumer.drain_deadline", "max_poll_interval"], |c| {
            c.consumer.drain_deadline = Duration::from_secs(300);
        }),
        (["producer.linger", "publish_timeout"], |c| c.producer.linger = Duration::from_secs(10)),
    ];
    for (settings, change) in cases {
        let error = refusal(change);
        assert!(settings.iter().all(|setting| error.contains(setting)), "{settings:?}: {error}");
    }
}

/// A property that belongs to a setting is refused with any value, and the error names the setting.
#[test]
fn k5_a_controlled_property_is_refused_and_names_what_to_use() {
    for (property, instead) in CONTROLLED {
        let error = with_property(property, "1").validate().expect_err("a conflict").to_string();
        assert!(error.contains(property) && error.contains(instead), "{error}");
    }
}

/// A property that a user passes through would silently lose against the bus's value, so every
/// property that the bus sets is refused.
#[test]
fn k5_whatever_the_bus_sets_cannot_be_passed_through() {
    let file = Some("file.pem".to_owned());
    let login = Login::new(Mechanism::Plain, "alice", "secret");
    let tls = Tls {
        ca_file: file.clone(),
        certificate_file: file.clone(),
        key_file: file,
        key_password: Some("secret".into()),
    };
    let mut config = KafkaConfig {
        security: Security { tls: Some(tls), login: Some(login) },
        ..KafkaConfig::default()
    };
    config.consumer.instance_id = Some("one".to_owned());
    let mut set: BTreeSet<String> = BTreeSet::new();
    for assignment in [Assignment::CooperativeSticky, Assignment::Broker] {
        config.consumer.assignment = assignment;
        for client in [config.consumer(), config.producer()] {
            set.extend(client.config_map().keys().map(|name| (*name).to_owned()));
        }
    }
    // A passed-through value replaces the default of the bus.
    let defaults = ["fetch.queue.backoff.ms", "topic.metadata.refresh.interval.ms"];
    for property in set.iter().filter(|property| !defaults.contains(&property.as_str())) {
        assert!(
            CONTROLLED.iter().any(|(name, _)| name == property),
            "{property} is set and not refused"
        );
    }
    for property in defaults {
        let client = with_property(property, "777").consumer();
        assert_eq!(client.get(property), Some("777"));
    }
}

#[test]
fn k5_a_property_goes_through_or_is_refused_by_name() {
    let config = with_property("statistics.interval.ms", "60000");
    assert_eq!(make(&config), Ok(()));
    for client in [config.consumer(), config.producer()] {
        assert_eq!(client.get("statistics.interval.ms"), Some("60000"));
    }
    for (property, value) in [("no.such.property", "1"), ("statistics.interval.ms", "often")] {
        let error = with_property(property, value).validate().expect_err("no such thing");
        assert!(matches!(error, KafkaConfigError::Property { .. }), "{error:?}");
        assert!(
            error.to_string().contains(property) && error.to_string().contains(value),
            "{error}"
        );
    }
}

/// Each value is valid alone, but not both together. The creation of the clients finds that.
#[test]
fn k5_properties_that_do_not_go_together_are_both_named() {
    let error = make(&with_property("receive.message.max.bytes", "1000"))
        .expect_err("a conflict")
        .to_string();
    assert!(
        error.contains("receive.message.max.bytes") && error.contains("fetch.max.bytes"),
        "{error}"
    );
}

/// librdkafka accepts every value that the rules accept, also at both ends of each range.
#[test]
fn k5_valid_extremes_make_clients() {
    type Change = fn(&mut KafkaConfig);
    let cases: [Change; 12] = [
        |c| c.brokers = "[::1]:9092,b:65535".to_owned(),
        |c| c.connect_timeout = Duration::from_secs(1),
        |c| c.request_timeout = Duration::from_secs(300),
        |c| c.consumer.fetch_max_bytes = 1_000_000,
        |c| c.consumer.fetch_max_bytes = 500 << 20,
        |c| c.consumer.fetch_max_wait = Duration::ZERO,
        |c| c.consumer.assignment = Assignment::Broker,
        |c| c.consumer.metadata_limit = 0,
        |c| c.producer.max_message_bytes = 1_000,
        |c| c.producer.max_message_bytes = 200 << 20,
        |c| c.producer.retries = 1,
        |c| {
            c.producer.linger = Duration::from_millis(99);
            c.producer.publish_timeout = Duration::from_millis(100);
        },
    ];
    for (at, change) in cases.into_iter().enumerate() {
        let mut config = KafkaConfig::default();
        change(&mut config);
        assert_eq!(make(&config), Ok(()), "case {at}");
    }
}

#[test]
fn k5_no_text_of_a_configuration_holds_the_password() {
    let login = Login::new(Mechanism::ScramSha512, "alice", "hidden-word");
    let file = Some("no-such-file".to_owned());
    let tls = Tls {
        certificate_file: file.clone(),
        key_file: file,
        key_password: Some("hidden-word".into()),
        ..Tls::default()
    };
    let config = KafkaConfig {
        security: Security { tls: Some(tls), login: Some(login) },
        ..KafkaConfig::default()
    };
    assert!(!format!("{config:?}").contains("hidden-word"));
    let error = make(&config).expect_err("no such file");
    assert!(!format!("{error:?} {error}").contains("hidden-word"), "{error}");
}
