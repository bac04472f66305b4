//! Which lane a message goes to.

use super::{Ground, Note, Seen, envelope, notes_events, notes_messages, now, publish_numbers};
use crate::signal::Gate;
use buslane::config::LaneScope;
use buslane_core::{Envelope, Event, Headers, Message, Record, broker::header};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

fn headers(list: &[(&str, &str)]) -> Headers {
    list.iter().map(|(name, value)| (*name, value.as_bytes())).collect()
}

/// The record of an envelope without key and headers, as a foreign producer may send it.
fn bare(aggregate: &str, n: usize) -> Record {
    Record::new(envelope(aggregate, n).encode().expect("a valid envelope"))
}

/// Every spelling, for both kinds; and the earlier one wins, wherever it stands among the headers.
pub async fn r1_every_header_spelling_names_the_key_in_its_priority(ground: Ground) {
    let (raw, events) = (ground.topic("raw"), ground.topic("events"));
    let (bus, seen) = (ground.bus("g").await, Seen::new());
    bus.subscribe(&raw, notes_messages(&seen)).await.expect("subscribes");
    bus.subscribe_envelopes(&events, notes_events(&seen)).await.expect("subscribes");
    let spellings = header::AGGREGATE_ID_SPELLINGS;
    assert_eq!(spellings, ["X-Aggregate-ID", "x-aggregate-id", "Aggregate-ID", "aggregate-id", "aggregateID"]);
    let mut expected = Vec::new();
    for at in 0..spellings.len() {
        let right = format!("right-{at}");
        // From here on, the last one first: only the first spelling counts.
        let mut list: Vec<_> = spellings[at + 1..].iter().rev().map(|name| (*name, "wrong")).collect();
        list.push((spellings[at], right.as_str()));
        let record = Record::new("x").with_key("record-key").with_headers(headers(&list));
        bus.publish(&raw, record).await.expect("published");
        bus.publish(&events, bare(&right, at).with_headers(headers(&list))).await.expect("published");
        expected.extend([right.clone(), right]);
    }
    let mut labels: Vec<_> = seen.reached(expected.len()).await.into_iter().map(|note| note.label).collect();
    labels.sort();
    assert_eq!(labels, expected);
    ground.end_clean(&bus).await;
}

/// A header that is no aggregate id is passed over.
pub async fn r1_a_header_that_is_no_aggregate_id_is_passed_over(ground: Ground) {
    let topic = ground.topic("raw");
    let (bus, seen) = (ground.bus("g").await, Seen::new());
    bus.subscribe(&topic, notes_messages(&seen)).await.expect("subscribes");
    for (at, list) in [
        &[("X-Aggregate-ID", ""), ("aggregate-id", "good")][..],
        &[("X-Aggregate-ID", "not allowed"), ("aggregateID", "good")],
        &[("X-AGGREGATE-ID", "unknown spelling")],
    ]
    .into_iter()
    .enumerate()
    {
        let record = Record::new(at.to_string()).with_key("key").with_headers(headers(list));
        bus.publish(&topic, record).await.expect("published");
    }
    let mut labels: Vec<_> = seen.reached(3).await.into_iter().map(|note| (note.body, note.label)).collect();
    labels.sort();
    assert_eq!(labels, [("0".into(), "good".into()), ("1".into(), "good".into()), ("2".into(), "key".to_owned())]);
    ground.end_clean(&bus).await;
}

/// Envelopes: the body. Regular messages: the record key, and never the body.
pub async fn r1_without_a_header_the_body_or_the_record_key_names_the_key(ground: Ground) {
    let (raw, events) = (ground.topic("raw"), ground.topic("events"));
    let (bus, seen) = (ground.bus("g").await, Seen::new());
    bus.subscribe(&raw, notes_messages(&seen)).await.expect("subscribes");
    bus.subscribe_envelopes(&events, notes_events(&seen)).await.expect("subscribes");
    bus.publish(&events, bare("from-body", 1).with_key("record-key")).await.expect("published");
    assert_eq!(seen.reached(1).await[0].label, "from-body");
    bus.publish(&raw, bare("from-body", 1).with_key("record key, any bytes")).await.expect("published");
    assert_eq!(seen.reached(2).await[1].label, "record key, any bytes");
    bus.publish(&raw, bare("from-body", 1)).await.expect("published");
    assert_eq!(seen.reached(3).await[2].label, "rr-0");
    ground.end_clean(&bus).await;
}

