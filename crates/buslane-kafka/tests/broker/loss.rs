//! The broker fails and returns while a member reads and another publishes.

use super::kit;
use buslane_kafka::{KafkaBroker, KafkaConfig, ProducerConfig};
use buslane_testkit::{
    loss::{Again, Loss},
    server::{OwnServer, unique},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Mutex;

const PATIENCE: Duration = buslane_testkit::deadline::LIMIT;
/// Two servers at once would compete for time and memory.
static ONE_SERVER: Mutex<()> = Mutex::const_new(());

fn config(server: &OwnServer) -> KafkaConfig {
    KafkaConfig {
        brokers: server.address.clone(),
        // The client notices a paused broker after this time.
        request_timeout: Duration::from_secs(2),
        producer: ProducerConfig { publish_timeout: PATIENCE, ..ProducerConfig::default() },
        create_missing: Some(buslane_kafka::TopicConfig {
            partitions: Some(4),
            ..Default::default()
        }),
        ..kit::config(&unique("g"))
    }
}

async fn resumes(lose: fn(&mut OwnServer), mend: fn(&mut OwnServer)) {
    let _one = ONE_SERVER.lock().await;
    let server = tokio::task::spawn_blocking(OwnServer::start).await.expect("a server");
    let topic = kit::name("lossy");
    let publisher =
        Arc::new(KafkaBroker::connect(config(&server)).await.expect("a broker that answers"));
    let member = kit::member(config(&server), &topic).await;
    let loss = Loss {
        server,
        lose,
        mend,
        publisher,
        member,
        topic,
        again: Again::Allowed,
        patience: PATIENCE,
    };
    loss.is_survived().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k7_a_broker_that_stands_still_and_goes_on_loses_nothing() {
    resumes(OwnServer::pause, OwnServer::resume).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k7_a_broker_that_is_killed_and_started_again_loses_nothing() {
    resumes(OwnServer::kill, OwnServer::start_again).await;
}
