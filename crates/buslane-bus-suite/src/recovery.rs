//! Recovery mode: entering, draining, leaving, and its limits. SPEC: L3

use super::{
    BusHarness, Note, Seen, envelope, events_of, fails, notes_events, notes_then_waits, publish,
    publish_numbers,
};
use RecoveryPhase::{Off, On, Ramping};
use buslane::{
    BusEvent, Config, EventBus, RateLimit, RecoveryCause, RecoveryPhase, config::RecoveryStart,
};
use buslane_core::Event;
use buslane_testkit::{
    deadline::until,
    signal::{Count, Gate},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// A configuration that checks the backlog often, starts recovery above `messages` per partition,
/// and ramps up quickly.
fn quick(mut config: Config, messages: u64) -> Config {
    config.backlog.check_interval = Duration::from_millis(20);
    (config.backlog.messages, config.backlog.age) = (messages, Duration::ZERO);
    config.recovery.ramp = Duration::from_millis(50);
    config
}

/// The transitions of the mode, without the steps of a ramp.
fn turns(events: &[BusEvent]) -> Vec<(RecoveryPhase, RecoveryPhase)> {
    let turns = events.iter().filter_map(|event| match event {
        BusEvent::Recovery { before, now } => Some((*before, now.phase)),
        _ => None,
    });
    turns.filter(|(before, now)| before != now).collect()
}

fn cause(events: &[BusEvent]) -> Option<RecoveryCause> {
    events.iter().find_map(|event| match event {
        BusEvent::Recovery { now, .. } => Some(now.cause),
        _ => None,
    })?
}

async fn left(events: &Seen<BusEvent>) -> Vec<BusEvent> {
    events
        .until("it is left", |events| turns(events).last().is_some_and(|(_, now)| *now == Off))
        .await
}

/// The number of aggregates of a backlog.
const AGGREGATES: usize = 500;

/// Counts handled messages, those out of order, and the handlers that run at once.
struct Deliveries {
    next: Vec<AtomicUsize>,
    violations: AtomicUsize,
    handled: Count,
    /// Whether the mode was on at the first message.
    first_in_mode: AtomicBool,
    waiting: usize,
    running: AtomicUsize,
    most: AtomicUsize,
}

impl Deliveries {
    fn new(waiting: usize) -> Arc<Self> {
        Arc::new(Self {
            next: (0..AGGREGATES).map(|_| AtomicUsize::new(0)).collect(),
            violations: AtomicUsize::new(0),
            handled: Count::default(),
            first_in_mode: AtomicBool::new(false),
            waiting,
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        })
    }

    async fn handle(&self, bus: &EventBus, event: &Event) {
        if self.handled.get() == 0 {
            self.first_in_mode.store(bus.recovery().is_active(), SeqCst);
        }
        let running = self.running.fetch_add(1, SeqCst) + 1;
        // The limits rise towards the end, so only the first half counts.
        if self.handled.get() < self.waiting / 2 {
            self.most.fetch_max(running, SeqCst);
        }
        let aggregate: usize = event.aggregate_id[1..].parse().expect("a number");
        let number: usize = event.payload.parse().expect("a number");
        tokio::task::yield_now().await;
        if self.next[aggregate].swap(number + 1, SeqCst) != number {
            self.violations.fetch_add(1, SeqCst);
        }
        self.running.fetch_sub(1, SeqCst);
        self.handled.add();
    }
}

/// A bus starts with a backlog. It enters recovery mode before it handles the first message. It
/// drains the backlog in key order although its subscription is unordered, at the rate and with the
/// number of keys of the mode. Then it ramps up and leaves the mode. Messages that are published to
/// another topic meanwhile arrive too.
///
/// # Panics
/// When one of these steps does not happen.
pub async fn drain(harness: &BusHarness, waiting: usize) {
    let (topic, live) = (harness.topic("waiting"), harness.topic("live"));
    let before = harness.bus("g").await;
    for part in (0..waiting).collect::<Vec<_>>().chunks(1_000) {
        let part: Vec<_> = part
            .iter()
            .map(|n| envelope(&format!("a{}", n % AGGREGATES), n / AGGREGATES))
            .collect();
        publish(&before, &topic, &part).await;
    }
    harness.end_clean(&before).await;

    // The mode ends when each partition has at most one message left: the subscription is unordered
    // afterwards, so no message of the backlog may still be queued.
    let mut config = quick(harness.sized("g", 64, 1_000), 1);
    let rate = RateLimit::new(u32::try_from(waiting).expect("not many") * 2, 500);
    (config.recovery.rate, config.recovery.keys) = (Some(rate), 20);
    // Only the check of a new source may start recovery mode.
    config.recovery.on_backlog = false;
    let (bus, page) = harness.bus_with_page(config).await;
    let (events, deliveries, seen) = (events_of(&bus), Deliveries::new(waiting), Seen::new());
    let (own, into) = (bus.clone(), Arc::clone(&deliveries));
    let handler = move |event: Event| {
        let (bus, deliveries) = (own.clone(), Arc::clone(&into));
        async move { deliveries.handle(&bus, &event).await }
    };
    // Reads the live topic first: a partition assigned with waiting messages would start the mode
    // again.
    bus.subscribe_envelopes(&live, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &live, "live", 0..1).await;
    seen.reached(1).await;
    let start = Instant::now();
    bus.subscription(&topic).ordered(false).envelopes(handler).await.expect("subscribes");
    events.until("it is entered", |events| turns(events) == [(Off, On)]).await;
    publish_numbers(&bus, &live, "live", 1..200).await;
    harness.within("the backlog", deliveries.handled.reached(waiting)).await;
    let took = start.elapsed();
    let numbers: Vec<_> = seen.reached(200).await.iter().map(Note::number).collect();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    let told = left(&events).await;
    assert_eq!(turns(&told), [(Off, On), (On, Ramping), (Ramping, Off)], "{told:?}");
    assert_eq!(cause(&told), Some(RecoveryCause::Start));
    assert!(
        told.iter().any(
            |event| matches!(event, BusEvent::BacklogEntered(behind) if behind.topic == topic)
        )
    );
    assert!(
        told.iter()
            .any(|event| matches!(event, BusEvent::BacklogLeft(behind) if behind.topic == topic))
    );
    assert!(deliveries.first_in_mode.load(SeqCst), "it is on before the first message");
    assert_eq!((deliveries.handled.get(), deliveries.violations.load(SeqCst)), (waiting, 0));
    assert!(deliveries.most.load(SeqCst) <= 20, "{}", deliveries.most.load(SeqCst));
    assert!(took >= Duration::from_millis(400), "two backlogs a second, after a burst: {took:?}");
    assert_eq!((bus.recovery().status().phase, page.value("recovery_mode_active")), (Off, 0.0));
    for text in ["recovery mode entered", "recovery mode ramps up", "recovery mode left"] {
        assert!(!harness.logs.saying(text).is_empty(), "{text}");
    }
    harness.settled("g", &[&topic, &live]).await;
    harness.end_clean(&bus).await;
}

/// See [`drain`].
pub async fn l3_what_waits_at_the_start_is_drained_in_recovery_mode(harness: BusHarness) {
    Box::pin(drain(&harness, 3_000)).await;
}

/// A few old messages start the mode, and by default it has no rate: no source waits.
pub async fn l3_old_messages_are_not_slowed_down(harness: BusHarness) {
    let topic = harness.topic("orders");
    let before = harness.bus("g").await;
    publish_numbers(&before, &topic, "a", 0..300).await;
    harness.end_clean(&before).await;
    let mut config = quick(harness.config("g"), 0);
    config.backlog.age = Duration::from_millis(1);
    config.recovery.on_backlog = false;
    let (bus, page) = harness.bus_with_page(config).await;
    let (events, seen) = (events_of(&bus), Seen::new());
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    let numbers: Vec<_> = seen.reached(300).await.iter().map(Note::number).collect();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
    let told = left(&events).await;
    assert_eq!(turns(&told), [(Off, On), (On, Ramping), (Ramping, Off)], "{told:?}");
    let limits = told.iter().find_map(|event| match event {
        BusEvent::Recovery { now, .. } => Some((now.cause, now.per_second, now.keys)),
        _ => None,
    });
    assert_eq!(limits, Some((Some(RecoveryCause::Start), None, Some(1_000))));
    assert_eq!(page.value("rate_limit_waits_total{side=\"recovery\"}"), 0.0);
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// A backlog that grows at run time starts the mode, unless that is switched off.
pub async fn l3_a_backlog_that_comes_up_later_begins_it(harness: BusHarness) {
    let topic = harness.topic("orders");
    for on_backlog in [false, true] {
        let mut config = quick(harness.config("g"), 20);
        (config.recovery.on_backlog, config.recovery.at_start) = (on_backlog, RecoveryStart::Never);
        let (bus, page) = harness.bus_with_page(config).await;
        let (events, seen, gate) = (events_of(&bus), Seen::new(), Arc::new(Gate::default()));
        bus.subscribe_envelopes(&topic, notes_then_waits(&seen, &gate)).await.expect("subscribes");
        publish_numbers(&bus, &topic, "a", 0..60).await;
        events.until("a backlog", |events| !events.is_empty()).await;
        if on_backlog {
            let all = events.until("it is entered", |events| turns(events) == [(Off, On)]).await;
            assert_eq!(cause(&all), Some(RecoveryCause::Backlog));
            let recovery = bus.recovery().status();
            assert!(bus.recovery().is_active() && page.value("recovery_mode_active") == 1.0);
            assert_eq!(
                (recovery.phase, recovery.per_second, recovery.keys),
                (On, None, Some(1_000))
            );
        }
        gate.open();
        if on_backlog {
            assert_eq!(turns(&left(&events).await), [(Off, On), (On, Ramping), (Ramping, Off)]);
        } else {
            events.until("the end of it", |events| events.len() == 2).await;
            assert!(turns(&events.all()).is_empty() && !bus.recovery().is_active());
        }
        harness.settled("g", &[&topic]).await;
        harness.end_clean(&bus).await;
    }
}

/// With `Always`, the mode starts with every bus and ends without a backlog. With `Never`, the mode
/// does not start.
pub async fn l3_always_and_never(harness: BusHarness) {
    let topic = harness.topic("orders");
    let mut config = quick(harness.config("g"), 20);
    config.recovery.at_start = RecoveryStart::Always;
    let (bus, page) = harness.bus_with_page(config.clone()).await;
    assert_eq!(harness.logs.saying("recovery mode entered").len(), 1);
    until("it is left by itself", || !bus.recovery().is_active()).await;
    until("all say so", || page.value("recovery_mode_active") == 0.0).await;
    publish_numbers(&bus, &topic, "a", 0..60).await;
    harness.end_clean(&bus).await;

    (config.recovery.at_start, config.recovery.on_backlog) = (RecoveryStart::Never, false);
    let (bus, faulty) = harness.faulty_bus(config).await;
    let (seen, gate) = (Seen::new(), Arc::new(Gate::default()));
    bus.subscribe_envelopes(&topic, notes_then_waits(&seen, &gate)).await.expect("subscribes");
    seen.reached(1).await;
    until("the backlog is known", || !bus.status().backlog.is_empty()).await;
    harness.within("some looks", faulty.lag_asked(faulty.lags_asked() + 3)).await;
    assert!(!bus.recovery().is_active());
    gate.open();
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// The mode admits a limited number of keys at a time. Without the mode, all keys run.
pub async fn l3_active_keys_are_limited(harness: BusHarness) {
    let topic = harness.topic("orders");
    let mut config = harness.config("g");
    config.recovery.keys = 3;
    let (bus, seen, gate) = (harness.bus_of(config).await, Seen::new(), Arc::new(Gate::default()));
    bus.set_recovery_mode(true);
    bus.subscribe_envelopes(&topic, notes_then_waits(&seen, &gate)).await.expect("subscribes");
    let envelopes: Vec<_> = (0..48).map(|n| envelope(&format!("a{}", n % 12), n / 12)).collect();
    publish(&bus, &topic, &envelopes).await;
    seen.reached(3).await;
    until("a source waits", || !bus.status().stalled_partitions.is_empty()).await;
    let reason = &bus.status().stalled_partitions[0].reason;
    assert_eq!(reason, "3 keys are active, which is the limit");
    assert_eq!((seen.len(), bus.pool_stats().lanes), (3, 3));
    bus.set_recovery_mode(false);
    let notes = seen.reached(12).await;
    let first: std::collections::BTreeSet<_> =
        notes.iter().map(|note| note.label.clone()).collect();
    assert_eq!(first.len(), 12, "one of each runs");
    gate.open();
    let notes = seen.reached(48).await;
    for key in 0..12 {
        assert_eq!(super::seen::numbers_of(&notes, &format!("a{key}")), (0..4).collect::<Vec<_>>());
    }
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// A blocked key is a backlog, because its message grows old, but does not keep the mode on.
pub async fn l3_a_blocked_key_does_not_keep_it_on(harness: BusHarness) {
    let topic = harness.topic("orders");
    let mut config = quick(harness.config("g"), 0);
    config.backlog.age = Duration::from_millis(60);
    (config.recovery.on_backlog, config.recovery.at_start) = (false, RecoveryStart::Never);
    let (bus, seen, mended) =
        (harness.bus_of(config).await, Seen::new(), Arc::new(AtomicBool::new(false)));
    let events = events_of(&bus);
    let is_mended = Arc::clone(&mended);
    let handler = fails(&seen, move |note| note.label == "bad" && !is_mended.load(SeqCst));
    bus.subscription(&topic).block_failed().envelopes(handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "bad", 0..3).await;
    until("the key is blocked", || bus.pool_stats().blocked_lanes == 1).await;
    events
        .until("it is a backlog", |events| {
            events.iter().any(|event| matches!(event, BusEvent::BacklogEntered(_)))
        })
        .await;
    bus.set_recovery_mode(true);
    left(&events).await;
    assert_eq!(
        (bus.status().backlog.len(), bus.recovery().is_active()),
        (1, false),
        "{:?}",
        bus.status()
    );
    mended.store(true, SeqCst);
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}

/// Each change is reported once to every callback, even if one panics. Leaving the mode manually
/// skips the ramp.
pub async fn l3_by_hand_it_is_told_of_and_left(harness: BusHarness) {
    let bus = harness.bus("g").await;
    bus.on_event(|_| std::panic::resume_unwind(Box::new("a callback's own trouble")));
    let events = events_of(&bus);
    for active in [true, true, false, false, true, false] {
        bus.set_recovery_mode(active);
        assert_eq!(
            (bus.recovery().is_active(), bus.recovery().status().phase != Off),
            (active, active)
        );
    }
    let all = events.reached(4).await;
    assert_eq!(turns(&all), [(Off, On), (On, Off), (Off, On), (On, Off)]);
    assert_eq!(cause(&all), Some(RecoveryCause::ByHand));
    until("the panics are told", || harness.logs.saying("event callback panicked").len() == 4)
        .await;
    harness.end_clean(&bus).await;
}

/// New limits of the rate and the keys apply at once, also to messages that already wait.
pub async fn l3_its_limits_can_be_changed(harness: BusHarness) {
    let topic = harness.topic("orders");
    let mut config = harness.config("g");
    config.recovery.rate = Some(RateLimit::new(1, 1));
    let (bus, page) = harness.bus_with_page(config).await;
    let (events, seen) = (events_of(&bus), Seen::new());
    bus.set_recovery_mode(true);
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..300).await;
    until("it waits", || page.value("rate_limit_waits_total{side=\"recovery\"}") > 0.0).await;
    bus.recovery().set_limits(RateLimit::new(1_000_000, 1_000), 7).expect("good limits");
    assert_eq!(seen.reached(300).await.len(), 300);
    let status = bus.recovery().status();
    assert_eq!((status.phase, status.per_second, status.keys), (On, Some(1_000_000), Some(7)));
    let is_told = |event: &BusEvent| matches!(event, BusEvent::Recovery { before: On, now } if *now == status);
    events.until("the limits are told", |events| events.iter().any(is_told)).await;
    bus.set_recovery_mode(false);
    harness.settled("g", &[&topic]).await;
    harness.end_clean(&bus).await;
}
