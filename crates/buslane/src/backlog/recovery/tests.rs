//! Recovery mode in hand-written and in random histories.

use super::*;
use RecoveryPhase::{Off, On, Ramping};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn recovery(change: impl FnOnce(&mut RecoveryConfig)) -> RecoveryMode {
    let mut config = RecoveryConfig::default();
    change(&mut config);
    RecoveryMode::new(&config)
}

/// As [`recovery`], with a rate of 1,000 a second.
fn recovery_with_rate(change: impl FnOnce(&mut RecoveryConfig)) -> RecoveryMode {
    recovery(|config| {
        config.rate = Some(RateLimit::new(1_000, 100));
        change(config);
    })
}

const fn sample(is_behind: bool) -> BacklogSample {
    BacklogSample { is_behind, open: if is_behind { 50_000 } else { 0 }, accepted: 0 }
}

/// The phases before and after.
fn phases(event: Option<BusEvent>) -> Option<(RecoveryPhase, RecoveryPhase)> {
    event.map(|event| match event {
        BusEvent::Recovery { before, now } => (before, now.phase),
        other => panic!("{other:?}"),
    })
}

#[test]
fn l3_three_clean_looks_in_a_row_begin_the_ramp() {
    let (mut mode, now) = (recovery_with_rate(|_| {}), Instant::now());
    assert_eq!(mode.limits(), None);
    assert_eq!(phases(mode.checked(sample(false), now)), None);
    assert_eq!(phases(mode.checked(sample(true), now)), Some((Off, On)));
    assert_eq!(mode.status().cause, Some(RecoveryCause::Backlog));
    assert_eq!(
        mode.limits(),
        Some(RecoveryLimits { rate: Some(RateLimit::new(1_000, 100)), keys: 1_000 })
    );
    for is_behind in [false, false, true, false, false] {
        assert_eq!(phases(mode.checked(sample(is_behind), now)), None);
    }
    assert_eq!(phases(mode.checked(sample(false), now)), Some((On, Ramping)));
    assert_eq!(mode.status().cause, Some(RecoveryCause::Backlog));
}

#[test]
fn l3_the_ramp_doubles_ten_times_and_ends() {
    let (mut mode, start) = (recovery_with_rate(|config| config.clean_checks = 1), Instant::now());
    mode.begin(RecoveryCause::Start);
    mode.checked(sample(false), start);
    let mut rates = vec![mode.status().per_second];
    let mut ticks = Vec::new();
    while let Some(next) = mode.next_tick() {
        assert_eq!(mode.tick(next - SECOND / 1_000), None);
        assert!(mode.tick(next).is_some());
        ticks.push((next - start).as_secs());
        rates.push(mode.status().per_second);
    }
    assert_eq!(ticks, [6, 12, 18, 24, 30, 36, 42, 48, 54, 60]);
    let doubled = (1..=10).map(|n| Some(1_000 << n)).chain([None]);
    assert_eq!(rates, doubled.collect::<Vec<_>>());
    assert_eq!((mode.limits(), mode.status()), (None, RecoveryStatus::default()));
}

#[test]
fn l3_a_late_tick_skips_steps_and_no_ramp_is_no_ramp() {
    let (mut mode, start) = (recovery_with_rate(|config| config.clean_checks = 1), Instant::now());
    mode.begin(RecoveryCause::ByHand);
    mode.checked(sample(false), start);
    assert_eq!(phases(mode.tick(start + 20 * SECOND)), Some((Ramping, Ramping)));
    assert_eq!(mode.status().per_second, Some(16_000));
    assert_eq!(phases(mode.tick(start + 600 * SECOND)), Some((Ramping, Off)));
    let mut mode = recovery(|config| (config.clean_checks, config.ramp) = (1, Duration::ZERO));
    mode.begin(RecoveryCause::ByHand);
    assert_eq!(phases(mode.checked(sample(false), start)), Some((On, Off)));
}

#[test]
fn l3_a_backlog_in_the_ramp_brings_it_back() {
    for on_backlog in [true, false] {
        let start = Instant::now();
        let mut mode =
            recovery_with_rate(|config| (config.clean_checks, config.on_backlog) = (1, on_backlog));
        mode.begin(RecoveryCause::Start);
        mode.checked(sample(false), start);
        mode.tick(start + 30 * SECOND);
        let expected = on_backlog.then_some((Ramping, On));
        assert_eq!(phases(mode.checked(sample(true), start)), expected);
        assert_eq!(mode.status().per_second, Some(if on_backlog { 1_000 } else { 64_000 }));
        assert_eq!(mode.status().cause, Some(RecoveryCause::Start));
    }
}

#[test]
fn l3_by_hand_it_is_entered_once_and_left_at_once() {
    let mut mode = recovery(|config| config.on_backlog = false);
    assert_eq!(phases(mode.checked(sample(true), Instant::now())), None, "not on a backlog");
    assert_eq!(phases(mode.end()), None);
    assert_eq!(phases(mode.begin(RecoveryCause::ByHand)), Some((Off, On)));
    assert_eq!(phases(mode.begin(RecoveryCause::Backlog)), None);
    assert_eq!(mode.status().cause, Some(RecoveryCause::ByHand));
    assert_eq!(phases(mode.end()), Some((On, Off)));
}

