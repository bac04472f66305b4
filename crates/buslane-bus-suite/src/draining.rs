//! The shutdown of a busy bus, and the wait until all published messages are handled. SPEC: B9

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use buslane::{Drained, EventBus};
use buslane_core::Event;
use buslane_testkit::{deadline::LIMIT, signal::Gate};

use super::{
    BusHarness, Note, Seen, envelope, fails, notes_events, notes_messages, notes_then_waits,
    publish, publish_numbers,
};

/// Running and queued messages finish before the deadline, and none is delivered again.
pub async fn b9_shutdown_drains_what_is_queued(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, gate) =
        (harness.bus_of(harness.sized("g", 4, 100)).await, Seen::new(), Arc::new(Gate::default()));
    bus.subscribe_envelopes(&topic, notes_then_waits(&seen, &gate)).await.expect("subscribes");
    let envelopes: Vec<_> = (0..200).map(|n| envelope(&format!("a{}", n % 20), n)).collect();
    publish(&bus, &topic, &envelopes).await;
    buslane_testkit::deadline::until("all are queued", || bus.pool_stats().accepted == 200).await;
    let closing = harness.begin_to_end(&bus).await;
    // Gives the bus time to notice that its sources have ended; queued messages finish in any case.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    gate.open();
    let report = closing.await.expect("no panic");
    assert_eq!((report.finished, report.abandoned, report.stragglers), (200, 0, 0), "{report:?}");
    assert_eq!(super::seen::sorted(&seen.all()), (0..200).collect());
    assert_eq!(harness.unsettled("g", &topic).await, 0);
}

/// A shutdown does not wait for a backoff: a message between two attempts is left for redelivery.
pub async fn b9_shutdown_does_not_wait_for_a_backoff(harness: BusHarness) {
    let topic = harness.topic("orders");
    let mut config = harness.config("g");
    (config.retry.initial, config.retry.max) =
        (Duration::from_secs(3600), Duration::from_secs(3600));
    let (bus, seen) = (harness.bus_of(config).await, Seen::new());
    bus.subscribe_envelopes(&topic, fails(&seen, |note| note.body == "0"))
        .await
        .expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..3).await;
    buslane_testkit::deadline::until("the lane waits", || bus.pool_stats().failing == 3).await;
    let report = harness.end(&bus).await;
    assert_eq!((report.finished, report.abandoned), (0, 3), "{report:?}");
    let (bus, again) = (harness.bus("g").await, Seen::new());
    bus.subscribe_envelopes(&topic, notes_events(&again)).await.expect("subscribes");
    assert_eq!(again.reached(3).await.iter().map(Note::number).collect::<Vec<_>>(), [0, 1, 2]);
    harness.end_clean(&bus).await;
}

/// A handler that runs when the shutdown begins does not run twice.
pub async fn b9_a_running_handler_is_awaited_and_not_repeated(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, gate) = (harness.bus("g").await, Seen::new(), Arc::new(Gate::default()));
    bus.subscribe_envelopes(&topic, notes_then_waits(&seen, &gate)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    seen.reached(1).await;
    let closing = harness.begin_to_end(&bus).await;
    assert!(!closing.is_finished());
    gate.open();
    let report = closing.await.expect("no panic");
    assert_eq!((report.finished, report.abandoned), (1, 0), "{report:?}");
    let bus = harness.bus("g").await;
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 1..2).await;
    assert_eq!(seen.reached(2).await.iter().map(Note::number).collect::<Vec<_>>(), [0, 1]);
    harness.end_clean(&bus).await;
}

/// A message that fails while the bus drains is left for redelivery, and so are all later messages
/// of its key: they must not overtake a retry that will not run.
pub async fn d3_a_failure_while_the_bus_drains_keeps_the_order(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen, gate) = (harness.bus("g").await, Seen::new(), Arc::new(Gate::default()));
    let (into, opened) = (Arc::clone(&seen), Arc::clone(&gate));
    let handler = move |event: Event| {
        let (into, gate) = (Arc::clone(&into), Arc::clone(&opened));
        async move {
            let note = Note::from(&event);
            into.push(note.clone());
            gate.wait().await;
            if note.label == "bad" { Err("not while it drains") } else { Ok(()) }
        }
    };
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "bad", 0..5).await;
    publish_numbers(&bus, &topic, "good", 0..5).await;
    buslane_testkit::deadline::until("all are queued", || bus.pool_stats().accepted == 10).await;
    seen.reached(2).await;
    let closing = harness.begin_to_end(&bus).await;
    // The failed message ends differently before and after the pool closes. The order holds either
    // way.
    gate.open();
    let report = closing.await.expect("no panic");
    assert_eq!((report.finished, report.abandoned), (5, 5), "{report:?}");
    let bad = super::seen::numbers_of(&seen.all(), "bad");
    assert!(bad.iter().all(|number| *number == 0), "{bad:?}");
    let (bus, again) = (harness.bus("g").await, Seen::new());
    bus.subscribe_envelopes(&topic, notes_events(&again)).await.expect("subscribes");
    harness.settled("g", &[&topic]).await;
    assert_eq!(super::seen::numbers_of(&again.all(), "bad"), [0, 1, 2, 3, 4]);
    assert_eq!(again.len(), 5);
    harness.end_clean(&bus).await;
}

