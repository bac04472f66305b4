//! Simulated days, and every fault on its own. No clock runs here.

use super::*;
use crate::health::observation::{Behind, Probes, Running, Stall};
use crate::state::Waiting;
use buslane_core::{RunningJob, SubmitError, Symptom, SymptomKind, Topic};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn topic() -> Topic {
    Topic::new("orders").unwrap()
}

/// A bus that is well.
fn well() -> Observation {
    Observation { has_answered: true, has_sources: true, ..Observation::default() }
}

fn symptom(kind: SymptomKind, since: Instant) -> Vec<Symptom> {
    vec![Symptom { kind, partition: Some((topic(), 3)), since, reason: "no".to_owned() }]
}

fn running(attempt: u64) -> Vec<Running> {
    let job = RunningJob { worker: 1, attempt, source: 7, offset: attempt };
    vec![Running { job, place: Some("orders/3".to_owned()) }]
}

fn stalls(reason: SubmitError, key: Option<String>, since: Instant) -> Vec<Stall> {
    vec![Stall { place: "orders/3".to_owned(), waiting: Waiting { reason, key, since } }]
}

/// Makes a bus have this fault since then, as a look at the time `now` sees it.
fn break_it(fault: Fault, look: &mut Observation, since: Instant, now: Instant) {
    let behind = || vec![Behind { place: "orders/3".to_owned(), unread: 5, taken: 9 }];
    let probes = |acknowledged, came_back| {
        Some(Probes {
            acknowledged: Some(acknowledged),
            came_back: Some(came_back),
            reason: "slow".to_owned(),
        })
    };
    match fault {
        Fault::BrokerGone => look.lost = Some((since, "reset".to_owned())),
        Fault::BrokerSilent => look.unanswered = Some(since),
        Fault::ClientEnded => look.symptoms = symptom(SymptomKind::ClientEnded, since),
        Fault::CredentialExpired => look.symptoms = symptom(SymptomKind::LoginRefused, since),
        Fault::GroupNotStable => look.symptoms = symptom(SymptomKind::GroupUnsettled, since),
        Fault::CommitRefused => look.symptoms = symptom(SymptomKind::SettlementRefused, since),
        Fault::PublisherStuck => look.probes = probes(since, now),
        Fault::ProbesLost => look.probes = probes(now, since),
        Fault::DeadLetterUnwritable => {
            (look.blocked.count, look.unwritable) = (1, Some("read only".to_owned()))
        }
        Fault::DeadPartition => look.behind = behind(),
        Fault::PausedTooLong => look.paused = vec![(topic(), since)],
        Fault::ReadingEnded => look.failed = Some("fenced".to_owned()),
        Fault::StuckHandler => look.running = running(4),
        Fault::BlockedKey => look.blocked.count = 1,
        Fault::PoolFull => {
            let reason = SubmitError::PoolFull { messages: 10, bytes: 10 };
            look.stalls = stalls(reason, None, since);
        }
        Fault::PartitionHeld => {
            look.stalls =
                stalls(SubmitError::LaneFull { limit: 10 }, Some("order-42".to_owned()), since);
        }
        Fault::RestartStorm => look.stats.workers_down = 1,
        Fault::MemoryCeiling => (look.memory, look.ceiling) = (Some(11), 10),
        Fault::TaskEnded => look.tasks_ended = 1,
    }
}

fn names(judge: &Judge) -> Vec<Fault> {
    judge.faults().iter().map(|found| found.fault).collect()
}

