//! The choice of the pool at the start: where it is configured, and the errors of bad values. SPEC:
//! S1, S2

use super::{BusHarness, Note, PoolKind, Seen, notes_events, publish_numbers};
use buslane::{BusError, Config, ConfigError, EventBus};
use std::{ffi::OsString, sync::Arc};

type Table = Vec<(String, String)>;

fn load(table: &Table) -> Result<Config, ConfigError> {
    Config::load_with(&|name| {
        table.iter().find(|(key, _)| key == name).map(|(_, value)| OsString::from(value))
    })
}

/// The prefix of the backend's own variables.
async fn prefix(harness: &BusHarness) -> String {
    harness.broker(&harness.config("prefix")).await.backend().as_str().to_uppercase()
}

fn pair(name: String, value: impl ToString) -> (String, String) {
    (name, value.to_string())
}

/// A bus configured by these variables, on the fixture's broker.
async fn start(harness: &BusHarness, table: &Table) -> Result<EventBus, BusError> {
    let mut config = load(table)?;
    config.group = harness.fixture.name("g");
    let broker = harness.broker(&config).await;
    EventBus::with_broker(config, broker).await
}

/// The variable for every backend works, and the backend's own one overrides it.
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

/// Without a choice, the keyed pool runs, and the log says so.
pub async fn s1_the_default_is_the_keyed_pool(harness: BusHarness) {
    let bus = start(&harness, &Table::new()).await.expect("a bus starts");
    let stats = bus.pool_stats();
    assert_eq!((bus.status().pool, stats.workers, stats.capacity), ("keyed", 256, 256_000));
    assert_eq!(harness.logs.saying("pool chosen")[0].field("chosen_by"), "default");
    harness.end_clean(&bus).await;
}

/// Sizes of the actor pool come from the environment; the keyed pool keeps its own.
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

/// A configuration in code that breaks a rule is an error at the start too.
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

/// Restarts with another value switch to the other pool and back: nothing is lost, the order is
/// kept, and nothing else changes.
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
