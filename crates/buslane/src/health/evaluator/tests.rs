//! Simulated days, and every fault on its own, without a clock.

use super::*;
use crate::health::signals::{ProbeStatus, Running, SilentPartition, Stall};
use crate::state::Waiting;
use buslane_core::{RunningJob, SubmitError, Symptom, SymptomKind, Topic};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn topic() -> Topic {
    Topic::new("orders").unwrap()
}

/// The signals of a healthy bus.
fn well() -> Signals {
    Signals { has_answered: true, has_sources: true, ..Signals::default() }
}

fn symptom(kind: SymptomKind, since: Instant) -> Vec<Symptom> {
    vec![Symptom { kind, partition: Some((topic(), 3)), since, reason: "no".to_owned() }]
}

fn running(attempt: u64) -> Vec<Running> {
    let job = RunningJob { worker: 1, attempt, source: 7, offset: attempt };
    vec![Running { job, partition: Some("orders/3".to_owned()) }]
}

fn stalls(reason: SubmitError, key: Option<String>, since: Instant) -> Vec<Stall> {
    vec![Stall { partition: "orders/3".to_owned(), waiting: Waiting { reason, key, since } }]
}

/// Adds the signals of this fault, begun at `since`, to a check at `now`.
fn break_it(fault: Fault, signals: &mut Signals, since: Instant, now: Instant) {
    let silent = || vec![SilentPartition { partition: "orders/3".to_owned(), unread: 5, taken: 9 }];
    let probes = |acknowledged, returned| {
        Some(ProbeStatus {
            acknowledged: Some(acknowledged),
            returned: Some(returned),
            reason: "slow".to_owned(),
        })
    };
    match fault {
        Fault::BrokerGone => signals.lost = Some((since, "reset".to_owned())),
        Fault::BrokerSilent => signals.unanswered = Some(since),
        Fault::ClientEnded => signals.symptoms = symptom(SymptomKind::ClientEnded, since),
        Fault::CredentialExpired => signals.symptoms = symptom(SymptomKind::LoginRefused, since),
        Fault::GroupNotStable => signals.symptoms = symptom(SymptomKind::GroupUnsettled, since),
        Fault::CommitRefused => signals.symptoms = symptom(SymptomKind::SettlementRefused, since),
        Fault::PublisherStuck => signals.probes = probes(since, now),
        Fault::ProbesLost => signals.probes = probes(now, since),
        Fault::DeadLetterUnwritable => {
            (signals.blocked.count, signals.unwritable) = (1, Some("read only".to_owned()))
        }
        Fault::DeadPartition => signals.silent = silent(),
        Fault::PausedTooLong => signals.paused = vec![(topic(), since)],
        Fault::ReadingEnded => signals.failed = Some("fenced".to_owned()),
        Fault::StuckHandler => signals.running = running(4),
        Fault::BlockedKey => signals.blocked.count = 1,
        Fault::PoolFull => {
            let reason = SubmitError::PoolFull { messages: 10, bytes: 10 };
            signals.stalls = stalls(reason, None, since);
        }
        Fault::PartitionHeld => {
            signals.stalls =
                stalls(SubmitError::LaneFull { limit: 10 }, Some("order-42".to_owned()), since);
        }
        Fault::RestartStorm => signals.stats.workers_down = 1,
        Fault::MemoryCeiling => (signals.memory, signals.ceiling) = (Some(11), 10),
        Fault::TaskEnded => signals.tasks_ended = 1,
    }
}

fn names(evaluator: &Evaluator) -> Vec<Fault> {
    evaluator.faults().iter().map(|found| found.fault).collect()
}

