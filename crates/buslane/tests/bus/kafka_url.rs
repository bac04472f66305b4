//! `kafka://` in builds with and without the adapter. No broker is needed: see the contract suites
//! for those.

use buslane::{BusError, Config, EventBus};

#[cfg(not(feature = "kafka"))]
#[tokio::test]
async fn k5_a_build_without_kafka_names_the_feature() {
    let error =
        EventBus::connect(Config::new("kafka://localhost:9092").unwrap()).await.unwrap_err();
    assert!(matches!(error, BusError::Backend { scheme: "kafka", .. }), "{error:?}");
    let text = "kafka:// is not part of this build: build buslane with the cargo feature kafka";
    assert_eq!(error.to_string(), text);
}

#[cfg(feature = "kafka")]
mod with_adapter {
    use super::*;
    use buslane::{ConfigError, config::KafkaTlsConfig};
    use buslane_core::BrokerError;
    use std::time::Duration;

    async fn refused(kafka: &str) -> BusError {
        let config = Config::parse_yaml(&format!("url: kafka://127.0.0.1:1\nkafka: {kafka}"))
            .expect("a configuration");
        EventBus::connect(config).await.expect_err("refused")
    }

    #[tokio::test]
    async fn k5_a_broker_that_does_not_answer_is_a_broker_error() {
        let error = refused("{ connect_timeout: 1s }").await;
        let BusError::Broker(BrokerError::Unreachable { reason }) = &error else {
            panic!("{error:?}")
        };
        assert!(reason.starts_with("127.0.0.1:1: "), "{reason}");
    }

    #[tokio::test]
    async fn k5_rules_of_the_adapter_name_the_key_of_the_file() {
        for (kafka, expected) in [
            (
                "{ properties: { acks: hidden } }",
                "kafka.properties.acks: must be left out: all in-sync replicas acknowledge, found ***",
            ),
            (
                "{ properties: { group.id: hidden } }",
                "kafka.properties.group.id: must be left out: group sets it, found ***",
            ),
            (
                "{ properties: { linger.ms: hidden } }",
                "kafka.properties.linger.ms: must be left out: kafka.producer.linger sets it, found ***",
            ),
            (
                "{ properties: { bootstrap.servers: hidden } }",
                "kafka.properties.bootstrap.servers: must be left out: url sets it, found ***",
            ),
        ] {
            let error = refused(kafka).await;
            assert!(matches!(error, BusError::Config(ConfigError::Rule { .. })), "{error:?}");
            assert_eq!(error.to_string(), expected);
        }
        for property in ["colour", "socket.keepalive.enable"] {
            let error = refused(&format!("{{ properties: {{ {property}: hidden }} }}")).await;
            let text = format!("{error} {error:?}");
            assert!(text.starts_with(&format!("kafka.properties.{property}: ")), "{text}");
            assert!(!text.contains("hidden"), "{text}");
        }
        let mut config = Config::new("kafka://127.0.0.1:1").unwrap();
        config.publish_timeout = Duration::from_hours(25);
        let error = EventBus::connect(config).await.unwrap_err().to_string();
        assert!(error.starts_with("publish_timeout: must be from 1 ms to 24 h"), "{error}");
    }

    /// librdkafka would refuse it too, with the password in its text.
    #[tokio::test]
    async fn k5_encryption_that_is_not_in_the_build_is_named() {
        let mut config = Config::new("kafka://127.0.0.1:1").unwrap();
        config.kafka.connect_timeout = Duration::from_secs(1);
        config.kafka.security.tls = Some(KafkaTlsConfig::default());
        let error = EventBus::connect(config).await.unwrap_err();
        if cfg!(feature = "kafka-tls") {
            assert!(matches!(error, BusError::Broker(_)), "{error:?}");
        } else {
            let rule = "is not part of this build: build buslane with the cargo feature kafka-tls";
            assert_eq!(error.to_string(), format!("kafka.security.tls: {rule}, found TLS"));
        }
    }
}
