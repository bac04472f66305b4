//! The start and the end of a bus: the configured pool, the errors of invalid values, one answer
//! for every caller that closes the bus, and hot paths without a lock that a slow broker can hold.
//! SPEC: S1, S2, B5

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use buslane::{BusError, Config, ConfigError, EventBus};
use buslane_core::{Event, TopicSettings, TopicStrategy};
use buslane_testkit::leak;
use buslane_testkit::signal::{Barrier, Gate};

use super::harness::refused;
use super::{
    BusHarness, Note, PoolKind, Seen, envelope, fails, notes_events, notes_then_waits, now,
    publish_numbers,
};

/// Every call on a closed bus returns the same error.
pub async fn b2_a_closed_bus_refuses_everything(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    let subscription =
        bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    harness.end_clean(&bus).await;
    let closed = "eventbus is closed";
    assert_eq!(refused(bus.publish(&topic, "x").await), closed);
    assert_eq!(refused(bus.publish_batch(&topic, vec!["x".into()]).await), closed);
    assert_eq!(refused(bus.publish_envelope(&topic, super::envelope("a", 1)).await), closed);
    assert_eq!(refused(bus.publish_envelopes(&topic, &[super::envelope("a", 1)]).await), closed);
    assert_eq!(refused(bus.subscribe_envelopes("other", notes_events(&seen)).await), closed);
    assert_eq!(refused(bus.subscription(&topic).envelopes(notes_events(&seen)).await), closed);
    assert_eq!(refused(bus.topics().announce(["other"]).await), closed);
    assert_eq!(refused(bus.unsubscribe(&topic).await), closed);
    assert_eq!(refused(subscription.unsubscribe().await), closed);
    let settings = TopicSettings::default();
    assert_eq!(
        refused(bus.configure_topic(&topic, &settings, TopicStrategy::CreateOnly).await),
        closed
    );
    assert_eq!(refused(bus.topic_config(&topic).await), closed);
    assert!(bus.status().closed);
}

/// Eight concurrent shutdowns and a later one get the same answer.
pub async fn b2_every_shutdown_gets_the_same_answer(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, gate, started) = (harness.bus("g").await, Arc::new(Gate::default()), Seen::new());
    bus.subscribe_envelopes(&topic, notes_then_waits(&started, &gate)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    started.reached(1).await;
    let closing: Vec<_> = (0..8)
        .map(|_| {
            let (bus, patience) = (bus.clone(), harness.can.patience);
            tokio::spawn(async move { bus.shutdown(patience).await })
        })
        .collect();
    buslane_testkit::deadline::until("it is closed", || bus.status().closed).await;
    gate.open();
    let mut answers = Vec::new();
    for close in closing {
        answers.push(close.await.expect("no panic").expect("it reports"));
    }
    answers.push(bus.shutdown(Duration::ZERO).await.expect("it reports"));
    assert_eq!(answers[0].finished, 1, "{answers:?}");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

/// A shutdown continues after its caller is cancelled, and closes the bus.
pub async fn b2_a_shutdown_goes_on_without_its_caller(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, gate, started) = (harness.bus("g").await, Arc::new(Gate::default()), Seen::new());
    bus.subscribe_envelopes(&topic, notes_then_waits(&started, &gate)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    started.reached(1).await;
    let patience = harness.can.patience;
    let given_up = tokio::time::timeout(Duration::from_millis(5), bus.shutdown(patience)).await;
    assert!(given_up.is_err(), "a handler is running");
    gate.open();
    assert_eq!(harness.end(&bus).await.finished, 1);
}

/// The report counts messages and has the duration.
pub async fn b9_shutdown_reports(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, seen) = (harness.bus("g").await, Seen::new());
    bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..10).await;
    harness.settled("g", &[&topic]).await;
    let report = harness.end(&bus).await;
    assert_eq!((report.finished, report.abandoned, report.stragglers), (0, 0, 0), "{report:?}");
    assert!(report.elapsed > Duration::ZERO && report.elapsed < harness.can.patience);
    let line = harness.logs.saying("bus closed");
    assert_eq!(line.len(), 1, "{line:?}");
}

/// The configured deadline applies when the caller names none.
pub async fn b9_the_configured_deadline_counts(harness: BusHarness) {
    let topic = harness.topic("orders");
    let mut config = harness.config("g");
    config.shutdown_deadline = Duration::from_millis(40);
    let (bus, started) = (harness.bus_of(config).await, Seen::new());
    let into = Arc::clone(&started);
    let handler = move |_: Event| {
        into.push(());
        std::future::pending::<()>()
    };
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    started.reached(1).await;
    let report = harness.within("the shutdown", bus.close()).await.expect("it reports");
    assert_eq!((report.finished, report.abandoned, report.stragglers), (0, 1, 0), "{report:?}");
    assert!(report.elapsed >= Duration::from_millis(40), "{report:?}");
}

