//! Encryption and logins against a real broker, and the error of a refused member.

use super::kit;
use buslane_kafka::{KafkaBroker, KafkaConfig, Login, Security, Tls};
use buslane_testkit::{
    broker_suite::{bodies, publish, record, settle},
    deadline::within,
    server::{address, unique},
};
use std::time::Duration;

const USER: &str = "alice";
const PASSWORD: &str = "secret";
const WRONG_PASSWORD: &str = "open-sesame";

#[derive(Clone, Copy)]
enum Mechanism {
    Plain,
    Scram256,
    Scram512,
}

const MECHANISMS: [Mechanism; 3] = [Mechanism::Plain, Mechanism::Scram256, Mechanism::Scram512];

impl Mechanism {
    fn login(self, user: &str, password: &str) -> Login {
        let mechanism = match self {
            Self::Plain => buslane_kafka::Mechanism::Plain,
            Self::Scram256 => buslane_kafka::Mechanism::ScramSha256,
            Self::Scram512 => buslane_kafka::Mechanism::ScramSha512,
        };
        Login::new(mechanism, user, password)
    }
}

fn file(name: &str) -> Option<String> {
    Some(format!("{}/{name}", address("BUSLANE_TEST_KAFKA_CERTS")))
}

fn tls() -> Tls {
    Tls { ca_file: file("ca.pem"), ..Tls::default() }
}

/// TLS with a client certificate: `client`, which the broker trusts, or `stranger`.
fn mutual(name: &str) -> Tls {
    Tls {
        certificate_file: file(&format!("{name}.pem")),
        key_file: file(&format!("{name}.key")),
        ..tls()
    }
}

fn config(listener: &str, tls: Option<Tls>, login: Option<Login>) -> KafkaConfig {
    KafkaConfig {
        brokers: address(listener),
        security: Security { tls, login },
        ..kit::config(&unique("g"))
    }
}

/// Publishes a record and reads it, on the listener that `config` names.
async fn goes_round(config: KafkaConfig) {
    let topic = kit::topic("secure", 1, &[]).await;
    let mut member = kit::member(config, &topic).await;
    publish(&member.broker, &topic, vec![record("k", "hello")]).await;
    let got = member.take(1).await;
    assert_eq!(bodies(&got), ["hello"]);
    settle(got);
    member.close().await;
}

/// The connection fails with an error that contains `reason` and no password.
async fn is_refused(config: KafkaConfig, reason: &str) {
    let config = KafkaConfig { connect_timeout: Duration::from_secs(3), ..config };
    let address = config.brokers.clone();
    let answer =
        within(kit::PATIENCE, "an answer within the connect timeout", KafkaBroker::connect(config))
            .await;
    let error = answer.expect_err("a refusal");
    let text = error.to_string();
    assert!(text.contains(reason), "{reason} does not stand in: {text}");
    assert!(text.contains(&address), "the address is missing: {text}");
    for secret in [WRONG_PASSWORD, PASSWORD] {
        assert!(!format!("{text} {error:?}").contains(secret), "the password stands in: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_messages_go_round_over_tls() {
    goes_round(config("BUSLANE_TEST_KAFKA_TLS", Some(tls()), None)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_messages_go_round_over_tls_with_a_client_certificate() {
    goes_round(config("BUSLANE_TEST_KAFKA_SSL", Some(mutual("client")), None)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_messages_go_round_after_each_login() {
    for mechanism in MECHANISMS {
        goes_round(config(
            "BUSLANE_TEST_KAFKA_SASL_SSL",
            Some(tls()),
            Some(mechanism.login(USER, PASSWORD)),
        ))
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_a_wrong_password_is_named() {
    for mechanism in MECHANISMS {
        let login = mechanism.login(USER, WRONG_PASSWORD);
        is_refused(
            config("BUSLANE_TEST_KAFKA_SASL_SSL", Some(tls()), Some(login)),
            "Authentication failed",
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_an_unknown_user_is_named() {
    for mechanism in MECHANISMS {
        let login = mechanism.login("mallory", PASSWORD);
        is_refused(
            config("BUSLANE_TEST_KAFKA_SASL_SSL", Some(tls()), Some(login)),
            "Authentication failed",
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_a_server_of_an_unknown_authority_is_named() {
    let tls = Tls { ca_file: file("stranger.pem"), ..Tls::default() };
    is_refused(config("BUSLANE_TEST_KAFKA_TLS", Some(tls), None), "certificate verify failed")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_a_missing_client_certificate_is_named() {
    is_refused(config("BUSLANE_TEST_KAFKA_SSL", Some(tls()), None), "certificate").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_a_client_certificate_of_an_unknown_authority_is_named() {
    is_refused(config("BUSLANE_TEST_KAFKA_SSL", Some(mutual("stranger")), None), "certificate")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_plain_text_to_a_port_with_tls_is_named() {
    is_refused(config("BUSLANE_TEST_KAFKA_TLS", None, None), "a port for TLS").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_tls_to_a_plain_port_is_named() {
    is_refused(config("KAFKA_BOOTSTRAP_SERVERS", Some(tls()), None), "PLAINTEXT").await;
}

/// A file that cannot be used is an error before any connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k5_a_missing_file_is_named() {
    for (setting, tls) in [
        (
            "security.tls.ca_file",
            Tls { ca_file: Some("no-such-file.pem".to_owned()), ..Tls::default() },
        ),
        (
            "security.tls.certificate_file",
            Tls { certificate_file: Some("no-such-file.pem".to_owned()), ..mutual("client") },
        ),
        (
            "security.tls.key_file",
            Tls { key_file: Some("no-such-file.pem".to_owned()), ..mutual("client") },
        ),
    ] {
        let config = config("BUSLANE_TEST_KAFKA_SSL", Some(tls), None);
        let text = KafkaBroker::connect(config).await.expect_err("no such file").to_string();
        assert!(text.contains(setting) && text.contains("no-such-file.pem"), "{setting}: {text}");
    }
}