/// Each fault alone: named not before its limit and at most ten seconds after it, and gone with its
/// condition.
#[test]
fn o3_each_fault_is_named_and_nothing_else_is() {
    for fault in Fault::ALL.iter().copied() {
        let mut evaluator = Evaluator::new(&HealthConfig::default());
        let limit = evaluator.limit(fault);
        let start = Instant::now() + SECOND * 86_400;
        evaluator.evaluate(&well(), start);
        assert!(evaluator.is_ready() && evaluator.is_live(), "{fault}");
        let mut named_after = None;
        let mut after = Duration::ZERO;
        while named_after.is_none() && after < limit + SECOND * 20 {
            let mut signals = well();
            break_it(fault, &mut signals, start, start + after);
            let changes = evaluator.evaluate(&signals, start + after);
            if changes.iter().any(|change| change.fault == fault && change.is_on) {
                named_after = Some(after);
            } else {
                assert_eq!(names(&evaluator), [], "{fault}");
            }
            after += SECOND;
        }
        let named_after = named_after.unwrap_or_else(|| panic!("{fault} is never named"));
        assert!(
            named_after >= limit && named_after <= limit + SECOND * 10,
            "{fault}: {named_after:?}"
        );
        let expected = match fault {
            // The key that waits for its dead letter is blocked.
            Fault::DeadLetterUnwritable => vec![fault, Fault::BlockedKey],
            _ => vec![fault],
        };
        assert_eq!(names(&evaluator), expected);
        assert_eq!(
            (evaluator.is_live(), evaluator.is_ready()),
            (!fault.is_deadly(), !fault.blocks_readiness()),
            "{fault}"
        );
        let changes = evaluator.evaluate(&well(), start + after);
        assert!(
            changes.iter().all(|change| !change.is_on) && changes.len() == expected.len(),
            "{fault}"
        );
        assert_eq!((names(&evaluator), evaluator.is_ready()), (vec![], true));
    }
}

#[test]
fn o3_blocked_keys_beyond_the_names_are_counted() {
    let (mut evaluator, now) = (Evaluator::new(&HealthConfig::default()), Instant::now());
    for (count, detail) in [(1, "1 more key is blocked"), (2, "2 more keys are blocked")] {
        let mut signals = well();
        signals.blocked.count = count;
        evaluator.evaluate(&signals, now);
        let found: Vec<_> =
            evaluator.faults().iter().map(|found| (found.fault, found.detail.clone())).collect();
        assert_eq!(found, [(Fault::BlockedKey, detail.to_owned())]);
    }
}

#[test]
fn o3_a_reason_is_escaped_and_cut() {
    let (mut evaluator, mut signals) = (Evaluator::new(&HealthConfig::default()), well());
    signals.failed = Some(format!("fenced\nERROR forged{}", "x".repeat(10_000)));
    let changes = evaluator.evaluate(&signals, Instant::now());
    assert!(
        changes[0].detail.starts_with("fenced\\nERROR forged") && changes[0].detail.len() < 1_100,
        "{changes:?}"
    );
    assert_eq!(evaluator.faults()[0].detail, changes[0].detail);
}

#[test]
fn o3_what_goes_on_is_not_the_same_as_before() {
    let config = HealthConfig::default();
    let (mut evaluator, start) = (Evaluator::new(&config), Instant::now());
    for second in 0..600 {
        let mut signals = well();
        signals.running = running(second / 50);
        signals.silent = vec![SilentPartition {
            partition: "orders/3".to_owned(),
            unread: 100,
            taken: second / 4,
        }];
        evaluator.evaluate(&signals, start + SECOND * u32::try_from(second).unwrap());
        assert_eq!(names(&evaluator), []);
    }
}

#[test]
fn o3_a_storm_is_many_restarts_within_a_minute() {
    // Restarts per check, seconds between two checks, whether that is a storm.
    for (each, pause, is_storm) in
        [(1, 7, false), (1, 6, true), (9, 60, false), (10, 1, true), (100, 1, true)]
    {
        let (mut evaluator, start) = (Evaluator::new(&HealthConfig::default()), Instant::now());
        let (mut signals, mut now) = (well(), start);
        let mut was_storm = false;
        for _ in 0..12 {
            signals.stats.restarts += each;
            evaluator.evaluate(&signals, now);
            was_storm |= names(&evaluator) == [Fault::RestartStorm];
            now += SECOND * pause;
        }
        assert_eq!(was_storm, is_storm, "{each} every {pause} s");
        evaluator.evaluate(&signals, now + WINDOW);
        assert_eq!(names(&evaluator), []);
    }
    let mut evaluator = Evaluator::new(&HealthConfig { restarts: 0, ..HealthConfig::default() });
    let mut signals = well();
    signals.stats.restarts = 1_000;
    evaluator.evaluate(&signals, Instant::now());
    assert_eq!(names(&evaluator), []);
}