/// Each alone: not before its limit, by its name within ten seconds of it, and gone when it is
/// over.
#[test]
fn o3_each_fault_is_named_and_nothing_else_is() {
    for fault in Fault::ALL.iter().copied() {
        let mut judge = Judge::new(&HealthConfig::default());
        let limit = judge.limit(fault);
        let start = Instant::now() + SECOND * 86_400;
        judge.observe(&well(), start);
        assert!(judge.is_ready() && judge.is_live(), "{fault}");
        let mut named_after = None;
        let mut after = Duration::ZERO;
        while named_after.is_none() && after < limit + SECOND * 20 {
            let mut look = well();
            break_it(fault, &mut look, start, start + after);
            let changes = judge.observe(&look, start + after);
            if changes.iter().any(|change| change.fault == fault && change.is_on) {
                named_after = Some(after);
            } else {
                assert_eq!(names(&judge), [], "{fault}");
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
        assert_eq!(names(&judge), expected);
        assert_eq!(
            (judge.is_live(), judge.is_ready()),
            (!fault.is_deadly(), !fault.is_in_the_way()),
            "{fault}"
        );
        let changes = judge.observe(&well(), start + after);
        assert!(
            changes.iter().all(|change| !change.is_on) && changes.len() == expected.len(),
            "{fault}"
        );
        assert_eq!((names(&judge), judge.is_ready()), (vec![], true));
    }
}

#[test]
fn o3_blocked_keys_beyond_the_names_are_counted() {
    let (mut judge, now) = (Judge::new(&HealthConfig::default()), Instant::now());
    for (count, detail) in [(1, "1 more key is blocked"), (2, "2 more keys are blocked")] {
        let mut look = well();
        look.blocked.count = count;
        judge.observe(&look, now);
        let found: Vec<_> =
            judge.faults().iter().map(|found| (found.fault, found.detail.clone())).collect();
        assert_eq!(found, [(Fault::BlockedKey, detail.to_owned())]);
    }
}

#[test]
fn o3_a_reason_is_escaped_and_cut() {
    let (mut judge, mut look) = (Judge::new(&HealthConfig::default()), well());
    look.failed = Some(format!("fenced\nERROR forged{}", "x".repeat(10_000)));
    let changes = judge.observe(&look, Instant::now());
    assert!(
        changes[0].detail.starts_with("fenced\\nERROR forged") && changes[0].detail.len() < 1_100,
        "{changes:?}"
    );
    assert_eq!(judge.faults()[0].detail, changes[0].detail);
}

#[test]
fn o3_what_goes_on_is_not_the_same_as_before() {
    let config = HealthConfig::default();
    let (mut judge, start) = (Judge::new(&config), Instant::now());
    for second in 0..600 {
        let mut look = well();
        look.running = running(second / 50);
        look.behind = vec![Behind { place: "orders/3".to_owned(), unread: 100, taken: second / 4 }];
        judge.observe(&look, start + SECOND * u32::try_from(second).unwrap());
        assert_eq!(names(&judge), []);
    }
}

#[test]
fn o3_a_storm_is_many_restarts_within_a_minute() {
    // Restarts a look, seconds between two looks, whether that is a storm.
    for (each, pause, is_storm) in
        [(1, 7, false), (1, 6, true), (9, 60, false), (10, 1, true), (100, 1, true)]
    {
        let (mut judge, start) = (Judge::new(&HealthConfig::default()), Instant::now());
        let (mut look, mut now) = (well(), start);
        let mut was_storm = false;
        for _ in 0..12 {
            look.stats.restarts += each;
            judge.observe(&look, now);
            was_storm |= names(&judge) == [Fault::RestartStorm];
            now += SECOND * pause;
        }
        assert_eq!(was_storm, is_storm, "{each} every {pause} s");
        judge.observe(&look, now + WINDOW);
        assert_eq!(names(&judge), []);
    }
    let mut judge = Judge::new(&HealthConfig { restarts: 0, ..HealthConfig::default() });
    let mut look = well();
    look.stats.restarts = 1_000;
    judge.observe(&look, Instant::now());
    assert_eq!(names(&judge), []);
}

#[test]
fn o3_a_refused_login_is_not_taken_for_a_lost_broker() {
    let (mut judge, start) = (Judge::new(&HealthConfig::default()), Instant::now());
    let mut look = well();
    look.symptoms = symptom(SymptomKind::LoginRefused, start);
    (look.lost, look.unanswered) = (Some((start, "refused".to_owned())), Some(start));
    judge.observe(&look, start + SECOND * 100);
    assert_eq!(names(&judge), [Fault::CredentialExpired]);
}

#[test]
fn o3_what_was_seen_first_names_a_broker_that_is_away() {
    // When it was reported as lost and when the question was asked that it has not answered, in
    // seconds.
    for (lost, asked, name) in
        [(10, 11, Fault::BrokerGone), (10, 9, Fault::BrokerGone), (20, 10, Fault::BrokerSilent)]
    {
        let (mut judge, start) = (Judge::new(&HealthConfig::default()), Instant::now());
        let mut look = well();
        (look.lost, look.unanswered) =
            (Some((start + SECOND * lost, "gone".to_owned())), Some(start + SECOND * asked));
        look.symptoms = symptom(SymptomKind::SettlementRefused, start);
        judge.observe(&look, start + SECOND * 40);
        assert_eq!(names(&judge), [name], "what follows from it is not told beside it");
    }
}

#[test]
fn o3_a_bus_that_starts_or_ends_has_no_faults() {
    let (mut judge, start) = (Judge::new(&HealthConfig::default()), Instant::now());
    judge.observe(&Observation::default(), start);
    assert!(
        !judge.has_started() && !judge.is_ready() && judge.is_live(),
        "the broker has not answered yet"
    );
    let mut look = well();
    look.symptoms = symptom(SymptomKind::GroupUnsettled, start);
    judge.observe(&look, start + SECOND);
    assert!(!judge.has_started() && !judge.is_ready(), "the group has not come to rest");
    judge.observe(&well(), start + SECOND * 2);
    assert!(judge.has_started() && judge.is_ready());
    let mut look = well();
    for fault in Fault::ALL {
        break_it(*fault, &mut look, start, start);
    }
    look.is_closing = true;
    judge.observe(&look, start + SECOND * 10_000);
    assert_eq!(names(&judge), []);
    assert!(judge.has_started() && judge.is_live() && !judge.is_ready());
}

/// A look at a bus in any state: a bit for each part of it, and one for each fault.
fn look_of(bits: u64, since: Instant, now: Instant) -> Observation {
    let is = |bit: usize| bits >> bit & 1 == 1;
    let mut look = Observation {
        has_answered: is(0),
        is_closing: is(1),
        has_sources: is(2),
        ..Observation::default()
    };
    let mut symptoms = Vec::new();
    for (at, fault) in Fault::ALL.iter().enumerate().filter(|(at, _)| is(at + 3)) {
        break_it(*fault, &mut look, if at % 2 == 0 { since } else { now }, now);
        symptoms.append(&mut look.symptoms);
    }
    look.symptoms = symptoms;
    look
}

#[test]
fn o3_a_bus_that_begins_says_what_it_waits_for() {
    let start = Instant::now();
    let reason = |change: fn(&mut Observation, Instant)| {
        let mut judge = Judge::new(&HealthConfig::default());
        let mut look = Observation::default();
        change(&mut look, start);
        judge.observe(&look, start);
        judge.observe(&look, start + SECOND * 3);
        let found = judge.obstacles();
        let [Obstacle { name: "starting", detail, since: Some(since), .. }] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(*since, start, "since the first look");
        detail.clone()
    };
    assert_eq!(reason(|_, _| {}), "waiting for the broker's first answer");
    assert_eq!(
        reason(|look, start| break_it(Fault::BrokerGone, look, start, start)),
        "waiting for the broker: reset"
    );
    let unsettled = |look: &mut Observation, start| {
        look.has_answered = true;
        break_it(Fault::GroupNotStable, look, start, start);
    };
    assert_eq!(reason(unsettled), "waiting for a share of the group: no");
    let judge = Judge::new(&HealthConfig::default());
    assert_eq!(judge.obstacles()[0].detail, "waiting for the first look at the bus");
}

/// A bus that was asked before it read anything waits for its first share all the same. Later ones
/// are no reason.
#[test]
fn o3_a_bus_waits_for_its_first_share() {
    let (mut judge, start) = (Judge::new(&HealthConfig::default()), Instant::now());
    let look = |has_sources, is_settled| {
        let symptoms =
            if is_settled { Vec::new() } else { symptom(SymptomKind::GroupUnsettled, start) };
        Observation { has_answered: true, has_sources, symptoms, ..Observation::default() }
    };
    let mut ready = Vec::new();
    for (second, look) in
        (1..).zip([look(false, true), look(false, false), look(true, true), look(true, false)])
    {
        judge.observe(&look, start + SECOND * second);
        ready.push((judge.is_ready(), judge.has_started()));
    }
    assert_eq!(ready, [(true, true), (false, true), (true, true), (true, true)]);
}

/// What a bus goes through without being ill, for so many seconds.
#[derive(Debug, Clone)]
enum Scene {
    Idle,
    /// Handlers that take so long, and so many messages a second.
    Busy {
        seconds: u64,
    },
    Paused,
    /// Announced, and nobody handles it yet.
    Held,
    /// A broker is restarted: the connection is lost for a moment, or a question waits.
    Restarted {
        is_silent: bool,
    },
    /// Members come and go.
    Rebalance,
    /// The pool has no room for a moment, again and again.
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

/// A look `at` seconds into a scene that began then.
fn look_into(scene: &Scene, at: u64, begin: Instant, probes: Option<Probes>) -> Observation {
    let mut look = well();
    look.probes = probes;
    let of = |seconds: u64| {
        (at / seconds, begin + SECOND * u32::try_from(at / seconds * seconds).unwrap())
    };
    match scene {
        Scene::Idle => {}
        Scene::Busy { seconds } => {
            let (turn, _) = of(*seconds);
            look.running = running(turn);
            look.behind = vec![Behind { place: "orders/1".to_owned(), unread: at, taken: at / 3 }];
            look.stats.restarts = at / 20;
        }
        Scene::Paused => look.paused = vec![(topic(), begin)],
        Scene::Held => look.held = vec![topic()],
        Scene::Restarted { is_silent: true } => look.unanswered = Some(begin),
        Scene::Restarted { .. } => {
            look.lost = Some((begin, "restarted".to_owned()));
            look.symptoms = symptom(SymptomKind::SettlementRefused, begin);
        }
        Scene::Rebalance => look.symptoms = symptom(SymptomKind::GroupUnsettled, begin),
        Scene::Pressed { seconds } => {
            let reason = SubmitError::PoolFull { messages: 10, bytes: 10 };
            look.stalls = stalls(reason, None, of(*seconds).1);
        }
    }
    look
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    /// Whatever happens to a bus, for however long: it is ready exactly when it has no reason not
    /// to be, and a reason has a name and says what was seen.
    #[test]
    fn o3_a_bus_that_is_not_ready_says_why(looks in proptest::collection::vec((any::<[u64; 3]>(), 0..60_u32), 1..20)) {
        let mut judge = Judge::new(&HealthConfig::default());
        let (start, mut now) = (Instant::now(), Instant::now());
        for ([one, two, three], seconds) in looks {
            now += SECOND * seconds;
            // An eighth of the bits, so that a bus is well now and then.
            let look = look_of(one & two & three, start, now);
            judge.observe(&look, now);
            let reasons = judge.obstacles();
            prop_assert_eq!(judge.is_ready(), reasons.is_empty(), "{:?}", look);
            let is_kept = !judge.has_started()
                || look.is_closing
                || judge.faults().iter().any(|found| found.fault.is_in_the_way());
            prop_assert!(!(is_kept && judge.is_ready()), "{:?}", look);
            for reason in reasons {
                prop_assert!(!reason.name.is_empty() && !reason.detail.is_empty(), "{:?}", reason);
                prop_assert!(reason.since.is_some_and(|since| since <= now), "{:?}", reason);
            }
        }
    }

    /// A day of idling, work, pauses and maintenance, a look each second and a probe every thirty:
    /// no alarm.
    #[test]
    fn o3_a_simulated_day_has_no_false_alarm(scenes in proptest::collection::vec(scene(), 20..60)) {
        let mut judge = Judge::new(&HealthConfig::default());
        let start = Instant::now();
        let (mut second, mut restarts) = (0_u64, 0);
        judge.observe(&well(), start);
        for (scene, length) in scenes.iter().cycle() {
            // Between two scenes the bus is well for a moment.
            let begin = start + SECOND * u32::try_from(second + 1).unwrap();
            for at in 0..*length {
                let now = begin + SECOND * u32::try_from(at).unwrap();
                let last = start + SECOND * u32::try_from((second + at) / 30 * 30).unwrap();
                let probes = Probes { acknowledged: Some(last), came_back: Some(last), reason: String::new() };
                let mut look = look_into(scene, at, begin, Some(probes));
                look.stats.restarts += restarts;
                let changes = judge.observe(&look, now);
                prop_assert_eq!(changes, vec![], "in {:?} after {} s", scene, at);
                prop_assert!(judge.is_live() && judge.is_ready());
            }
            restarts += if matches!(scene, Scene::Busy { .. }) { length / 20 } else { 0 };
            second += length + 1;
            let mut look = well();
            look.stats.restarts = restarts;
            judge.observe(&look, start + SECOND * u32::try_from(second).unwrap());
            if second > 86_400 {
                break;
            }
        }
    }
}
