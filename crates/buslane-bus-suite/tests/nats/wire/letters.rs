//! Dead letters at the limits of a real server, and in streams that hold more than one topic.

use super::kit::{PATIENCE, bare, bus, collected, config, name};
use async_nats::jetstream::stream;
use buslane::{Envelope, Event, EventBus, Record, Topic};
use buslane_testkit::deadline::within;

async fn create_stream(topics: &[&Topic], max_message_size: i32) {
    let config = stream::Config {
        name: topics[0].to_string(),
        subjects: topics.iter().map(ToString::to_string).collect(),
        max_message_size,
        ..stream::Config::default()
    };
    bare().await.create_stream(config).await.expect("a stream");
}

/// Subscribes with a handler that always fails, and one attempt per message.
async fn give_up(bus: &EventBus, topic: &Topic, dead: &Topic) {
    let subscription = bus.subscription(topic).dead_letter(dead).retry(buslane::Retry::attempts(1));
    subscription
        .envelopes(|_: Event| std::future::ready(Err::<(), _>("no")))
        .await
        .expect("subscribes");
}

/// A stream deduplicates message ids across its subjects. A letter that returns to a topic of its
/// own stream must not count as a duplicate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6_a_letter_goes_back_within_its_own_stream() {
    let (bus, topic, dead) = (bus(config()).await, name("orders"), name("dead"));
    create_stream(&[&topic, &dead], -1).await;
    let (letters, count, collect) = collected();
    bus.subscribe(&dead, collect).await.expect("subscribes");
    give_up(&bus, &topic, &dead).await;
    bus.publish_envelope(&topic, &Envelope::new("a", "Counted", &1).expect("valid"))
        .await
        .expect("stored");
    for life in 1..4 {
        within(PATIENCE, "a letter", count.reached(life)).await;
        let letter = Record::from(&letters.lock()[life - 1]);
        let receipt = bus.publish(&topic, letter).await.expect("stored");
        assert!(!receipt.duplicate, "life {life}: {receipt:?}");
    }
    within(PATIENCE, "the last letter", count.reached(4)).await;
    bus.shutdown(PATIENCE).await.expect("it reports");
}

/// A recreated stream counts from 1 again: the same event at the same sequence is another message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6_a_stream_that_was_made_anew_leaves_new_letters() {
    let (topic, dead) = (name("orders"), name("dead"));
    let envelope = Envelope::new("a", "Counted", &1).expect("valid");
    let (letters, count, collect) = collected();
    let reader = bus(config()).await;
    reader.subscribe(&dead, collect).await.expect("subscribes");
    for life in 1..3 {
        let bus = bus(config()).await;
        give_up(&bus, &topic, &dead).await;
        let receipt = bus.publish_envelope(&topic, &envelope).await.expect("stored");
        assert_eq!((receipt.offset, receipt.duplicate), (1, false));
        within(PATIENCE, "a letter", count.reached(life)).await;
        bus.shutdown(PATIENCE).await.expect("it reports");
        bare().await.delete_stream(topic.as_str()).await.expect("deleted");
    }
    assert_eq!(letters.lock().len(), 2);
    reader.shutdown(PATIENCE).await.expect("it reports");
}

/// A message fits its own stream but not that of the dead letters. A reduced letter lets the next
/// message of the lane continue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6_a_message_at_the_limit_leaves_a_reduced_letter() {
    let (bus, topic, dead) = (bus(config()).await, name("orders"), name("dead"));
    create_stream(&[&topic], -1).await;
    create_stream(&[&dead], 40_000).await;
    let (letters, count, collect) = collected();
    bus.subscribe(&dead, collect).await.expect("subscribes");
    give_up(&bus, &topic, &dead).await;
    // A server accepts at most 64 KiB of headers, and these come close.
    let long: buslane::Headers = [("long", &[b'h'; 60_000][..])].into_iter().collect();
    let records = [
        Record::new(vec![b'x'; 100_000]),
        Record::new("torn").with_headers(long),
        Record::new("torn"),
    ];
    for record in records {
        bus.publish(&topic, record.with_key("k")).await.expect("stored");
    }
    within(PATIENCE, "letters", count.reached(3)).await;
    let said: Vec<_> = letters
        .lock()
        .iter()
        .map(|letter| {
            letter.headers.get("X-Truncated").map(|said| String::from_utf8_lossy(said).into_owned())
        })
        .collect();
    assert_eq!(
        said,
        [Some("body 16384 of 100000".to_owned()), Some("headers 0 of 1".to_owned()), None]
    );
    assert_eq!(bus.pool_stats().blocked_lanes, 0);
    bus.shutdown(PATIENCE).await.expect("it reports");
}