#[test]
fn o3_a_refused_login_is_not_taken_for_a_lost_broker() {
    let (mut evaluator, start) = (Evaluator::new(&HealthConfig::default()), Instant::now());
    let mut signals = well();
    signals.symptoms = symptom(SymptomKind::LoginRefused, start);
    (signals.lost, signals.unanswered) = (Some((start, "refused".to_owned())), Some(start));
    evaluator.evaluate(&signals, start + SECOND * 100);
    assert_eq!(names(&evaluator), [Fault::CredentialExpired]);
}

#[test]
fn o3_what_was_seen_first_names_a_broker_that_is_away() {
    // When the connection was lost and when the unanswered ping was sent, in seconds.
    for (lost, asked, name) in
        [(10, 11, Fault::BrokerGone), (10, 9, Fault::BrokerGone), (20, 10, Fault::BrokerSilent)]
    {
        let (mut evaluator, start) = (Evaluator::new(&HealthConfig::default()), Instant::now());
        let mut signals = well();
        (signals.lost, signals.unanswered) =
            (Some((start + SECOND * lost, "gone".to_owned())), Some(start + SECOND * asked));
        signals.symptoms = symptom(SymptomKind::SettlementRefused, start);
        evaluator.evaluate(&signals, start + SECOND * 40);
        assert_eq!(names(&evaluator), [name], "what follows from it is not told beside it");
    }
}

#[test]
fn o3_a_bus_that_starts_or_ends_has_no_faults() {
    let (mut evaluator, start) = (Evaluator::new(&HealthConfig::default()), Instant::now());
    evaluator.evaluate(&Signals::default(), start);
    assert!(
        !evaluator.has_started() && !evaluator.is_ready() && evaluator.is_live(),
        "the broker has not answered yet"
    );
    let mut signals = well();
    signals.symptoms = symptom(SymptomKind::GroupUnsettled, start);
    evaluator.evaluate(&signals, start + SECOND);
    assert!(!evaluator.has_started() && !evaluator.is_ready(), "the group has not come to rest");
    evaluator.evaluate(&well(), start + SECOND * 2);
    assert!(evaluator.has_started() && evaluator.is_ready());
    let mut signals = well();
    for fault in Fault::ALL {
        break_it(*fault, &mut signals, start, start);
    }
    signals.is_closing = true;
    evaluator.evaluate(&signals, start + SECOND * 10_000);
    assert_eq!(names(&evaluator), []);
    assert!(evaluator.has_started() && evaluator.is_live() && !evaluator.is_ready());
}

/// The signals of a bus in any state: a bit for each part of it, and one for each fault.
fn signals_of(bits: u64, since: Instant, now: Instant) -> Signals {
    let is = |bit: usize| bits >> bit & 1 == 1;
    let mut signals = Signals {
        has_answered: is(0),
        is_closing: is(1),
        has_sources: is(2),
        ..Signals::default()
    };
    let mut symptoms = Vec::new();
    for (at, fault) in Fault::ALL.iter().enumerate().filter(|(at, _)| is(at + 3)) {
        break_it(*fault, &mut signals, if at % 2 == 0 { since } else { now }, now);
        symptoms.append(&mut signals.symptoms);
    }
    signals.symptoms = symptoms;
    signals
}

