//! Health names faults of NATS until they are repaired: servers that are stopped or killed, and
//! servers that deny a right that a member needs. SPEC: O3
#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap as tests do")]

use buslane::{Config, Event, EventBus, Fault, Topic, config::NatsLoginConfig};
use buslane_bus_suite::health::{named, named_while_it_lasts, well};
use buslane_testkit::{
    deadline::within,
    nats_login::Credentials,
    server::{OwnServer, unique},
    signal::Count,
};
use std::{future::ready, sync::Arc, time::Duration};

const PATIENCE: Duration = buslane_testkit::deadline::LIMIT;
const SOON: Duration = Duration::from_millis(300);

/// A configuration that checks health often.
fn watchful(address: &str) -> Config {
    let mut config =
        Config::new(&format!("nats://{}", address.replace("nats://", ""))).expect("a URL");
    config.health.check_interval = Duration::from_millis(100);
    config.nats.consumer.ack_wait = Duration::from_secs(2);
    config.nats.consumer.lease = Duration::from_secs(2);
    config
}

/// A bus that reads a new topic, and the count of handled messages.
async fn reads(config: Config) -> (EventBus, Topic, Arc<Count>) {
    let bus = EventBus::connect(config).await.expect("a server that answers");
    let (topic, count) = (Topic::new(&unique("orders")).unwrap(), Arc::new(Count::default()));
    let into = Arc::clone(&count);
    let handler = move |_: Event| {
        into.add();
        ready(())
    };
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    (bus, topic, count)
}

async fn publish(bus: &EventBus, topic: &Topic, count: &Count, more: usize) {
    let until = count.get() + more;
    for key in 0..more {
        let envelope = buslane::Envelope::new(format!("k{key}"), "Counted", &key).unwrap();
        bus.publish_envelope(topic, envelope).await.expect("stored");
    }
    within(PATIENCE, "they are handled", count.reached(until)).await;
}

/// Uses the default limits of health.
async fn is_named(fault: Fault, lose: fn(&mut OwnServer), mend: fn(&mut OwnServer)) {
    let mut server = tokio::task::spawn_blocking(|| OwnServer::nats("")).await.expect("a server");
    let (bus, topic, count) = reads(watchful(&server.address)).await;
    publish(&bus, &topic, &count, 5).await;
    named_while_it_lasts(&bus, &mut server, fault, lose, mend).await;
    publish(&bus, &topic, &count, 5).await;
    bus.shutdown(PATIENCE).await.expect("it reports");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_a_server_that_is_killed_is_gone() {
    is_named(Fault::BrokerGone, OwnServer::kill, OwnServer::start_again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_a_server_that_stands_still_is_silent() {
    is_named(Fault::BrokerSilent, OwnServer::pause, OwnServer::resume).await;
}

/// The server ends the connection of an expired login, and refuses the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_a_credential_that_is_over_is_named() {
    // Longer than a starved machine takes for a server and a connection.
    let credentials = Credentials::lasting(20);
    let told = credentials.server_config();
    let server =
        tokio::task::spawn_blocking(move || OwnServer::nats(&told)).await.expect("a server");
    let mut config = watchful(&server.address);
    let login = NatsLoginConfig::credentials_file(credentials.file());
    config.nats.security.login = Some(login);
    let bus = EventBus::connect(config).await.expect("it is good yet");
    well(&bus).await;
    let found = named(&bus, Fault::CredentialExpired).await;
    assert!(found.detail.to_lowercase().contains("auth") && !bus.health().ready, "{found:?}");
    bus.shutdown(Duration::from_secs(1)).await.expect("it reports");
}

/// A server whose user may not publish to `subject`, and its address with a login.
async fn denies(subject: &str) -> (OwnServer, String) {
    let users = format!(
        "authorization {{ users = [ {{ user: alice, password: secret, permissions: {{ publish: {{ deny: \"{subject}\" }} }} }} ] }}"
    );
    let server =
        tokio::task::spawn_blocking(move || OwnServer::nats(&users)).await.expect("a server");
    let address = format!("alice:secret@{}", server.address.replace("nats://", ""));
    (server, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_acknowledgements_that_are_not_taken_are_named() {
    let (_server, address) = denies("$JS.ACK.>").await;
    let mut config = watchful(&address);
    config.health.settlement_limit = SOON;
    config.nats.request_timeout = Duration::from_secs(1);
    let (bus, topic, count) = reads(config).await;
    well(&bus).await;
    publish(&bus, &topic, &count, 1).await;
    named(&bus, Fault::CommitRefused).await;
    bus.shutdown(Duration::from_secs(1)).await.expect("it reports");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_a_group_that_cannot_settle_its_leases_is_named() {
    let (_server, address) = denies("$KV.>").await;
    let mut config = watchful(&address);
    config.health.group_limit = SOON;
    let (bus, ..) = reads(config).await;
    let found = named(&bus, Fault::GroupNotStable).await;
    assert!(
        found.detail.contains("bucket of leases") || found.detail.contains("does not take"),
        "{found:?}"
    );
    assert!(!bus.health().ready);
    bus.shutdown(Duration::from_secs(1)).await.expect("it reports");
}