/// The report counts a handler that blocks its thread past the deadline as a straggler. The
/// shutdown does not wait for it.
pub async fn b9_a_handler_that_blocks_its_thread_is_named(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, started, barrier) =
        (harness.bus("g").await, Seen::new(), Arc::new(Barrier::default()));
    let (into, opened) = (Arc::clone(&started), Arc::clone(&barrier));
    let handler = now(move |_: Event| {
        into.push(());
        opened.block();
    });
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    started.reached(1).await;
    let report = harness
        .within("the shutdown", bus.shutdown(Duration::from_millis(20)))
        .await
        .expect("it reports");
    barrier.open();
    assert_eq!(report.stragglers, 1, "{report:?}");
    leak::no_more_tasks_than(0).await;
}

/// A subscribe that hangs in the broker fails at the shutdown, and does not delay it.
pub async fn b9_shutdown_ends_a_subscribe_that_hangs(harness: BusHarness) {
    let topic = harness.topic("orders");
    let (bus, faulty) = harness.faulty_bus(harness.config("g")).await;
    faulty.hold_subscribe(&topic, true);
    let hanging = tokio::spawn({
        let (bus, topic) = (bus.clone(), topic.clone());
        async move { bus.subscribe_envelopes(&topic, now(|_: Event| ())).await }
    });
    harness.within("the subscribe hangs", faulty.held(1)).await;
    harness.end_clean(&bus).await;
    assert_eq!(refused(hanging.await.expect("no panic")), "eventbus is closed");
}

/// Pairs of busy buses, shut down or dropped, leave no task behind.
pub async fn t3_many_buses_leave_nothing(harness: BusHarness) {
    let topic = harness.topic("orders");
    let before = leak::tasks();
    for round in 0..10 {
        let seen = Seen::<Note>::new();
        let buses: [EventBus; 2] = [harness.bus("g").await, harness.bus("g").await];
        for bus in &buses {
            let handler = fails(&seen, |note| note.attempt == 1 && note.number() % 7 == 0);
            bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
        }
        publish_numbers(&buses[0], &topic, &format!("a{round}"), 0..20).await;
        harness.settled("g", &[&topic]).await;
        let [one, two] = buses;
        if round % 2 == 0 {
            harness.end_clean(&one).await;
            harness.end_clean(&two).await;
        } else {
            drop((one, two));
        }
        leak::no_more_tasks_than(before).await;
    }
}

/// A shutdown waits for running handlers, so the deadline cancels a handler that shuts its own bus
/// down. The message of that handler is left for redelivery.
pub async fn b9_a_handler_may_shut_its_bus_down(harness: BusHarness) {
    let topic = harness.topic("orders");
    let bus = harness.bus("g").await;
    let own = bus.clone();
    let handler = move |_: Event| {
        let bus = own.clone();
        async move {
            let _ = bus.shutdown(Duration::from_millis(20)).await;
        }
    };
    bus.subscribe_envelopes(&topic, handler).await.expect("subscribes");
    publish_numbers(&bus, &topic, "a", 0..1).await;
    buslane_testkit::deadline::until("it is closed", || bus.status().closed).await;
    let report = harness.end(&bus).await;
    assert_eq!((report.finished, report.abandoned), (0, 1), "{report:?}");
    assert_eq!(harness.unsettled("g", &topic).await, 1);
}

/// A bus on a closed broker does not start, and leaves no task behind.
pub async fn b2_a_bus_on_a_closed_broker_does_not_start(harness: BusHarness) {
    let mut config = harness.config("g");
    config.topics = vec![harness.topic("orders").to_string()];
    let broker = harness.broker(&config).await;
    broker.close(Duration::ZERO).await.expect("nothing is open");
    let error = EventBus::with_broker(config, broker).await.expect_err("closed");
    assert_eq!(error.to_string(), "eventbus is closed");
    leak::no_more_tasks_than(0).await;
}

type Table = Vec<(String, String)>;

fn load(table: &Table) -> Result<Config, ConfigError> {
    Config::load_with(&|name| {
        table.iter().find(|(key, _)| key == name).map(|(_, value)| OsString::from(value))
    })
}

/// The prefix of this backend's environment variables.
async fn prefix(harness: &BusHarness) -> String {
    harness.broker(&harness.config("prefix")).await.backend().as_str().to_uppercase()
}

fn pair(name: String, value: impl ToString) -> (String, String) {
    (name, value.to_string())
}

/// A bus on the fixture's broker, configured by the variables in `table`.
async fn start(harness: &BusHarness, table: &Table) -> Result<EventBus, BusError> {
    let mut config = load(table)?;
    config.group = harness.fixture.name("g");
    let broker = harness.broker(&config).await;
    EventBus::with_broker(config, broker).await
}