#[test]
fn o3_a_bus_that_begins_says_what_it_waits_for() {
    let start = Instant::now();
    let reason = |change: fn(&mut Signals, Instant)| {
        let mut evaluator = Evaluator::new(&HealthConfig::default());
        let mut signals = Signals::default();
        change(&mut signals, start);
        evaluator.evaluate(&signals, start);
        evaluator.evaluate(&signals, start + SECOND * 3);
        let found = evaluator.not_ready();
        let [NotReadyReason { name: "starting", detail, since: Some(since), .. }] = &found[..]
        else {
            panic!("{found:?}")
        };
        assert_eq!(*since, start, "since the first look");
        detail.clone()
    };
    assert_eq!(reason(|_, _| {}), "waiting for the broker's first answer");
    assert_eq!(
        reason(|signals, start| break_it(Fault::BrokerGone, signals, start, start)),
        "waiting for the broker: reset"
    );
    let unsettled = |signals: &mut Signals, start| {
        signals.has_answered = true;
        break_it(Fault::GroupNotStable, signals, start, start);
    };
    assert_eq!(reason(unsettled), "waiting for a share of the group: no");
    let evaluator = Evaluator::new(&HealthConfig::default());
    assert_eq!(evaluator.not_ready()[0].detail, "waiting for the first look at the bus");
}

/// A bus that was checked before it read anything still waits for its first share. Later shares do
/// not matter.
#[test]
fn o3_a_bus_waits_for_its_first_share() {
    let (mut evaluator, start) = (Evaluator::new(&HealthConfig::default()), Instant::now());
    let signals = |has_sources, is_settled| {
        let symptoms =
            if is_settled { Vec::new() } else { symptom(SymptomKind::GroupUnsettled, start) };
        Signals { has_answered: true, has_sources, symptoms, ..Signals::default() }
    };
    let mut ready = Vec::new();
    for (second, signals) in (1..).zip([
        signals(false, true),
        signals(false, false),
        signals(true, true),
        signals(true, false),
    ]) {
        evaluator.evaluate(&signals, start + SECOND * second);
        ready.push((evaluator.is_ready(), evaluator.has_started()));
    }
    assert_eq!(ready, [(true, true), (false, true), (true, true), (true, true)]);
}

/// A scene in the life of a healthy bus.
#[derive(Debug, Clone)]
enum Scene {
    Idle,
    /// Each attempt of a handler takes `seconds`.
    Busy {
        seconds: u64,
    },
    Paused,
    /// A topic is announced and has no handler yet.
    Held,
    /// A broker is restarted: the connection is lost for a moment, or a ping waits.
    Restarted {
        is_silent: bool,
    },
    /// Members come and go.
    Rebalance,
    /// The pool has no room, for `seconds` at a time.
    Pressed {
        seconds: u64,
    },
}

/// A scene and its length in seconds.
fn scene() -> impl Strategy<Value = (Scene, u64)> {
    prop_oneof![
        (Just(Scene::Idle), 60..14_400_u64),
        (1..59_u64, 60..3_600_u64).prop_map(|(seconds, length)| (Scene::Busy { seconds }, length)),
        (Just(Scene::Paused), 60..3_599_u64),
        (Just(Scene::Held), 60..3_599_u64),
        (1..5_u64, any::<bool>())
            .prop_map(|(away, is_silent)| (Scene::Restarted { is_silent }, away)),
        (Just(Scene::Rebalance), 1..30_u64),
        (1..5_u64, 10..600_u64).prop_map(|(seconds, length)| (Scene::Pressed { seconds }, length)),
    ]
}

