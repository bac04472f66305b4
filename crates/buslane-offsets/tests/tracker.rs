//! The invariants of the tracker, on random histories. T10 (completions of an earlier generation)
//! concerns the tracker's owner, because a tracker has one generation. T6 and T7 are in `codec.rs`.
//! SPEC: K2 as far as it concerns one partition.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test")]

mod model;

use buslane_offsets::{Disposition, DoneMap, Limits, Tracker, codec};
use model::{MAX_SPAN, Model, Op, map, op, runs};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn start() -> impl Strategy<Value = u64> {
    prop_oneof![0..200_u64, Just((1 << 62) + 17)]
}

/// As a multiple of the usual number of cases, which the quick tests make smaller.
fn config(cases: u32) -> ProptestConfig {
    let cases = cases * ProptestConfig::default().cases / 256;
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(2_000))]

    /// Every history agrees with the model, whose commit point is the lowest open offset by
    /// definition.
    #[test]
    fn inv_t1_k2_no_commit_passes_an_open_offset(
        start in start(), runs in runs(), span in 1..300_u64, ops in prop::collection::vec(op(), 1..200)
    ) {
        let mut model = Model::new(map(start, &runs), span);
        // A first offset below the start is a reset, which has a test of its own.
        let _ = model.deliver(model.next);
        ops.iter().for_each(|op| model.run(op));
    }

    #[test]
    fn inv_t2_commits_never_go_back(start in start(), runs in runs(), ops in prop::collection::vec(op(), 1..300)) {
        let mut model = Model::new(map(start, &runs), 1_000);
        let _ = model.deliver(model.next);
        let mut before = start;
        for op in &ops {
            model.run(op);
            prop_assert!(model.tracker.low() >= before);
            before = model.tracker.low();
        }
    }

    #[test]
    fn inv_t3_when_all_is_done_the_commit_is_at_the_end(
        start in start(), runs in runs(), ops in prop::collection::vec(op(), 1..200)
    ) {
        let mut model = Model::new(map(start, &runs), 1_000);
        let _ = model.deliver(model.next);
        ops.iter().for_each(|op| model.run(op));
        while let Some(&offset) = model.open.last() {
            model.complete(offset);
        }
        prop_assert_eq!((model.tracker.low(), model.tracker.open()), (model.tracker.next(), 0));
    }

    #[test]
    fn inv_t4_the_order_of_completions_does_not_matter(
        start in start(), gaps in prop::collection::vec(0..5_u64, 1..200), seed in any::<u64>(), left in 0..50_usize
    ) {
        let mut tracker = Tracker::new(start, Limits::default());
        let mut offsets = Vec::new();
        for gap in gaps {
            offsets.push(tracker.next() + gap);
            prop_assert_eq!(tracker.deliver(tracker.next() + gap), Disposition::New);
        }
        let mut other = tracker.clone();
        let mut shuffled = offsets.clone();
        shuffled.sort_by_key(|offset| (offset ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let done = &shuffled[..shuffled.len().saturating_sub(left)];
        done.iter().for_each(|offset| assert!(tracker.complete(*offset)));
        done.iter().rev().for_each(|offset| assert!(other.complete(*offset) && !other.complete(*offset)));
        prop_assert_eq!((tracker.low(), tracker.next(), tracker.open()), (other.low(), other.next(), other.open()));
        prop_assert_eq!(tracker.metadata_bound(), other.metadata_bound());
        prop_assert_eq!(tracker.next_commit(4096), other.next_commit(4096));
    }

    /// After a crash at any point, offsets that were open run again, and those that the last
    /// acknowledged commit names do not.
    #[test]
    fn inv_t8_k2_after_a_restart_what_was_open_runs_and_what_was_told_does_not(
        start in start(), runs in runs(), ops in prop::collection::vec(op(), 1..200), more in prop::collection::vec(op(), 0..50)
    ) {
        let mut model = Model::new(map(start, &runs), 500);
        let _ = model.deliver(model.next);
        // No gaps: their offsets would be messages after the restart, which no broker produces.
        let run = |model: &mut Model, ops: &[Op]| {
            ops.iter().filter(|op| !matches!(op, Op::Deliver(1..))).for_each(|op| model.run(op));
        };
        run(&mut model, &ops);
        let committed = model.acknowledged.clone();
        let (offset, metadata) = committed.map_or((start, None), |commit| (commit.offset, Some(commit.metadata)));
        let done = metadata.map_or_else(|| map(start, &runs), |text| codec::decode(&text, offset, MAX_SPAN).unwrap());
        let told: BTreeSet<u64> = done.ranges().flatten().collect();
        let mut after = Model::new(done, 100_000);
        for at in offset..model.next.max(offset) {
            let is_new = after.deliver(at) == Disposition::New;
            prop_assert!(is_new || model.is_done(at), "{at} was open");
            prop_assert!(!(is_new && told.contains(&at)), "{at} was committed as done");
        }
        // The very first message may be a reset, which has a test of its own.
        let _ = after.deliver(after.next);
        run(&mut after, &more);
    }

    #[test]
    fn inv_t9_k2_gaps_never_hold_the_commit(start in start(), gaps in prop::collection::vec(0..3_000_000_u64, 1..50)) {
        let mut tracker = Tracker::new(start, Limits::default());
        for gap in gaps {
            let offset = tracker.next() + gap;
            prop_assert_eq!(tracker.deliver(offset), Disposition::New);
            prop_assert_eq!(tracker.low(), offset, "what lies below never comes");
            tracker.complete(offset);
            prop_assert_eq!(tracker.low(), offset + 1);
        }
    }
}

proptest! {
    #![proptest_config(config(300))]

    /// The metadata names only done offsets, as the model checks, also for maps too large to fit.
    #[test]
    fn inv_t5_metadata_is_honest_and_within_the_limit(
        start in start(), share in 0..100_u64, period in 1..50_u64, limit in prop_oneof![Just(4096_usize), 0..600_usize],
        runs in runs(), seed in any::<u64>()
    ) {
        let mut model = Model::new(map(start, &runs), 10_000);
        for _ in 0..3_000 {
            let _ = model.deliver(model.next);
        }
        for offset in model.open.clone() {
            if ((offset / period) ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57 > share {
                model.complete(offset);
            }
        }
        model.run(&Op::Commit(limit));
    }
}

#[test]
fn a_first_message_below_the_start_is_a_reset() {
    let mut tracker = Tracker::restore(map(1_000, &[1, 500]), Limits::default());
    assert_eq!(tracker.deliver(10), Disposition::New);
    assert_eq!((tracker.low(), tracker.next(), tracker.deliver(1_001)), (10, 11, Disposition::New));
    assert_eq!(tracker.next_commit(4096).map(|commit| commit.offset), Some(10));
    // Only the first message resets: later ones are copies.
    assert_eq!(tracker.deliver(9), Disposition::Done);
}

#[test]
fn a_full_span_stops_the_intake_until_the_lowest_is_done() {
    let mut tracker = Tracker::new(0, Limits { span: 100 });
    (0..100).for_each(|offset| assert_eq!(tracker.deliver(offset), Disposition::New));
    assert_eq!((tracker.room(), tracker.deliver(100)), (0, Disposition::Full));
    assert!(tracker.complete(50));
    assert_eq!(tracker.deliver(100), Disposition::Full);
    assert!(tracker.complete(0));
    assert_eq!(
        (tracker.room(), tracker.deliver(100), tracker.deliver(101)),
        (1, Disposition::New, Disposition::Full)
    );
}

#[test]
fn what_was_given_back_is_read_again() {
    let mut tracker = Tracker::new(0, Limits::default());
    (0..5).for_each(|offset| {
        let _ = tracker.deliver(offset);
    });
    assert!(tracker.complete(2) && tracker.give_back(3) && tracker.give_back(1));
    assert_eq!(tracker.next_wanted(), Some(1));
    let again: Vec<Disposition> = (1..6).map(|offset| tracker.deliver(offset)).collect();
    assert_eq!(
        again,
        [
            Disposition::New,
            Disposition::Done,
            Disposition::New,
            Disposition::Open,
            Disposition::New
        ]
    );
    assert_eq!((tracker.next_wanted(), tracker.low(), tracker.open()), (None, 0, 5));
}

#[test]
fn only_the_answer_to_the_offer_in_flight_counts() {
    let mut tracker = Tracker::new(0, Limits::default());
    assert!(tracker.next_commit(4096).is_none(), "nothing happened yet");
    (0..3).for_each(|offset| {
        let _ = tracker.deliver(offset);
    });
    assert!(tracker.next_commit(4096).is_none(), "an open message changes nothing");
    tracker.complete(1);
    let first = tracker.next_commit(4096).unwrap();
    assert!(tracker.next_commit(4096).is_none(), "one commit in flight");
    tracker.refused(&first);
    let second = tracker.next_commit(4096).unwrap();
    tracker.acknowledged(&first);
    assert!(tracker.next_commit(4096).is_none(), "the second one is still on its way");
    tracker.complete(0);
    tracker.acknowledged(&second);
    let third = tracker.next_commit(4096).unwrap();
    assert_eq!((third.offset, third.metadata.as_str(), third.left_out), (2, "", 0));
    tracker.acknowledged(&third);
    assert!(tracker.next_commit(4096).is_none());
}

#[test]
fn a_limit_of_nothing_offers_the_offset_alone() {
    let mut tracker = Tracker::new(0, Limits::default());
    (0..10).for_each(|offset| {
        let _ = tracker.deliver(offset);
    });
    (5..10).for_each(|offset| assert!(tracker.complete(offset)));
    let commit = tracker.next_commit(0).unwrap();
    assert_eq!((commit.metadata.as_str(), commit.left_out), ("", 5));
}

#[test]
fn k2_what_is_left_out_is_known_without_a_commit() {
    let mut tracker = Tracker::new(0, Limits::default());
    (0..10).for_each(|offset| {
        let _ = tracker.deliver(offset);
    });
    (5..8).for_each(|offset| assert!(tracker.complete(offset)));
    let commit = tracker.next_commit(0).unwrap();
    tracker.acknowledged(&commit);
    (8..10).for_each(|offset| assert!(tracker.complete(offset)));
    assert_eq!(tracker.next_commit(0), None, "the broker has that much");
    assert_eq!(tracker.left_out(), 5);
}

#[test]
fn a_restored_map_is_kept_until_it_has_been_read_past() {
    let mut tracker = Tracker::restore(map(100, &[1, 200, 1, 50]), Limits::default());
    assert_eq!(tracker.deliver(100), Disposition::New);
    assert!(tracker.complete(100));
    let commit = tracker.next_commit(4096).unwrap();
    assert_eq!(commit.offset, 301, "what is done behind it needs no map");
    let done = codec::decode(&commit.metadata, commit.offset, MAX_SPAN).unwrap();
    assert!(done.ranges().eq(std::iter::once(302..352)));
    assert_eq!(tracker.deliver(150), Disposition::Done);
    assert_eq!(DoneMap::empty(7).end(), 7);
}

#[test]
fn memory_is_given_back() {
    let mut tracker = Tracker::new(0, Limits::default());
    (0..100_000).for_each(|offset| {
        let _ = tracker.deliver(offset);
    });
    (0..99_000).for_each(|offset| {
        let _ = tracker.complete(offset);
    });
    tracker.shrink();
    assert_eq!((tracker.low(), tracker.span(), tracker.open()), (99_000, 1_000, 1_000));
    assert_eq!(tracker.deliver(100_000), Disposition::New);
    (99_000..=100_000).for_each(|offset| assert!(tracker.complete(offset)));
    assert_eq!(tracker.low(), 100_001);
}

/// The window fills the ring and begins in the middle of a word, so that its first word holds its
/// last offsets too. Behind words that are all open a done offset is still one run.
#[test]
fn inv_t5_a_done_offset_behind_open_words_is_one_run() {
    for start in [226, 34, 63] {
        for done in 1..1_024 {
            let mut tracker = Tracker::new(start, Limits::default());
            (0..1_024).for_each(|at| assert_eq!(tracker.deliver(start + at), Disposition::New));
            assert!(tracker.complete(start + done));
            let bound = tracker.metadata_bound();
            let commit = tracker.next_commit(4096).unwrap();
            assert!(commit.metadata.len() <= bound, "{start} {done}: {}", commit.metadata);
            let told = codec::decode(&commit.metadata, commit.offset, MAX_SPAN).unwrap();
            let one = start + done..start + done + 1;
            assert_eq!(told.ranges().collect::<Vec<_>>(), [one], "{start} {done}");
        }
    }
}
