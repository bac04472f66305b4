//! Logins and encryption against real servers, and the errors of refused members.

use super::{kit, secrets::Certificates};
use buslane_core::{Broker, SymptomKind, Topic, TopicSettings, TopicStrategy};
use buslane_nats::{Login, NatsBroker, NatsConfig, Partitions, Security, Tls};
use buslane_testkit::{
    broker_suite::{bodies, publish, record, settle},
    deadline::within,
    nats_login::Credentials,
    server::{OwnServer, unique},
};
use std::time::Duration;

const PASSWORD: &str = "open-sesame";
const WRONG: &str = "wrong-sesame";

async fn serve(config: String) -> OwnServer {
    tokio::task::spawn_blocking(move || OwnServer::nats(&config)).await.expect("a server")
}

fn config(server: &OwnServer, tls: Option<Tls>, login: Option<Login>) -> NatsConfig {
    NatsConfig {
        servers: server.address.replace("nats://", ""),
        security: Security { tls, login },
        ..kit::config(&unique("g"))
    }
}

/// Publishes a record and reads it.
async fn goes_round(config: NatsConfig) {
    let topic = kit::name("secure");
    let mut member = kit::member(config, &topic).await;
    publish(&member.broker, &topic, vec![record("k", "hello")]).await;
    let got = member.take(1).await;
    assert_eq!(bodies(&got), ["hello"]);
    settle(got);
    member.close().await;
}

/// The connection fails with an error that contains `reason` and no secret.
async fn is_refused(config: NatsConfig, reason: &str, secret: &str) {
    let config = NatsConfig { connect_timeout: Duration::from_secs(5), ..config };
    let address = config.servers.clone();
    let answer =
        within(kit::PATIENCE, "an answer within the connect timeout", NatsBroker::connect(config))
            .await;
    let error = answer.expect_err("a refusal");
    let text = error.to_string();
    assert!(text.contains(reason), "{reason} does not stand in: {text}");
    assert!(text.contains(&address), "the address is missing: {text}");
    assert!(!format!("{text} {error:?}").contains(secret), "the secret stands in: {text}");
}

