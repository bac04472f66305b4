//! Waiting until everything published so far is handled. SPEC: B9

use super::{BusHarness, Seen, envelope, fails, notes_messages, publish, publish_numbers};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

/// A call right after the first publish, when no partition may be assigned yet, ends when each
/// message was handled once.
pub async fn b9_drained_waits_for_everything_published(harness: BusHarness) {
    let (topic, other) = (harness.topic("orders"), harness.topic("notes"));
    let (bus, seen, notes) = (harness.bus("g").await, Seen::new(), Seen::new());
    bus.subscribe_envelopes(
        &topic,
        fails(&seen, |note| note.number() % 50 == 7 && note.attempt == 1),
    )
    .await
    .expect("subscribes");
    bus.subscribe(&other, notes_messages(&notes)).await.expect("subscribes");
    let all: Vec<_> = (0..300).map(|n| envelope(&format!("a{}", n % 40), n)).collect();
    publish(&bus, &topic, &all).await;
    bus.publish(&other, "one").await.expect("a receipt");
    let drained = bus.drained(harness.can.patience).await.expect("the broker answers");
    assert!(drained.is_complete(), "{drained:?}");
    assert_eq!(
        (seen.len(), notes.len()),
        (300 + 6, 1),
        "all messages, and six that were tried again"
    );
    harness.settled("g", &[&topic, &other]).await;
    let again = bus.drained(harness.can.patience).await.expect("the broker answers");
    assert_eq!(
        (again.messages(), again.is_complete()),
        (0, true),
        "nothing new, nothing to wait for"
    );
    harness.end_clean(&bus).await;
    assert!(bus.drained(Duration::from_secs(1)).await.is_err(), "a closed bus waits for nothing");
}

/// At the deadline, the error names the partition of a key that keeps failing.
pub async fn b9_drained_says_what_a_blocked_key_leaves(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, repaired) =
        (harness.bus("g").await, Seen::new(), Arc::new(AtomicBool::new(false)));
    let works = Arc::clone(&repaired);
    let handler = fails(&seen, move |note| note.label == "bad" && !works.load(SeqCst));
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "bad", 0..3).await;
    publish_numbers(&bus, &topic, "good", 0..20).await;
    seen.until("the good ones", |notes| {
        notes.iter().filter(|note| note.label == "good").count() == 20
    })
    .await;
    let drained = bus.drained(Duration::from_secs(3)).await.expect("the broker answers");
    assert_eq!((drained.left.len(), drained.is_complete()), (1, false), "{drained:?}");
    assert_eq!((&drained.left[0].topic, drained.messages() >= 3), (&topic, true), "{drained:?}");
    assert!(drained.elapsed <= harness.can.patience, "{drained:?}");
    repaired.store(true, SeqCst);
    let drained = bus.drained(harness.can.patience).await.expect("the broker answers");
    assert!(drained.is_complete(), "{drained:?}");
    assert_eq!(
        seen.all().iter().filter(|note| note.label == "bad" && note.number() == 2).count(),
        1
    );
    harness.end_clean(&bus).await;
}

/// Open messages of another member of the group count too. Dropping the call changes nothing.
pub async fn b9_drained_waits_for_the_other_members(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (seen, open) = (Seen::new(), Arc::new(tokio::sync::Semaphore::new(0)));
    let handler = || {
        let (seen, open) = (Arc::clone(&seen), Arc::clone(&open));
        move |event: buslane::Event| {
            let (seen, open) = (Arc::clone(&seen), Arc::clone(&open));
            async move {
                let _may_go_on = open.acquire().await;
                seen.push(event.envelope.event_id.clone());
            }
        }
    };
    let (one, two) = (harness.bus("g").await, harness.bus("g").await);
    one.subscribe_envelopes(&topic, handler()).await.expect("subscribes");
    two.subscribe_envelopes(&topic, handler()).await.expect("subscribes");
    let all: Vec<_> = (0..60).map(|n| envelope(&format!("a{n}"), n)).collect();
    publish(&one, &topic, &all).await;
    let early = one.drained(Duration::from_secs(3)).await.expect("the broker answers");
    assert!(!early.is_complete() && early.messages() <= 60, "{early:?}");
    assert!(
        tokio::time::timeout(Duration::from_millis(50), two.drained(harness.can.patience))
            .await
            .is_err()
    );
    open.add_permits(1_000);
    for bus in [&one, &two] {
        let drained = bus.drained(harness.can.patience).await.expect("the broker answers");
        assert!(drained.is_complete(), "{drained:?}");
    }
    let handled: std::collections::BTreeSet<_> = seen.all().into_iter().collect();
    assert_eq!(handled.len(), 60, "whichever member handled them");
    harness.end(&one).await;
    harness.end(&two).await;
}
