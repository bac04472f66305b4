//! What a group does to find an event.

use super::*;
use crate::{config::MemoryConfig, signal::Connection, signal::GroupSignal};
use buslane_core::TopicSettings;

/// Asking for an event costs a look at the topics that move, not at all topics.
#[tokio::test]
async fn inv_a_group_at_rest_looks_at_no_topic() {
    let config = MemoryConfig { partitions: 4, ..MemoryConfig::default() };
    let context = GroupContext {
        group: 1,
        group_name: "g".into(),
        span: 64,
        signal: Arc::new(GroupSignal::default()),
        connection: Arc::new(Connection::default()),
    };
    let group = Group::new(context);
    let (one, mut intakes) = (group.join(Duration::from_secs(1)), Vec::new());
    for n in 0..50 {
        let name = Topic::new(&format!("t{n}")).unwrap();
        let topic = Arc::new(TopicState::new(name, &config, &TopicSettings::default()));
        assert!(group.subscribe(one, vec![(topic, false)], OffsetReset::Earliest));
        assert_eq!(group.state.lock().moving.len(), 0);
    }
    while let NextEvent::Assigned(intake) = group.next_event(one) {
        intakes.push(intake);
    }
    assert_eq!(intakes.len(), 200);
    // A second member takes its share of one topic: that one moves, and no other.
    let two = group.join(Duration::from_secs(1));
    let topic =
        group.state.lock().topics.values().next().map(|table| Arc::clone(&table.topic)).unwrap();
    assert!(group.subscribe(two, vec![(topic, false)], OffsetReset::Earliest));
    assert_eq!(intakes.iter().filter(|intake| intake.assignment.is_ended()).count(), 2);
    assert!(
        matches!(group.next_event(two), NextEvent::Assigned(_))
            && matches!(group.next_event(two), NextEvent::Assigned(_))
    );
    assert_eq!(group.state.lock().moving.len(), 0);
    group.leave(two, Instant::now());
    assert_eq!(
        std::iter::from_fn(|| match group.next_event(one) {
            NextEvent::Assigned(intake) => Some(intake),
            _ => None,
        })
        .count(),
        2
    );
}
