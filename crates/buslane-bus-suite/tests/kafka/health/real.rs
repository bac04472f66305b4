//! A real broker that is killed, hangs, waits for a sleeping member, or no longer accepts a login.

use super::{PATIENCE, bus_of, counts, publish, watchful};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use buslane::{EventBus, Fault, Health, Topic};
use buslane_bus_suite::health::{named, named_while_it_lasts, until_health, well};
use buslane_core::{Broker, SubscribeOptions};
use buslane_kafka::{
    Assignment, ConsumerConfig, KafkaBroker, KafkaConfig, Login, Security, Tls, Token, Tokens,
};
use buslane_testkit::{
    deadline::within,
    server::{OwnServer, address, unique},
    signal::Count,
};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Runs one server at a time, because two would compete for processor time and memory.
static ONE_SERVER: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn config(brokers: &str) -> KafkaConfig {
    KafkaConfig {
        brokers: brokers.to_owned(),
        group: unique("g"),
        consumer: ConsumerConfig {
            assignment: Assignment::Range,
            session_timeout: Duration::from_secs(6),
            heartbeat_interval: Duration::from_millis(500),
            ..ConsumerConfig::default()
        },
        create_missing: Some(buslane_kafka::TopicConfig {
            partitions: Some(2),
            ..Default::default()
        }),
        ..KafkaConfig::default()
    }
}

fn topic() -> Topic {
    Topic::new(&unique("orders")).expect("a good name")
}

async fn reads(bus: &EventBus) -> (Topic, Arc<Count>) {
    let (topic, count) = (topic(), Arc::new(Count::default()));
    bus.subscribe_envelopes(&topic, counts(&count)).await.expect("subscribes");
    publish(bus, &topic, 0..5).await;
    within(PATIENCE, "five messages", count.reached(5)).await;
    (topic, count)
}

/// Uses the default limits of health.
async fn is_named(fault: Fault, lose: fn(&mut OwnServer), mend: fn(&mut OwnServer)) {
    let _one = ONE_SERVER.lock().await;
    let mut server = tokio::task::spawn_blocking(OwnServer::start).await.expect("a server");
    let bus = bus_of(watchful(), config(&server.address)).await;
    let (topic, count) = reads(&bus).await;
    named_while_it_lasts(&bus, &mut server, fault, lose, mend).await;
    publish(&bus, &topic, 5..10).await;
    within(PATIENCE, "ten messages", count.reached(10)).await;
    bus.shutdown(PATIENCE).await.expect("it reports");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_a_broker_that_is_killed_is_gone() {
    is_named(Fault::BrokerGone, OwnServer::kill, OwnServer::start_again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_a_broker_that_stands_still_is_silent() {
    is_named(Fault::BrokerSilent, OwnServer::pause, OwnServer::resume).await;
}

/// A member with partitions sends nothing but heartbeats, so the group waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_a_group_that_does_not_come_to_rest_is_named() {
    let kafka = config(&address("KAFKA_BOOTSTRAP_SERVERS"));
    let mut limits = watchful();
    limits.health.group_limit = Duration::from_secs(2);
    let bus = bus_of(limits, kafka.clone()).await;
    let (topic, _) = reads(&bus).await;
    let sleeper: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &kafka.brokers)
        .set("group.id", &kafka.group)
        .set("partition.assignment.strategy", "range")
        .set("session.timeout.ms", "30000")
        .create()
        .expect("a client");
    sleeper.subscribe(&[&topic]).expect("subscribes");
    let joins = || {
        let deadline = Instant::now() + PATIENCE;
        while sleeper.assignment().expect("a member").count() == 0 {
            assert!(Instant::now() < deadline, "it got no share");
            let _ = sleeper.poll(Duration::from_millis(10));
        }
    };
    tokio::task::block_in_place(joins);
    well(&bus).await;
    let other = Topic::new(&unique("other")).expect("a good name");
    bus.subscribe_envelopes(&other, counts(&Arc::default())).await.expect("subscribes");
    named(&bus, Fault::GroupNotStable).await;
    assert!(!bus.health().ready);
    tokio::task::block_in_place(|| drop(sleeper));
    well(&bus).await;
    bus.shutdown(PATIENCE).await.expect("it reports");
}

/// The group settles and reports no symptom after each change: the join, another topic, another
/// member, one topic less, and none at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_a_group_that_has_come_to_rest_is_known_to() {
    for assignment in [Assignment::Range, Assignment::CooperativeSticky, Assignment::Broker] {
        let mut kafka = config(&address("KAFKA_BOOTSTRAP_SERVERS"));
        kafka.consumer.assignment = assignment;
        let one = KafkaBroker::connect(kafka.clone()).await.expect("a broker that answers");
        let two = KafkaBroker::connect(kafka).await.expect("a broker that answers");
        let rests = async |what: &str| {
            let rest = async {
                while !one.symptoms().is_empty() || !two.symptoms().is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let is_so = tokio::time::timeout(PATIENCE, rest).await.is_ok();
            assert!(is_so, "{assignment:?}: {what}: {:?} {:?}", one.symptoms(), two.symptoms());
        };
        let topics = [topic(), topic(), topic()].map(|topic| (topic, SubscribeOptions::default()));
        one.subscribe(&topics[..1]).await.expect("subscribes");
        rests("one topic").await;
        one.subscribe(&topics[1..2]).await.expect("subscribes");
        rests("two topics").await;
        two.subscribe(&topics[1..]).await.expect("subscribes");
        rests("two members").await;
        one.unsubscribe(&topics[0].0).await.expect("taken");
        rests("a topic less").await;
        one.unsubscribe(&topics[1].0).await.expect("taken");
        rests("one reads nothing").await;
        for broker in [&one, &two] {
            broker.close(PATIENCE).await.expect("it closes");
        }
    }
}

/// An unsigned token that expires after `lasts`.
fn jwt(lasts: Duration) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let claims =
        serde_json::json!({ "sub": "alice", "iat": now.as_secs(), "exp": (now + lasts).as_secs_f64() }).to_string();
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims))
}

/// The issuer of the tokens stops issuing, and later resumes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_a_credential_that_is_over_is_named() {
    let is_shut = Arc::new(AtomicBool::new(false));
    let shut = Arc::clone(&is_shut);
    let tokens = Tokens::new(move || {
        let is_shut = shut.load(SeqCst);
        async move {
            if is_shut {
                Err("the issuer is closed".to_owned())
            } else {
                Token::from_jwt(&jwt(Duration::from_secs(4)))
            }
        }
    });
    let ca_file = Some(format!("{}/ca.pem", address("BUSLANE_TEST_KAFKA_CERTS")));
    let security = Security {
        tls: Some(Tls { ca_file, ..Tls::default() }),
        login: Some(Login::with_tokens(tokens)),
    };
    let kafka = KafkaConfig { security, ..config(&address("BUSLANE_TEST_KAFKA_SASL_SSL")) };
    let bus = bus_of(watchful(), kafka).await;
    well(&bus).await;
    is_shut.store(true, SeqCst);
    // The broker ends the login at the same moment, and the client reports that too. Either report
    // may come last.
    let names_issuer = |health: &Health| {
        health
            .faults()
            .any(|fault| fault.detail.contains("the token has expired: the issuer is closed"))
    };
    named(&bus, Fault::CredentialExpired).await;
    within(PATIENCE, "the issuer is named", until_health("named", &bus, names_issuer)).await;
    is_shut.store(false, SeqCst);
    well(&bus).await;
    bus.shutdown(PATIENCE).await.expect("it reports");
}