/// The variable for all backends works, and that of this backend overrides it.
pub async fn s1_the_environment_chooses_the_pool(harness: BusHarness) {
    let own = prefix(&harness).await;
    let wanted = harness.pool == PoolKind::Actor;
    let tables: [(Table, String); 3] = [
        (vec![pair("BUSLANE_USE_ACTOR_POOL".into(), wanted)], "BUSLANE_USE_ACTOR_POOL".into()),
        (vec![pair(format!("{own}_USE_ACTOR_POOL"), wanted)], format!("{own}_USE_ACTOR_POOL")),
        (
            vec![
                pair("BUSLANE_USE_ACTOR_POOL".into(), !wanted),
                pair(format!("{own}_USE_ACTOR_POOL"), wanted),
            ],
            format!("{own}_USE_ACTOR_POOL"),
        ),
    ];
    for (at, (table, by)) in tables.into_iter().enumerate() {
        let bus = start(&harness, &table).await.expect("a bus starts");
        assert_eq!(bus.status().pool, harness.pool.name());
        assert_eq!(bus.status().pool, harness.pool.name());
        let lines = harness.logs.saying("pool chosen");
        assert_eq!(lines.len(), at + 1, "once a start");
        assert_eq!(lines[at].field("pool"), harness.pool.name());
        assert_eq!(lines[at].field("chosen_by"), format!("environment {by}"));
        harness.end_clean(&bus).await;
    }
}

/// Without a choice, the keyed pool runs, and the log names the default as its source.
pub async fn s1_the_default_is_the_keyed_pool(harness: BusHarness) {
    let bus = start(&harness, &Table::new()).await.expect("a bus starts");
    let stats = bus.pool_stats();
    assert_eq!((bus.status().pool, stats.workers, stats.capacity), ("keyed", 256, 256_000));
    assert_eq!(harness.logs.saying("pool chosen")[0].field("chosen_by"), "default");
    harness.end_clean(&bus).await;
}

/// The environment sets the sizes of the actor pool, and leaves those of the keyed pool.
pub async fn s1_the_environment_sizes_the_actor_pool(harness: BusHarness) {
    let own = prefix(&harness).await;
    let table = vec![
        pair(format!("{own}_USE_ACTOR_POOL"), u8::from(harness.pool == PoolKind::Actor)),
        pair(format!("{own}_ACTOR_POOL_SIZE"), 3),
        pair(format!("{own}_ACTOR_INBOX_SIZE"), 7),
        pair(format!("{own}_ACTOR_MAX_RESTARTS"), 0),
    ];
    let bus = start(&harness, &table).await.expect("a bus starts");
    let stats = bus.pool_stats();
    let expected = if harness.pool == PoolKind::Actor { (3, 21) } else { (256, 256_000) };
    assert_eq!((stats.workers, stats.capacity), expected);
    harness.end_clean(&bus).await;
}

/// An unreadable value is an error that names the variable and the rule; no bus starts with a
/// guess.
pub async fn s1_unreadable_values_are_errors(harness: BusHarness) {
    let own = prefix(&harness).await;
    let table = [
        (format!("{own}_USE_ACTOR_POOL"), "maybe", "must be true, false, 1 or 0"),
        (format!("{own}_USE_ACTOR_POOL"), "", "must be true, false, 1 or 0"),
        (format!("{own}_ACTOR_POOL_SIZE"), "0", "must be a whole number from 1 to"),
        (format!("{own}_ACTOR_INBOX_SIZE"), "many", "must be a whole number from 1 to"),
        (format!("{own}_ACTOR_MAX_RESTARTS"), "-1", "must be a whole number from 0 to"),
        ("BUSLANE_USE_ACTOR_POOL".to_owned(), "TRUE", "must be true, false, 1 or 0"),
    ];
    for (name, value, rule) in table {
        let error =
            start(&harness, &vec![pair(name.clone(), value)]).await.expect_err("unreadable");
        let text = error.to_string();
        assert!(text.starts_with(&format!("environment variable {name}: {rule}")), "{text}");
        assert!(text.ends_with(&format!("found {value:?}")), "{text}");
    }
    assert!(harness.logs.saying("pool chosen").is_empty());
}

/// A configuration built in code that breaks a rule is an error at the start too.
pub async fn s1_a_broken_rule_is_an_error_at_the_start(harness: BusHarness) {
    type Break = fn(&mut Config);
    let breaks: [(Break, &str); 3] = [
        (|config| config.group = " ".into(), "group: must not be blank"),
        (|config| config.retry.attempts = 0, "retry.attempts: must be at least 1"),
        (|config| config.topics = vec!["a b".into()], "topics[0]: must be a topic name"),
    ];
    for (change, text) in breaks {
        let mut config = harness.config("g");
        let broker = harness.broker(&config).await;
        change(&mut config);
        let error = EventBus::with_broker(config, broker).await.expect_err("a broken rule");
        assert!(error.to_string().starts_with(text), "{error}");
    }
}