/// A header that names another aggregate than the body: invalid, at once, with a typed error. Also where nothing
/// keeps the order of keys.
pub async fn r1_header_and_body_that_differ_are_invalid(ground: Ground) {
    for (what, ordered) in [("ordered", true), ("unordered", false)] {
        let (topic, dead) = (ground.topic(what), ground.topic(&format!("{what}.dead")));
        let (bus, seen) = (ground.bus("g").await, Seen::new());
        let subscription = bus.subscription(&topic).ordered(ordered).dead_letter(&dead);
        subscription.envelopes(notes_events(&seen)).await.expect("subscribes");
        let record = bare("body", 1).with_headers(headers(&[("aggregate-id", "header")]));
        bus.publish(&topic, record).await.expect("published");
        let letter = ground.audit(&dead, 1).await.remove(0);
        let text = |name| letter.headers.get(name).map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        let error = r#"aggregate_id differs: header says "header", body says "body""#;
        assert_eq!((text(header::ERROR_MESSAGE).as_str(), text(header::ATTEMPTS).as_str()), (error, "1"));
        assert!(seen.is_empty());
        ground.end_clean(&bus).await;
    }
}

/// It sees headers and body, and what it says goes; `None` is round-robin.
pub async fn r1_a_subscription_can_bring_its_own_extractor(ground: Ground) {
    let topic = ground.topic("raw");
    let (bus, seen) = (ground.bus("g").await, Seen::new());
    let extract = |headers: &Headers, body: &bytes::Bytes| {
        headers.get("tenant").map(|tenant| [tenant, b"/", &body[..1]].concat().into())
    };
    bus.subscription(&topic).key(extract).messages(notes_messages(&seen)).await.expect("subscribes");
    let record = Record::new("xyz").with_headers(headers(&[("X-Aggregate-ID", "a"), ("tenant", "t")]));
    bus.publish(&topic, record).await.expect("published");
    assert_eq!(seen.reached(1).await[0].label, "t/x");
    bus.publish(&topic, Record::new("xyz").with_key("k")).await.expect("published");
    assert_eq!(seen.reached(2).await[1].label, "rr-0");
    ground.end_clean(&bus).await;
}

/// Messages without a key run beside each other, numbered one by one, whatever their topic.
pub async fn r2_messages_without_a_key_go_round_robin(ground: Ground) {
    let topics = [ground.topic("one"), ground.topic("two")];
    let bus = ground.bus("g").await;
    let (seen, gate) = (Seen::new(), Arc::new(Gate::default()));
    for topic in &topics {
        let (into, gate) = (Arc::clone(&seen), Arc::clone(&gate));
        let handler = move |message: Message| {
            let (into, gate) = (Arc::clone(&into), Arc::clone(&gate));
            async move {
                into.push(Note::from(&message));
                gate.wait().await;
            }
        };
        bus.subscribe(topic, handler).await.expect("subscribes");
    }
    for n in 0..16 {
        bus.publish(&topics[n % 2], n.to_string()).await.expect("published");
    }
    // All sixteen workers have one at the same time.
    let notes = seen.reached(16).await;
    gate.open();
    let labels: HashSet<_> = notes.iter().map(|note| note.label.clone()).collect();
    assert_eq!(labels, (0..16).map(|n| format!("rr-{n}")).collect());
    ground.end_clean(&bus).await;
}

/// What is being handled, by key, and whether it ever was twice.
#[derive(Default)]
struct Exclusive {
    running: AtomicUsize,
    most: AtomicUsize,
}

impl Exclusive {
    fn enter(&self) {
        self.most.fetch_max(self.running.fetch_add(1, SeqCst) + 1, SeqCst);
    }

    fn leave(&self) {
        self.running.fetch_sub(1, SeqCst);
    }
}

/// One aggregate, three topics: one handler at a time.
pub async fn r3_an_aggregate_has_one_handler_at_a_time_whatever_the_topic(ground: Ground) {
    let (bus, seen) = (ground.bus("g").await, Seen::new());
    let topics: Vec<_> = (0..3).map(|n| ground.topic(&format!("t{n}"))).collect();
    let exclusive = Arc::new(Exclusive::default());
    for topic in &topics {
        let (into, exclusive) = (Arc::clone(&seen), Arc::clone(&exclusive));
        let handler = move |event: Event| {
            let (into, exclusive) = (Arc::clone(&into), Arc::clone(&exclusive));
            async move {
                exclusive.enter();
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                exclusive.leave();
                into.push(Note::from(&event));
            }
        };
        bus.subscribe_envelopes(topic, handler).await.expect("subscribes");
    }
    for topic in &topics {
        publish_numbers(&bus, topic, "one", 0..50).await;
    }
    let notes = seen.reached(150).await;
    assert_eq!(exclusive.most.load(SeqCst), 1);
    for topic in &topics {
        let of = notes.iter().filter(|note| note.topic == **topic).map(Note::number).collect::<Vec<_>>();
        assert_eq!(of, (0..50).collect::<Vec<_>>());
    }
    ground.end_clean(&bus).await;
}