/// A handler may still publish while the lanes drain.
pub async fn b9_handlers_may_publish_while_the_bus_drains(harness: BusHarness) {
    let (topic, answers) = (harness.topic("orders"), harness.topic("answers"));
    let (bus, gate, started) = (harness.bus("g").await, Arc::new(Gate::default()), Seen::new());
    let (opened, into, publisher, to) =
        (Arc::clone(&gate), Arc::clone(&started), bus.clone(), answers.clone());
    let handler = move |_: Event| {
        let (gate, into, bus, to) =
            (Arc::clone(&opened), Arc::clone(&into), publisher.clone(), to.clone());
        async move {
            into.push(());
            gate.wait().await;
            bus.publish(&to, "done").await.map(drop)
        }
    };
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    started.reached(1).await;
    let closing = harness.begin_to_end(&bus).await;
    gate.open();
    let report = closing.await.expect("no panic");
    assert_eq!((report.finished, report.abandoned), (1, 0), "{report:?}");
    assert_eq!(harness.audit(&answers, 1).await[0].payload, "done");
}

/// Each publish during the shutdown gets an answer: stored or closed.
pub async fn b2_closing_while_publishing_answers_everybody(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    let publishers: Vec<_> = (0..4)
        .map(|publisher| {
            let (bus, topic) = (bus.clone(), topic.clone());
            tokio::spawn(async move {
                for n in 0.. {
                    let envelope = super::envelope(&format!("p{publisher}"), n);
                    match bus.publish_envelope(&topic, envelope).await {
                        Ok(_) => tokio::task::yield_now().await,
                        Err(error) => {
                            assert_eq!(error.to_string(), "eventbus is closed");
                            return n;
                        }
                    }
                }
                0
            })
        })
        .collect();
    seen.reached(50).await;
    harness.end(&bus).await;
    let mut stored = 0;
    for publisher in publishers {
        stored += publisher.await.expect("no panic");
    }
    // Stored messages that were not handled are left for the next bus.
    let next = harness.bus("g").await;
    next.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    harness.settled("g", &[&topic]).await;
    let distinct: std::collections::HashSet<_> =
        seen.all().into_iter().map(|note| (note.label, note.body)).collect();
    assert_eq!(distinct.len(), stored);
    harness.end_clean(&next).await;
}

/// Each subscribe and unsubscribe during the shutdown gets an answer, and leaves nothing behind.
pub async fn b2_closing_while_subscribing_answers_everybody(harness: BusHarness) {
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let topics: Vec<_> = (0..4).map(|n| harness.topic(&format!("t{n}"))).collect();
    let rounds = Seen::new();
    let subscribing: Vec<_> = topics
        .iter()
        .map(|topic| {
            let (bus, topic, seen, rounds) =
                (bus.clone(), topic.clone(), Arc::clone(&seen), Arc::clone(&rounds));
            tokio::spawn(async move {
                loop {
                    let answer = match bus.subscribe_envelopes(&topic, notes_events(&seen)).await {
                        Ok(subscription) => subscription.unsubscribe().await,
                        Err(error) => Err(error),
                    };
                    match answer {
                        Ok(()) => rounds.push(()),
                        Err(error) => return error.to_string(),
                    }
                }
            })
        })
        .collect();
    rounds.reached(20).await;
    harness.end_clean(&bus).await;
    for subscribe in subscribing {
        assert_eq!(
            harness.within("an answer", subscribe).await.expect("no panic"),
            "eventbus is closed"
        );
    }
}

/// `drained`, called right after the first publish and perhaps before any partition is assigned,
/// returns when each message was handled once.
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

/// At the deadline, the result names the partition of a key that keeps failing.
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
    let drained = not_yet_drained(&bus).await;
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

/// Calls `drained` while messages are left. A starved broker may not answer before the deadline,
/// which is an error: then the deadline is doubled.
async fn not_yet_drained(bus: &EventBus) -> Drained {
    let mut deadline = Duration::from_secs(3);
    loop {
        match bus.drained(deadline).await {
            Ok(drained) => return drained,
            Err(error) if deadline > LIMIT => panic!("no answer within {deadline:?}: {error}"),
            Err(_) => deadline *= 2,
        }
    }
}

/// `drained` also waits for open messages of other members of the group. Dropping its future
/// changes nothing.
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
    let early = not_yet_drained(&one).await;
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
