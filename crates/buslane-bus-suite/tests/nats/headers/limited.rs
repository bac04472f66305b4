//! The server delivers each message a limited number of times. Unreadable headers cost the
//! connection, which uses up a delivery of the messages around them, and none of these is lost.
//! SPEC: N3

use super::raw::{BROKEN, Raw};
use super::{
    PATIENCE, Seen, body, bus, collects, config, good, in_order, name, notes, raw_header, subject,
};
use buslane::Message;
use buslane_testkit::{deadline::until, server::unique};
use std::sync::Arc;

/// All messages wait in the stream, so that one connection uses up the only delivery of each.
async fn none_is_lost(partitions: Option<u32>) {
    let (topic, dead, group) = (name("orders"), name("dead"), unique("g"));
    let (seen, letters) = (Seen::default(), Arc::default());
    let mut own = config(&group, partitions);
    own.nats.consumer.max_deliver = Some(1);
    let bus = bus(own).await;
    bus.subscribe(&dead, collects(&letters)).await.expect("subscribes");
    good(&bus, &topic, 0..20).await;
    let mut raw = Raw::connect().await;
    let broken = &BROKEN[..3];
    for (at, (_, block)) in broken.iter().enumerate() {
        raw.publish(&subject(&topic, partitions, at), block, &body(&format!("bad{at}"))).await;
    }
    good(&bus, &topic, 20..60).await;
    bus.subscription(&topic).dead_letter(&dead).envelopes(notes(&seen)).await.expect("subscribes");
    until("all good ones", || seen.lock().len() >= 60).await;
    until("all letters", || letters.lock().len() >= broken.len()).await;
    in_order(&seen, 60);
    let mut found: Vec<Vec<u8>> =
        letters.lock().iter().map(|one: &Message| raw_header(one).unwrap().to_vec()).collect();
    let mut sent: Vec<Vec<u8>> = broken.iter().map(|(_, block)| block.to_vec()).collect();
    found.sort();
    sent.sort();
    assert_eq!(found, sent, "each once, byte by byte");
    bus.shutdown(PATIENCE).await.expect("in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_none_is_lost_beside_unreadable_headers_at_its_only_delivery() {
    Box::pin(none_is_lost(None)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_none_of_a_partition_is_lost_beside_unreadable_headers_at_its_only_delivery() {
    Box::pin(none_is_lost(Some(2))).await;
}