/// A message of one topic runs while another topic's message of the same key does.
pub async fn r3_lane_scope_topic_keeps_topics_apart(ground: Ground) {
    let mut config = ground.config("g");
    config.lane_scope = LaneScope::Topic;
    let (bus, seen, gate) = (ground.bus_of(config).await, Seen::new(), Arc::new(Gate::default()));
    let (slow, quick) = (ground.topic("slow"), ground.topic("quick"));
    let opened = Arc::clone(&gate);
    let handler = move |_: Event| {
        let gate = Arc::clone(&opened);
        async move { gate.wait().await }
    };
    bus.subscribe_envelopes(&slow, handler).await.expect("subscribes");
    bus.subscribe_envelopes(&quick, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &slow, "one", 0..1).await;
    publish_numbers(&bus, &quick, "one", 0..5).await;
    assert_eq!(seen.reached(5).await.len(), 5);
    gate.open();
    ground.end_clean(&bus).await;
}

/// A message that is retried keeps its key's messages of every topic waiting, and no other key's.
pub async fn r3_a_retried_message_holds_its_key_in_every_topic(ground: Ground) {
    let (bus, seen) = (ground.bus("g").await, Seen::new());
    let (failing, other) = (ground.topic("failing"), ground.topic("other"));
    let into = Arc::clone(&seen);
    let handler = now(move |event: Event| {
        into.push((event.message.topic().to_string(), event.aggregate_id.to_string(), event.message.attempt));
        if event.message.attempt < 3 { Err("not yet") } else { Ok(()) }
    });
    bus.subscription(&failing).envelopes(handler).await.expect("subscribes");
    let into = Arc::clone(&seen);
    let handler = now(move |event: Event| {
        into.push((event.message.topic().to_string(), event.aggregate_id.to_string(), event.message.attempt));
    });
    bus.subscribe_envelopes(&other, handler).await.expect("subscribes");
    publish_numbers(&bus, &failing, "held", 0..1).await;
    seen.reached(1).await;
    publish_numbers(&bus, &other, "held", 0..1).await;
    publish_numbers(&bus, &other, "free", 0..1).await;
    let all = seen.reached(5).await;
    let held: Vec<_> =
        all.iter().filter(|(_, key, _)| key == "held").map(|(topic, _, n)| (topic.as_str(), *n)).collect();
    assert_eq!(held, [(&*failing, 1), (&*failing, 2), (&*failing, 3), (&*other, 1)]);
    ground.end_clean(&bus).await;
}

/// Five topics share the workers and the room of one pool.
pub async fn r4_all_topics_share_one_pool(ground: Ground) {
    let workers = 4;
    let (bus, gate) = (ground.bus_of(ground.sized("g", workers, 10)).await, Arc::new(Gate::default()));
    let running = Arc::new(Exclusive::default());
    let started = Seen::new();
    let topics: Vec<_> = (0..5).map(|n| ground.topic(&format!("t{n}"))).collect();
    for topic in &topics {
        let (gate, running, started) = (Arc::clone(&gate), Arc::clone(&running), Arc::clone(&started));
        let handler = move |_: Event| {
            let (gate, running, started) = (Arc::clone(&gate), Arc::clone(&running), Arc::clone(&started));
            async move {
                running.enter();
                started.push(());
                gate.wait().await;
                running.leave();
            }
        };
        bus.subscribe_envelopes(topic, handler).await.expect("subscribes");
    }
    for topic in &topics {
        let envelopes: Vec<Envelope> = (0..20).map(|n| envelope(&format!("{topic}-{n}"), n)).collect();
        super::publish(&bus, topic, &envelopes).await;
    }
    started.reached(workers).await;
    crate::deadline::until("the pool is full", || bus.pool_stats().open == workers * 10).await;
    let stats = bus.pool_stats();
    assert_eq!((stats.capacity, stats.workers), (workers * 10, workers), "{stats:?}");
    gate.open();
    started.reached(100).await;
    ground.settled("g", &topics.iter().collect::<Vec<_>>()).await;
    assert_eq!(running.most.load(SeqCst), workers);
    ground.end_clean(&bus).await;
}