/// The signals `at` seconds into a scene that began at `begin`.
fn signals_in(scene: &Scene, at: u64, begin: Instant, probes: Option<ProbeStatus>) -> Signals {
    let mut signals = well();
    signals.probes = probes;
    let of = |seconds: u64| {
        (at / seconds, begin + SECOND * u32::try_from(at / seconds * seconds).unwrap())
    };
    match scene {
        Scene::Idle => {}
        Scene::Busy { seconds } => {
            let (turn, _) = of(*seconds);
            signals.running = running(turn);
            signals.silent = vec![SilentPartition {
                partition: "orders/1".to_owned(),
                unread: at,
                taken: at / 3,
            }];
            signals.stats.restarts = at / 20;
        }
        Scene::Paused => signals.paused = vec![(topic(), begin)],
        Scene::Held => signals.held = vec![topic()],
        Scene::Restarted { is_silent: true } => signals.unanswered = Some(begin),
        Scene::Restarted { .. } => {
            signals.lost = Some((begin, "restarted".to_owned()));
            signals.symptoms = symptom(SymptomKind::SettlementRefused, begin);
        }
        Scene::Rebalance => signals.symptoms = symptom(SymptomKind::GroupUnsettled, begin),
        Scene::Pressed { seconds } => {
            let reason = SubmitError::PoolFull { messages: 10, bytes: 10 };
            signals.stalls = stalls(reason, None, of(*seconds).1);
        }
    }
    signals
}

/// A part of the usual number, which the quick tests make smaller: a simulated day takes a second.
fn cases() -> u32 {
    ProptestConfig::default().cases / 12
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// A bus with any history is ready exactly when it has no reason not to be, and each reason has
    /// a name and a detail.
    #[test]
    fn o3_a_bus_that_is_not_ready_says_why(looks in proptest::collection::vec((any::<[u64; 3]>(), 0..60_u32), 1..20)) {
        let mut evaluator = Evaluator::new(&HealthConfig::default());
        let (start, mut now) = (Instant::now(), Instant::now());
        for ([one, two, three], seconds) in looks {
            now += SECOND * seconds;
            // An eighth of the bits, so that a bus is healthy now and then.
            let signals = signals_of(one & two & three, start, now);
            evaluator.evaluate(&signals, now);
            let reasons = evaluator.not_ready();
            prop_assert_eq!(evaluator.is_ready(), reasons.is_empty(), "{:?}", signals);
            let is_kept = !evaluator.has_started()
                || signals.is_closing
                || evaluator.faults().iter().any(|found| found.fault.blocks_readiness());
            prop_assert!(!(is_kept && evaluator.is_ready()), "{:?}", signals);
            for reason in reasons {
                prop_assert!(!reason.name.is_empty() && !reason.detail.is_empty(), "{:?}", reason);
                prop_assert!(reason.since.is_some_and(|since| since <= now), "{:?}", reason);
            }
        }
    }

    /// A day of idling, work, pauses and maintenance, with a check each second and a probe every
    /// thirty, raises no alarm.
    #[test]
    fn o3_a_simulated_day_has_no_false_alarm(scenes in proptest::collection::vec(scene(), 20..60)) {
        let mut evaluator = Evaluator::new(&HealthConfig::default());
        let start = Instant::now();
        let (mut second, mut restarts) = (0_u64, 0);
        evaluator.evaluate(&well(), start);
        for (scene, length) in scenes.iter().cycle() {
            // Between two scenes the bus is healthy for a moment.
            let begin = start + SECOND * u32::try_from(second + 1).unwrap();
            for at in 0..*length {
                let now = begin + SECOND * u32::try_from(at).unwrap();
                let last = start + SECOND * u32::try_from((second + at) / 30 * 30).unwrap();
                let probes = ProbeStatus { acknowledged: Some(last), returned: Some(last), reason: String::new() };
                let mut signals = signals_in(scene, at, begin, Some(probes));
                signals.stats.restarts += restarts;
                let changes = evaluator.evaluate(&signals, now);
                prop_assert_eq!(changes, vec![], "in {:?} after {} s", scene, at);
                prop_assert!(evaluator.is_live() && evaluator.is_ready());
            }
            restarts += if matches!(scene, Scene::Busy { .. }) { length / 20 } else { 0 };
            second += length + 1;
            let mut signals = well();
            signals.stats.restarts = restarts;
            evaluator.evaluate(&signals, start + SECOND * u32::try_from(second).unwrap());
            if second > 86_400 {
                break;
            }
        }
    }
}