/// Three checks in which more messages arrive than the rate admits double the limits, repeatedly.
#[test]
fn l3_limits_that_would_never_end_are_raised() {
    let (mut mode, mut now) = (recovery_with_rate(|_| {}), Instant::now());
    mode.begin(RecoveryCause::Start);
    let mut rates = Vec::new();
    for (open, accepted) in [
        (50_000, 30_000), // the first check has nothing to compare with
        (60_000, 30_000),
        (70_000, 30_000),
        (80_000, 30_000), // doubled
        (90_000, 60_000),
        (100_000, 60_000),
        (110_000, 10_000), // the handlers are slower than the rate: a higher one would not help
        (120_000, 60_000),
        (130_000, 60_000),
        (100_000, 60_000), // less than before
        (140_000, 60_000),
        (140_000, 60_000),
        (150_000, 55_000), // doubled again
        (150_000, 120_000),
        (70_000, 120_000),
    ] {
        now += 30 * SECOND;
        mode.checked(BacklogSample { is_behind: true, open, accepted }, now);
        rates.push(mode.status().per_second.unwrap() / 1_000);
    }
    assert_eq!(rates, [1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 4, 4, 4]);
    assert_eq!(mode.status().keys, Some(4_000));
    mode.set_limits(RecoveryLimits { rate: Some(RateLimit::new(50, 5)), keys: 7 });
    assert_eq!((mode.status().per_second, mode.status().keys), (Some(50), Some(7)));
}

/// With the defaults only the number of keys is limited. The ramp doubles it; a growing backlog
/// does not.
#[test]
fn l3_by_default_no_rate_holds_and_the_ramp_raises_the_number_of_keys() {
    let (mut mode, mut now) = (recovery(|config| config.clean_checks = 1), Instant::now());
    mode.begin(RecoveryCause::Start);
    assert_eq!(mode.limits(), Some(RecoveryLimits { rate: None, keys: 1_000 }));
    for grown in 1..=10 {
        now += 30 * SECOND;
        let behind = BacklogSample { is_behind: true, open: grown * 50_000, accepted: 30_000_000 };
        assert_eq!(mode.checked(behind, now), None);
    }
    mode.checked(sample(false), now);
    let mut keys = vec![mode.status().keys];
    while let Some(next) = mode.next_tick() {
        assert_eq!(mode.status().per_second, None);
        mode.tick(next);
        keys.push(mode.status().keys);
    }
    let doubled = (1..=10).map(|n| Some(1_000 << n)).chain([None]);
    assert_eq!(keys, doubled.collect::<Vec<_>>());
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Begin,
    End,
    Check(bool, u64, u64),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => Just(Op::Begin),
        1 => Just(Op::End),
        6 => (any::<bool>(), 0..1_000_u64, 0..2_000_000_u64).prop_map(|(is, open, accepted)| Op::Check(is, open, accepted)),
        3 => (0..90_u64).prop_map(Op::Wait),
    ]
}

proptest! {
    /// Limits are in force exactly while the mode is on, and never tighter than configured. Each
    /// event names the state before and after. Clean checks and time end the mode from any state.
    #[test]
    fn l3_every_history_is_told_and_ends(
        ops in prop::collection::vec(op(), 0..60), ramp in 0..200_u32, has_rate in any::<bool>()
    ) {
        let rate = has_rate.then_some(RateLimit::new(1_000, 100));
        let (mut mode, mut now) = (recovery(|config| (config.rate, config.ramp) = (rate, SECOND * ramp)), Instant::now());
        let mut phase = Off;
        let mut clean = 0;
        let mut hear = |mode: &RecoveryMode, event: Option<BusEvent>| {
            if let Some(BusEvent::Recovery { before, now }) = &event {
                assert_eq!(*before, phase);
                assert_eq!(*now, mode.status());
                phase = now.phase;
            }
            assert_eq!(phase, mode.status().phase, "no change without an event");
            assert_eq!(mode.limits().is_some(), phase != Off);
            assert_eq!(mode.next_tick().is_some(), phase == Ramping);
            if let Some(RecoveryLimits { rate, keys }) = mode.limits() {
                let is_kept =
                    |rate: RateLimit| (1_000..=RateLimit::MOST).contains(&rate.per_second) && rate.burst >= 100;
                assert_eq!((rate.is_some(), rate.is_none_or(is_kept)), (has_rate, true));
                assert!(keys >= 1_000);
            }
        };
        for op in ops {
            let was_on = mode.status().phase == On;
            let event = match op {
                Op::Begin => mode.begin(RecoveryCause::ByHand),
                Op::End => mode.end(),
                Op::Check(is_behind, open, accepted) => {
                    clean = if is_behind || !was_on { 0 } else { clean + 1 };
                    let event = mode.checked(BacklogSample { is_behind, open, accepted }, now);
                    prop_assert_eq!(was_on && mode.status().phase != On, clean == 3);
                    event
                }
                Op::Wait(seconds) => {
                    now += SECOND * u32::try_from(seconds).unwrap();
                    mode.tick(now)
                }
            };
            if mode.status().phase != On || !was_on {
                clean = 0;
            }
            hear(&mode, event);
        }
        for _ in 0..3 {
            let event = mode.checked(sample(false), now);
            hear(&mode, event);
        }
        let event = mode.tick(now + SECOND * 200);
        hear(&mode, event);
        prop_assert_eq!(mode.status().phase, Off);
    }
}
