//! A broker that misbehaves, and groups of several buses: nothing is lost, order holds. SPEC: M2, K3

use super::{Fault, Ground, Note, Seen, envelope, fails, notes_events, publish, publish_numbers};
use crate::leak;
use buslane::{EventBus, Topic};
use buslane_core::{Event, Handler};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Which keys are being handled, on all buses of a scenario.
#[derive(Default)]
struct Busy(Mutex<HashSet<String>>);

impl Busy {
    fn enter(&self, key: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned())
    }

    fn leave(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// A handler that takes a few turns, and notes the bus by its name. Two of one key at once are noted as `twice`.
fn busy(seen: &Arc<Seen<(&'static str, Note)>>, busy: &Arc<Busy>, who: &'static str) -> impl Handler<Event> + use<> {
    let (seen, busy) = (Arc::clone(seen), Arc::clone(busy));
    move |event: Event| {
        let (seen, busy) = (Arc::clone(&seen), Arc::clone(&busy));
        async move {
            let alone = busy.enter(&event.aggregate_id);
            for _ in 0..event.message.offset % 4 {
                tokio::task::yield_now().await;
            }
            busy.leave(&event.aggregate_id);
            seen.push((if alone { who } else { "twice" }, Note::from(&event)));
        }
    }
}

/// Every number of every key came, its first time in order. Returns how many came more than once.
fn check_order(notes: &[Note], keys: usize, numbers: usize) -> usize {
    let mut next: HashMap<&str, usize> = HashMap::new();
    let mut again = 0;
    for note in notes {
        let next = next.entry(&note.label).or_default();
        assert!(note.number() <= *next, "{} of {} came before {next}", note.number(), note.label);
        if note.number() == *next {
            *next += 1;
        } else {
            again += 1;
        }
    }
    assert_eq!((next.len(), next.values().all(|next| *next == numbers)), (keys, true), "{next:?}");
    again
}

fn plain(seen: &Seen<(&'static str, Note)>) -> Vec<Note> {
    let all = seen.all();
    assert!(all.iter().all(|(who, _)| *who != "twice"), "two handlers of one key at once");
    all.into_iter().map(|(_, note)| note).collect()
}

async fn publish_round(bus: &EventBus, topic: &Topic, keys: usize, numbers: std::ops::Range<usize>) {
    let envelopes: Vec<_> = numbers.flat_map(|n| (0..keys).map(move |key| envelope(&format!("a{key}"), n))).collect();
    publish(bus, topic, &envelopes).await;
}

/// A lost acknowledgement brings its message again, a duplicate comes twice; nothing is lost or out of order.
pub async fn m2_lost_acks_and_duplicates_lose_nothing(ground: Ground) {
    let topic = ground.topic("orders");
    for nth in [1, 7, 50, 51, 399] {
        ground.fault(Fault::LoseAck(topic.clone(), nth)).await;
    }
    for nth in [2, 30, 200] {
        ground.fault(Fault::Duplicate(topic.clone(), nth)).await;
    }
    let (bus, seen, keys) = (ground.bus("g").await, Seen::new(), Arc::new(Busy::default()));
    bus.subscribe_envelopes(&topic, busy(&seen, &keys, "one")).await.expect("subscribes");
    publish_round(&bus, &topic, 20, 0..20).await;
    ground.settled("g", &[&topic]).await;
    super::kit::idle(&bus).await;
    crate::deadline::until("the copies have ended", || bus.pool_stats().open == 0).await;
    assert_eq!(check_order(&plain(&seen), 20, 20), 8);
    ground.end_clean(&bus).await;
}

/// Partitions are revoked again and again while messages flow.
pub async fn k3_rebalances_lose_nothing(ground: Ground) {
    let topic = ground.topic("orders");
    let (seen, keys) = (Seen::new(), Arc::new(Busy::default()));
    let (one, two) = (ground.bus("g").await, ground.bus("g").await);
    one.subscribe_envelopes(&topic, busy(&seen, &keys, "one")).await.expect("subscribes");
    two.subscribe_envelopes(&topic, busy(&seen, &keys, "two")).await.expect("subscribes");
    for round in 0..10 {
        publish_round(&one, &topic, 40, 5 * round..5 * round + 5).await;
        ground.fault(Fault::Rebalance(ground.fixture.name("g"))).await;
    }
    ground.settled("g", &[&topic]).await;
    crate::deadline::until("nothing is open", || one.pool_stats().open + two.pool_stats().open == 0).await;
    check_order(&plain(&seen), 40, 50);
    ground.end_clean(&one).await;
    ground.end_clean(&two).await;
}

/// A single bus is revoked everything and given it again.
pub async fn k3_a_rebalance_of_a_single_bus_loses_nothing(ground: Ground) {
    let topic = ground.topic("orders");
    let (seen, keys, bus) = (Seen::new(), Arc::new(Busy::default()), ground.bus("g").await);
    bus.subscribe_envelopes(&topic, busy(&seen, &keys, "one")).await.expect("subscribes");
    for round in 0..10 {
        publish_round(&bus, &topic, 40, 5 * round..5 * round + 5).await;
        ground.fault(Fault::Rebalance(ground.fixture.name("g"))).await;
    }
    ground.settled("g", &[&topic]).await;
    check_order(&plain(&seen), 40, 50);
    ground.end_clean(&bus).await;
}

/// What waits for its retry when its partition is revoked is tried by the next owner at once, not after the wait.
pub async fn d3_a_waiting_retry_moves_with_its_partition(ground: Ground) {
    let topic = ground.topic("orders");
    let mut config = ground.config("g");
    (config.retry.initial, config.retry.max) = (Duration::from_secs(3600), Duration::from_secs(3600));
    let (seen, bus) = (Seen::<Note>::new(), ground.bus_of(config).await);
    let first = std::sync::atomic::AtomicBool::new(true);
    let handler = fails(&seen, move |_| first.swap(false, std::sync::atomic::Ordering::SeqCst));
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..5).await;
    crate::deadline::until("the lane waits", || bus.pool_stats().parked == 5).await;
    ground.fault(Fault::Rebalance(ground.fixture.name("g"))).await;
    ground.settled("g", &[&topic]).await;
    assert_eq!(seen.all().iter().map(Note::number).collect::<Vec<_>>(), [0, 0, 1, 2, 3, 4]);
    ground.end_clean(&bus).await;
}

/// Two buses of a group share the work; each message is handled once; when one ends the other has it all.
pub async fn k3_two_buses_share_and_hand_over(ground: Ground) {
    let topic = ground.topic("orders");
    let (seen, keys) = (Seen::new(), Arc::new(Busy::default()));
    let (one, two) = (ground.bus("g").await, ground.bus("g").await);
    one.subscribe_envelopes(&topic, busy(&seen, &keys, "one")).await.expect("subscribes");
    two.subscribe_envelopes(&topic, busy(&seen, &keys, "two")).await.expect("subscribes");
    publish_round(&one, &topic, 100, 0..5).await;
    ground.settled("g", &[&topic]).await;
    assert_eq!(check_order(&plain(&seen), 100, 5), 0, "each once");
    let by = |who| seen.all().iter().filter(|(name, _)| *name == who).count();
    assert!(by("one") > 0 && by("two") > 0, "{} and {}", by("one"), by("two"));

    publish_round(&two, &topic, 100, 5..10).await;
    ground.end(&one).await;
    let before = by("one");
    publish_round(&two, &topic, 100, 10..15).await;
    ground.settled("g", &[&topic]).await;
    assert_eq!(check_order(&plain(&seen), 100, 15), 0, "each once, also across the hand-over");
    assert_eq!(by("one"), before);
    ground.end_clean(&two).await;
}

/// One of two crashes: the other takes over what was open.
pub async fn d1_another_bus_takes_over_after_a_crash(ground: Ground) {
    let topic = ground.topic("orders");
    let (seen, keys) = (Seen::new(), Arc::new(Busy::default()));
    let (one, two) = (ground.bus("g").await, ground.bus("g").await);
    let started = Seen::new();
    let into = Arc::clone(&started);
    let stuck = move |_: Event| {
        into.push(());
        std::future::pending::<()>()
    };
    let subscription = one.subscribe_envelopes(&topic, stuck).await.expect("subscribes");
    two.subscribe_envelopes(&topic, busy(&seen, &keys, "two")).await.expect("subscribes");
    publish_round(&two, &topic, 100, 0..5).await;
    started.reached(1).await;
    let tasks = leak::tasks();
    drop((subscription, one));
    crate::deadline::until("its tasks are gone", || leak::tasks() < tasks).await;
    ground.settled("g", &[&topic]).await;
    check_order(&plain(&seen), 100, 5);
    ground.end_clean(&two).await;
}

/// The connection is cut while messages are handled: what is done meanwhile counts, the rest goes on afterwards.
pub async fn m2_a_cut_connection_loses_nothing(ground: Ground) {
    let topic = ground.topic("orders");
    let (seen, keys, bus) = (Seen::new(), Arc::new(Busy::default()), ground.bus("g").await);
    bus.subscribe_envelopes(&topic, busy(&seen, &keys, "one")).await.expect("subscribes");
    for round in 0..5 {
        publish_round(&bus, &topic, 40, 5 * round..5 * round + 5).await;
        ground.fault(Fault::Disconnect).await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        ground.fault(Fault::Reconnect).await;
    }
    ground.settled("g", &[&topic]).await;
    check_order(&plain(&seen), 40, 25);
    ground.end_clean(&bus).await;
}

/// Failures, panics, lost acknowledgements and rebalances together.
pub async fn d2_everything_at_once_loses_nothing(ground: Ground) {
    let topic = ground.topic("orders");
    let (one, two) = (ground.bus("g").await, ground.bus("g").await);
    let seen = Seen::<Note>::new();
    for bus in [&one, &two] {
        let into = Arc::clone(&seen);
        let handler = super::now(move |event: Event| {
            let note = Note::from(&event);
            match (note.offset % 11, note.attempt) {
                (3, 1) => Err("first attempt"),
                (5, 1) => std::panic::resume_unwind(Box::new("first attempt")),
                _ => {
                    into.push(note);
                    Ok(())
                }
            }
        });
        bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    }
    for round in 0..10 {
        ground.fault(Fault::LoseAck(topic.clone(), round + 1)).await;
        ground.fault(Fault::Duplicate(topic.clone(), 2 * round + 1)).await;
        let round = usize::try_from(round).expect("small");
        publish_round(&two, &topic, 30, 5 * round..5 * round + 5).await;
        if round % 3 == 0 {
            ground.fault(Fault::Rebalance(ground.fixture.name("g"))).await;
        }
    }
    ground.settled("g", &[&topic]).await;
    crate::deadline::until("nothing is open", || one.pool_stats().open + two.pool_stats().open == 0).await;
    check_order(&seen.all(), 30, 50);
    ground.end_clean(&one).await;
    ground.end_clean(&two).await;
}

/// Two buses of different groups in one process, with the same names everywhere else: neither notices the other.
pub async fn k3_buses_of_other_groups_are_not_disturbed(ground: Ground) {
    let topic = ground.topic("orders");
    let (one, two) = (ground.bus("g").await, ground.bus("h").await);
    let (seen_one, seen_two) = (Seen::new(), Seen::new());
    one.subscribe_envelopes(&topic, notes_events(&seen_one)).await.expect("subscribes");
    two.subscribe_envelopes(&topic, notes_events(&seen_two)).await.expect("subscribes");
    publish_numbers(&one, &topic, "a", 0..5).await;
    seen_one.reached(5).await;
    ground.end_clean(&one).await;
    publish_numbers(&two, &topic, "a", 5..10).await;
    assert_eq!(seen_two.reached(10).await.iter().map(Note::number).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert_eq!(ground.unsettled("g", &topic).await, 5);
    ground.end_clean(&two).await;
}

/// Partitions are revoked while their messages fail: what fails when it is revoked is not passed by what stood
/// behind it.
pub async fn k3_a_failure_in_a_rebalance_keeps_the_order(ground: Ground) {
    let topic = ground.topic("orders");
    let (seen, bus) = (Seen::<Note>::new(), ground.bus("g").await);
    let into = Arc::clone(&seen);
    let handler = move |event: Event| {
        let into = Arc::clone(&into);
        async move {
            let note = Note::from(&event);
            tokio::task::yield_now().await;
            if note.attempt == 1 && note.offset % 2 == 0 {
                return Err("the first attempt");
            }
            into.push(note);
            Ok(())
        }
    };
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    for round in 0..40 {
        publish_round(&bus, &topic, 40, 5 * round..5 * round + 5).await;
        ground.fault(Fault::Rebalance(ground.fixture.name("g"))).await;
        tokio::task::yield_now().await;
    }
    ground.settled("g", &[&topic]).await;
    assert_eq!(check_order(&seen.all(), 40, 200), 0);
    ground.end_clean(&bus).await;
}

/// The same where it is the subscription that ends.
pub async fn b3_a_failure_as_its_subscription_ends_keeps_the_order(ground: Ground) {
    let topic = ground.topic("orders");
    let (seen, bus) = (Seen::<Note>::new(), ground.bus_of(ground.sized("g", 4, 8)).await);
    for round in 0..40 {
        let into = Arc::clone(&seen);
        let handler = move |event: Event| {
            let into = Arc::clone(&into);
            async move {
                let note = Note::from(&event);
                tokio::task::yield_now().await;
                if note.attempt == 1 && note.offset % 2 == 0 {
                    return Err("the first attempt");
                }
                into.push(note);
                Ok(())
            }
        };
        bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
        let before = seen.len();
        publish_round(&bus, &topic, 40, 5 * round..5 * round + 5).await;
        seen.reached(before + round % 11).await;
        bus.unsubscribe(&topic).await.expect("unsubscribes");
    }
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    ground.settled("g", &[&topic]).await;
    assert_eq!(check_order(&seen.all(), 40, 200), 0);
    ground.end_clean(&bus).await;
}
