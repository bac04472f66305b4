//! Which dead letters are the same one: those of a message that failed again are not, nor those of
//! two groups.

use super::{Ground, Seen, fails, publish_numbers};
use buslane_core::{Delivery, Message, Topic, broker::header};

fn message_of(mut deliveries: Vec<Delivery>) -> Message {
    let message = deliveries[0].message.clone();
    buslane_testkit::broker_suite::settle(deliveries.drain(..));
    message
}

/// Topic, partition and offset of the newest origin: the last header of each name.
fn origin(letter: &Message) -> [String; 3] {
    [header::ORIGINAL_TOPIC, header::ORIGINAL_PARTITION, header::ORIGINAL_OFFSET].map(|name| {
        String::from_utf8_lossy(letter.headers.last(name).expect("the header of the format"))
            .into_owned()
    })
}

fn place(topic: &Topic, partition: u32, offset: u64) -> [String; 3] {
    [topic.to_string(), partition.to_string(), offset.to_string()]
}

/// A letter that is published again and fails again leaves another letter, each time. The last
/// header of each name says where this failure was.
pub async fn d6_a_republished_letter_that_fails_again_leaves_another(ground: Ground) {
    let (topic, dead) = (ground.topic("orders"), ground.topic("dead"));
    let (bus, seen) = (ground.bus("g").await, Seen::new());
    bus.subscription(&topic)
        .dead_letter(&dead)
        .envelopes(fails(&seen, |_| true))
        .await
        .expect("subscribes");
    let mut letters = ground.auditor(&dead).await;
    publish_numbers(&bus, &topic, "a", 0..1).await;
    let mut letter = message_of(letters.take(1).await);
    for life in 2..5 {
        let receipt = bus.publish(&topic, &letter).await.expect("published");
        assert!(!receipt.duplicate, "{receipt:?}");
        letter = message_of(letters.take(1).await);
        assert_eq!(origin(&letter), place(&topic, receipt.partition, receipt.offset));
        let origins =
            letter.headers.iter().filter(|(name, _)| *name == header::ORIGINAL_TOPIC).count();
        assert_eq!(origins, life, "earlier lives are kept");
    }
    ground.settled("g", &[&topic]).await;
    letters.close().await;
    ground.end_clean(&bus).await;
}

/// Two groups that give up the same message leave a letter each, and each letter names its group.
pub async fn d6_each_group_leaves_its_own_letter(ground: Ground) {
    let (topic, dead) = (ground.topic("orders"), ground.topic("dead"));
    let mut buses = Vec::new();
    for group in ["one", "two"] {
        let (bus, seen) = (ground.bus(group).await, Seen::new());
        bus.subscription(&topic)
            .dead_letter(&dead)
            .envelopes(fails(&seen, |_| true))
            .await
            .expect("subscribes");
        buses.push(bus);
    }
    let mut letters = ground.auditor(&dead).await;
    publish_numbers(&buses[0], &topic, "a", 0..1).await;
    let mut groups = Vec::new();
    for _ in 0..2 {
        let letter = message_of(letters.take(1).await);
        let group = letter.headers.last(header::ORIGINAL_GROUP).expect("the header of the format");
        groups.push(String::from_utf8_lossy(group).into_owned());
    }
    groups.sort();
    assert_eq!(groups, ["one", "two"].map(|group| ground.fixture.name(group)));
    letters.close().await;
    for bus in &buses {
        ground.end_clean(bus).await;
    }
}

/// Topics that share a dead-letter topic: the same event, at the same offset of each, leaves a
/// letter for each.
pub async fn d6_each_topic_leaves_its_own_letter(ground: Ground) {
    let (one, two, dead) = (ground.topic("one"), ground.topic("two"), ground.topic("dead"));
    let (bus, seen) = (ground.bus("g").await, Seen::new());
    let envelope = super::envelope("a", 1);
    for topic in [&one, &two] {
        bus.subscription(topic)
            .dead_letter(&dead)
            .envelopes(fails(&seen, |_| true))
            .await
            .expect("subscribes");
        super::publish(&bus, topic, std::slice::from_ref(&envelope)).await;
    }
    let mut topics: Vec<_> =
        ground.audit(&dead, 2).await.iter().map(|letter| origin(letter)[0].clone()).collect();
    topics.sort();
    assert_eq!(topics, [one.to_string(), two.to_string()]);
    ground.end_clean(&bus).await;
}