/// Restarts with another value switch to the other pool and back. No message is lost, the order
/// holds, and nothing else changes.
pub async fn s2_the_other_pool_stays_ready(harness: BusHarness) {
    let own = prefix(&harness).await;
    let topic = harness.topic("orders");
    let seen = Seen::new();
    let first = harness.pool == PoolKind::Actor;
    for (round, use_actor) in [first, !first, first].into_iter().enumerate() {
        let bus = start(&harness, &vec![pair(format!("{own}_USE_ACTOR_POOL"), use_actor)])
            .await
            .expect("a bus starts");
        assert_eq!(bus.status().pool, if use_actor { "actor" } else { "keyed" });
        publish_numbers(&bus, &topic, "a", 10 * round..10 * round + 10).await;
        bus.subscribe_envelopes(&topic, notes_events(&seen)).await.expect("subscribes");
        seen.reached(10 * round + 5).await;
        harness.end(&bus).await;
    }
    let bus = start(&harness, &Table::new()).await.expect("a bus starts");
    let into = Arc::clone(&seen);
    bus.subscribe_envelopes(&topic, notes_events(&into)).await.expect("subscribes");
    harness.settled("g", &[&topic]).await;
    assert_eq!(
        seen.all().iter().map(Note::number).collect::<Vec<_>>(),
        (0..30).collect::<Vec<_>>()
    );
    harness.end_clean(&bus).await;
}

/// While a subscribe hangs in the broker, publishing, handling, topic settings, status and
/// statistics continue.
pub async fn b5_hot_paths_go_on_while_a_subscribe_is_stuck(harness: BusHarness) {
    let (stuck, flowing, other) =
        (harness.topic("stuck"), harness.topic("flowing"), harness.topic("other"));
    let unseen = harness.topic("never.seen.before");
    let (bus, faulty) = harness.faulty_bus(harness.config("g")).await;
    let seen = Seen::new();
    bus.subscribe_envelopes(&flowing, notes_events(&seen)).await.expect("subscribes");
    faulty.hold_subscribe(&stuck, true);
    let hanging = tokio::spawn({
        let (bus, stuck) = (bus.clone(), stuck.clone());
        async move { bus.subscribe_envelopes(&stuck, now(|_: Event| ())).await }
    });
    harness.within("the subscribe hangs", faulty.held(1)).await;
    let everything = async {
        publish_numbers(&bus, &flowing, "a", 0..10).await;
        seen.reached(10).await;
        bus.publish(&stuck, "x").await.expect("published");
        bus.publish_envelope(&unseen, envelope("a", 1)).await.expect("published");
        let settings = TopicSettings::default();
        bus.configure_topic(&other, &settings, TopicStrategy::CreateOnly).await.expect("created");
        bus.topic_config(&other).await.expect("an answer").expect("it exists");
        assert!(!bus.status().closed);
        assert!(bus.pool_stats().accepted >= 10);
        bus.set_recovery_mode(false);
    };
    harness.within("everything else", everything).await;
    assert!(!hanging.is_finished());
    faulty.hold_subscribe(&stuck, false);
    harness.within("the subscribe", hanging).await.expect("no panic").expect("subscribes");
    harness.end(&bus).await;
}

/// A shutdown waits for handlers that fill every worker. Publishes and calls that see the closed
/// flag do not wait.
pub async fn b5_the_closed_flag_is_seen_while_a_shutdown_waits(harness: BusHarness) {
    let (topic, other) = (harness.topic("orders"), harness.topic("other"));
    let bus = harness.bus("g").await;
    let (started, gate) =
        (Seen::new(), std::sync::Arc::new(buslane_testkit::signal::Gate::default()));
    bus.subscribe_envelopes(&topic, notes_then_waits(&started, &gate)).await.expect("subscribes");
    for key in 0..16 {
        publish_numbers(&bus, &topic, &format!("a{key}"), 0..1).await;
    }
    started.reached(16).await;
    let closing = harness.begin_to_end(&bus).await;
    let refused = harness.within("the answer", bus.subscribe(&other, now(|_| ()))).await;
    assert_eq!(refused.expect_err("closed").to_string(), "eventbus is closed");
    harness
        .within("a last word", bus.publish(&other, "x"))
        .await
        .expect("published while the lanes drain");
    gate.open();
    assert_eq!(closing.await.expect("no panic").finished, 16);
}