fn user(name: &str, password: &str) -> Option<Login> {
    Some(Login::user(name, password))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_users_and_nkeys_log_in() {
    let (key, stranger) = (nkeys::KeyPair::new_user(), nkeys::KeyPair::new_user());
    let seed = |key: &nkeys::KeyPair| key.seed().expect("a seed");
    let server = serve(format!(
        "authorization {{ users: [ {{ user: alice, password: \"{PASSWORD}\" }}, {{ nkey: {} }} ] }}\n",
        key.public_key()
    ))
    .await;
    goes_round(config(&server, None, user("alice", PASSWORD))).await;
    goes_round(config(&server, None, Some(Login::nkey(seed(&key))))).await;
    let refused = "login refused";
    is_refused(config(&server, None, user("alice", WRONG)), refused, WRONG).await;
    is_refused(config(&server, None, user("mallory", PASSWORD)), refused, PASSWORD).await;
    is_refused(config(&server, None, None), refused, PASSWORD).await;
    let login = Some(Login::nkey(seed(&stranger)));
    is_refused(config(&server, None, login), refused, &seed(&stranger)).await;
    is_refused(config(&server, None, Some(Login::nkey("no seed"))), refused, "no seed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_a_token_logs_in() {
    let server = serve(format!("authorization {{ token: \"{PASSWORD}\" }}\n")).await;
    goes_round(config(&server, None, Some(Login::token(PASSWORD)))).await;
    is_refused(config(&server, None, Some(Login::token(WRONG))), "login refused", WRONG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_a_file_of_credentials_logs_in() {
    let (good, stranger) = (Credentials::endless(), Credentials::endless());
    let server = serve(good.server_config()).await;
    goes_round(config(&server, None, Some(Login::credentials_file(good.file())))).await;
    let login = Some(Login::credentials_file(stranger.file()));
    is_refused(config(&server, None, login), "login refused", &stranger.seed()).await;
    let missing =
        config(&server, None, Some(Login::credentials_file("no-such-file.creds".to_owned())));
    let text = NatsBroker::connect(missing).await.expect_err("no such file").to_string();
    assert!(
        text.contains("security.login.credentials_file") && text.contains("no-such-file.creds"),
        "{text}"
    );
}

/// The server ends a connection whose credential has expired, and refuses the next one: the broker
/// reports a refused login.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_a_credential_that_is_over_is_told() {
    // Longer than a starved machine takes for a server and a connection.
    let credentials = Credentials::lasting(20);
    let server = serve(credentials.server_config()).await;
    let config = config(&server, None, Some(Login::credentials_file(credentials.file())));
    let broker = NatsBroker::connect(config).await.expect("it is good yet");
    assert!(broker.symptoms().is_empty());
    let refused = async {
        loop {
            match broker
                .symptoms()
                .into_iter()
                .find(|symptom| symptom.kind == SymptomKind::LoginRefused)
            {
                Some(symptom) => return symptom,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let symptom = tokio::time::timeout(kit::PATIENCE, refused).await.expect("it is told");
    assert!(symptom.reason.to_lowercase().contains("auth"), "{symptom:?}");
    let _ = broker.close(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_messages_go_round_over_tls() {
    let certificates = Certificates::new();
    let server = serve(certificates.server_config(false)).await;
    let trusting = Tls { ca_file: certificates.file("ca.pem"), ..Tls::default() };
    goes_round(config(&server, Some(trusting), None)).await;
    let strange = Tls { ca_file: certificates.file("stranger-ca.pem"), ..Tls::default() };
    is_refused(config(&server, Some(strange), None), "certificate", PASSWORD).await;
    is_refused(config(&server, None, None), "certificate", PASSWORD).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_messages_go_round_over_tls_with_a_client_certificate() {
    let certificates = Certificates::new();
    let server = serve(certificates.server_config(true)).await;
    let mutual = |name: &str| Tls {
        ca_file: certificates.file("ca.pem"),
        certificate_file: certificates.file(&format!("{name}.pem")),
        key_file: certificates.file(&format!("{name}.key")),
    };
    goes_round(config(&server, Some(mutual("client")), None)).await;
    let bare = Tls { ca_file: certificates.file("ca.pem"), ..Tls::default() };
    for tls in [bare, mutual("stranger")] {
        let wrong = NatsConfig {
            connect_timeout: Duration::from_secs(5),
            ..config(&server, Some(tls), None)
        };
        let error = NatsBroker::connect(wrong).await.expect_err("a refusal").to_string();
        assert!(error.contains(&server.address.replace("nats://", "")), "{error}");
    }
}

/// A server without encryption is refused, not used in plain text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_tls_to_a_plain_server_is_refused() {
    let certificates = Certificates::new();
    let tls = Tls { ca_file: certificates.file("ca.pem"), ..Tls::default() };
    let plain = NatsConfig {
        security: Security { tls: Some(tls), login: None },
        ..kit::config(&unique("g"))
    };
    is_refused(plain, "InvalidContentType", PASSWORD).await;
}

/// A file that cannot be used is an error before anything is connected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_a_missing_file_is_named() {
    let certificates = Certificates::new();
    let missing = Some("no-such-file.pem".to_owned());
    let full = Tls {
        ca_file: certificates.file("ca.pem"),
        certificate_file: certificates.file("client.pem"),
        key_file: certificates.file("client.key"),
    };
    for (setting, tls) in [
        ("security.tls.ca_file", Tls { ca_file: missing.clone(), ..full.clone() }),
        (
            "security.tls.certificate_file",
            Tls { certificate_file: missing.clone(), ..full.clone() },
        ),
        ("security.tls.key_file", Tls { key_file: missing.clone(), ..full.clone() }),
    ] {
        let config =
            NatsConfig { security: Security { tls: Some(tls), login: None }, ..kit::config("g") };
        let text = NatsBroker::connect(config).await.expect_err("no such file").to_string();
        assert!(text.contains(setting) && text.contains("no-such-file.pem"), "{setting}: {text}");
    }
}

/// The permissions that the user's page lists are enough to create a topic, to publish to it, and
/// to read it by lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_the_documented_rights_are_enough() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/nats.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let is_right =
        |line: &&str| ["publish: {", "subscribe: {"].iter().any(|it| line.starts_with(it));
    let rights: Vec<&str> = page.lines().filter(is_right).collect();
    assert_eq!(rights.len(), 2, "{rights:?}");
    let server = serve(format!(
        "authorization {{ users = [ {{ user: alice, password: {PASSWORD}, permissions: {{\n{}\n}} }} ] }}",
        rights.join("\n")
    ))
    .await;
    let mut config = config(&server, None, user("alice", PASSWORD));
    config.stream = Partitions::Auto.into();
    let topic = Topic::new("orders").expect("a good name");
    let mut member = kit::member(config, &topic).await;
    publish(&member.broker, &topic, vec![record("k", "hello")]).await;
    let got = member.take(1).await;
    assert_eq!(bodies(&got), ["hello"]);
    settle(got);
    let more = TopicSettings { partitions: Some(16), expand: true, ..TopicSettings::default() };
    let now = member.broker.configure_topic(&topic, &more, TopicStrategy::CreateOrUpdate).await;
    assert_eq!(now.expect("the right to change it").partitions, Some(16));
    member.broker.lag().await.expect("the right to ask how far it is");
    let progress = member.broker.progress(std::slice::from_ref(&topic)).await;
    assert_eq!(progress.expect("the right to look at messages").len(), 16);
    assert_eq!(member.broker.symptoms(), []);
    member.close().await;
}
