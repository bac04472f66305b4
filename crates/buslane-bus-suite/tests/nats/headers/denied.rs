//! A user without the right to read stored messages: a message with unreadable headers stops its
//! partition. Health names the partition, the log names the missing right, and the partition
//! resumes once the server grants the right. SPEC: O3

use super::raw::{BROKEN, Raw};
use super::{Seen, body, collects, config_at, good, in_order, name, notes, raw_header, subject};
use buslane::{Config, EventBus, Fault};
use buslane_bus_suite::{
    LogCapture,
    health::{until_health, well},
};
use buslane_testkit::{
    deadline::{LIMIT, until},
    server::{OwnServer, unique},
};
use std::{path::PathBuf, sync::Arc, time::Duration};

const RIGHT: &str = "$JS.API.STREAM.MSG.GET";

const GRANTED: &str = "publish: { allow: \">\" }";

/// A server whose user `alice` has the permissions of a file, and the path of that file.
fn serve(permissions: &str) -> (OwnServer, PathBuf) {
    let file = std::env::temp_dir().join(format!("{}.conf", unique("buslane-permissions")));
    std::fs::write(&file, permissions).unwrap();
    // The server reads included files relative to its own configuration.
    let included = format!("{}{}", "../".repeat(20), file.display());
    let users = format!(
        "authorization {{ users = [\n{{ user: root, password: secret }}\n\
         {{ user: alice, password: secret, permissions: {{\n include '{included}'\n }} }}\n] }}\n"
    );
    (OwnServer::nats(&users), file)
}

fn watchful(server: &OwnServer, partitions: Option<u32>) -> Config {
    let address = format!("nats://alice:secret@{}", server.address.replace("nats://", ""));
    let mut config = config_at(&address, &unique("g"), partitions);
    config.health.check_interval = Duration::from_millis(100);
    config.health.partition_limit = Duration::from_secs(1);
    config.nats.request_timeout = Duration::from_secs(1);
    config.nats.consumer.ack_wait = Duration::from_secs(2);
    config
}

async fn is_named_until_the_right_is_granted(partitions: Option<u32>) {
    let journal = LogCapture::default();
    let _log = tracing::subscriber::set_default(journal.clone());
    let (mut server, file) = serve(GRANTED);
    let (topic, dead) = (name("orders"), name("dead"));
    let (seen, letters) = (Seen::default(), Arc::default());
    let bus = EventBus::connect(watchful(&server, partitions)).await.expect("a server");
    bus.subscribe(&dead, collects(&letters)).await.expect("subscribes");
    bus.subscription(&topic).dead_letter(&dead).envelopes(notes(&seen)).await.expect("subscribes");
    good(&bus, &topic, 0..10).await;
    until("the first ones", || seen.lock().len() >= 10).await;

    let address = server.address.clone();
    let mut restart_with = |permissions: &str| {
        std::fs::write(&file, permissions).unwrap();
        server.kill();
        server.start_again();
    };
    restart_with(&format!("publish: {{ deny: \"{RIGHT}.>\" }}"));
    let login = "\"user\":\"root\",\"pass\":\"secret\",";
    let mut raw = Raw::connect_to(&address, login).await;
    raw.publish(&subject(&topic, partitions, 1), BROKEN[1].1, &body("bad")).await;
    let place = format!("{topic}/{}", partitions.map_or(0, |_| 1));
    // On a busy machine, the restart may stop other partitions long enough for a fault.
    until_health("the partition without the right is named alone", &bus, |health| {
        let faults: Vec<_> = health.faults().collect();
        matches!(faults[..], [fault] if fault.name == Fault::DeadPartition
            && fault.subject == place
            && fault.detail.contains(RIGHT))
    })
    .await;
    assert!(bus.health().live && bus.health().overall == Fault::DeadPartition.condition());
    let lines = journal.saying("cannot look for messages whose headers cannot be read");
    assert!(lines.iter().any(|line| line.field("reason").contains(RIGHT)), "{lines:?}");

    restart_with(GRANTED);
    well(&bus).await;
    good(&bus, &topic, 10..20).await;
    until("the later ones", || seen.lock().len() >= 20).await;
    until("the letter", || !letters.lock().is_empty()).await;
    in_order(&seen, 20);
    assert_eq!(raw_header(&letters.lock()[0]), Some(BROKEN[1].1));
    well(&bus).await;
    bus.shutdown(LIMIT).await.expect("in order");
    let _ = std::fs::remove_file(file);
}

#[tokio::test]
async fn o3_a_partition_that_unreadable_headers_stop_is_named() {
    Box::pin(is_named_until_the_right_is_granted(Some(2))).await;
}

#[tokio::test]
async fn o3_a_topic_that_unreadable_headers_stop_is_named() {
    Box::pin(is_named_until_the_right_is_granted(None)).await;
}
