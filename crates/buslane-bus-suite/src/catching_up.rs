//! A bus starts while 200,000 messages wait, on any of the three brokers. SPEC: L3, L1, B8
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests may do as tests do")]

use crate::now;
use buslane::{
    BusEvent, Config, Envelope, Event, EventBus, RateLimit, RecoveryCause, RecoveryPhase,
    TopicSettings, TopicStrategy,
};
use buslane_testkit::{deadline::within, server, signal::Count};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

const WAITING: u64 = 200_000;
const AGGREGATES: u64 = 5_000;
const LIVE: u64 = 2_000;
const RATE: u32 = 40_000;
const PARTITIONS: u32 = 8;
const PATIENCE: Duration = Duration::from_secs(300);

/// Counts the messages of both topics, and those that are out of order or repeated.
struct Books {
    next: Vec<AtomicU64>,
    violations: AtomicU64,
    waiting: Count,
    live: Count,
}

impl Books {
    fn handle(&self, event: &Event, count: &Count, first: u64) {
        let aggregate: u64 = event.aggregate_id[1..].parse().expect("a number");
        let number: u64 = event.payload.parse().expect("a number");
        let next = &self.next[usize::try_from(first + aggregate).expect("few")];
        if next.swap(number + 1, SeqCst) != number {
            self.violations.fetch_add(1, SeqCst);
        }
        count.add();
    }
}

async fn publish(bus: &EventBus, topic: &str, messages: u64) {
    for start in (0..messages).step_by(2_000) {
        let numbers = start..messages.min(start + 2_000);
        let envelope = |n: u64| {
            Envelope::new(format!("a{}", n % AGGREGATES), "Counted", &(n / AGGREGATES)).unwrap()
        };
        let envelopes: Vec<_> = numbers.map(envelope).collect();
        for answer in bus.publish_envelopes(topic, &envelopes).await.unwrap() {
            answer.unwrap();
        }
    }
}

/// `config` with frequent backlog checks and a short ramp.
fn quick(mut config: Config) -> Config {
    config.group = server::unique("recovery");
    config.recovery.rate = Some(RateLimit::new(RATE, 2_000));
    config.recovery.keys = 500;
    // Only the check of a new source may start recovery mode.
    config.recovery.on_backlog = false;
    config.recovery.ramp = Duration::from_secs(1);
    config.backlog.check_interval = Duration::from_millis(200);
    config.backlog.messages = 1_000;
    config
}

/// One bus publishes a backlog, and another one catches up.
pub async fn catches_up(config: Config, connect: impl AsyncFn(Config) -> EventBus) {
    let (before, bus) = (connect(quick(config.clone())).await, connect(quick(config)).await);
    let (waiting, live) = (server::unique("waiting"), server::unique("live"));
    let settings = TopicSettings { partitions: Some(PARTITIONS), ..TopicSettings::default() };
    for topic in [&waiting, &live] {
        before.configure_topic(topic, &settings, TopicStrategy::CreateOnly).await.unwrap();
    }
    publish(&before, &waiting, WAITING).await;
    before.shutdown(PATIENCE).await.unwrap();

    let books = Arc::new(Books {
        next: (0..2 * AGGREGATES).map(|_| AtomicU64::new(0)).collect(),
        violations: AtomicU64::new(0),
        waiting: Count::default(),
        live: Count::default(),
    });
    let events = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&events);
    bus.on_event(move |event| heard.lock().unwrap().push(event.clone()));
    let start = Instant::now();
    let (of_waiting, of_live) = (Arc::clone(&books), Arc::clone(&books));
    let handler = now(move |event: Event| of_waiting.handle(&event, &of_waiting.waiting, 0));
    bus.subscribe_envelopes(&waiting, handler).await.unwrap();
    let handler = now(move |event: Event| of_live.handle(&event, &of_live.live, AGGREGATES));
    bus.subscribe_envelopes(&live, handler).await.unwrap();
    publish(&bus, &live, LIVE).await;
    within(PATIENCE, "the live ones", books.live.reached(usize::try_from(LIVE).unwrap())).await;
    within(PATIENCE, "the backlog", books.waiting.reached(usize::try_from(WAITING).unwrap())).await;
    let took = start.elapsed();
    let turns = || {
        let events = events.lock().unwrap();
        let turns = events.iter().filter_map(|event| match event {
            BusEvent::Recovery { before, now } if *before != now.phase => {
                Some((*before, now.phase, now.cause))
            }
            _ => None,
        });
        turns.collect::<Vec<_>>()
    };
    let left = async {
        while turns().last().is_none_or(|(_, now, _)| *now != RecoveryPhase::Off) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(PATIENCE, "the end of recovery mode", left).await;
    use RecoveryPhase::{Off, On, Ramping};
    let cause = Some(RecoveryCause::Start);
    assert_eq!(turns(), [(Off, On, cause), (On, Ramping, cause), (Ramping, Off, None)]);
    // The rate holds until each partition of both topics has at most 1,000 messages left.
    let least = Duration::from_secs_f64(
        (WAITING + LIVE - 2 * 1_000 * u64::from(PARTITIONS)) as f64 / f64::from(RATE),
    );
    assert!(took >= least, "{took:?}, not less than {least:?}");
    assert_eq!(
        (books.waiting.get() as u64, books.live.get() as u64),
        (WAITING, LIVE),
        "none lost, none twice"
    );
    assert_eq!(books.violations.load(SeqCst), 0);
    let report = bus.shutdown(PATIENCE).await.unwrap();
    assert_eq!((report.abandoned, report.stragglers), (0, 0), "{report:?}");
    println!(
        "{} messages in {took:?}, recovery mode left after {:?}",
        WAITING + LIVE,
        start.elapsed()
    );
}
