//! Random histories of the lanes, checked against a naive twin after every step. SPEC: P3, P5, P9,
//! R3 as far as they are about lanes.
#![allow(clippy::unwrap_used, reason = "a test")]

mod model;

use buslane_lanes::{Bounds, LaneKind, Lanes, Refusal};
use model::{Pair, op};
use proptest::prelude::*;
use std::time::{Duration, Instant};

fn bounds() -> impl Strategy<Value = Bounds> {
    (1..12_usize, 1..40_usize, 1..8_usize, 0..8_usize, 0..30_usize, 0..8_usize, 1..60_u64).prop_map(
        |(messages, bytes, lane_messages, failing_messages, failing_bytes, keys, idle)| Bounds {
            messages,
            bytes,
            lane_messages,
            failing_messages,
            failing_bytes,
            keys,
            key_idle: Duration::from_millis(idle),
        },
    )
}

/// A multiple of the usual number, which the quick tests make smaller.
fn cases() -> u32 {
    20 * ProptestConfig::default().cases
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// SPEC: P3, P5, L3, L4. Order and one at a time per key, conservation, bounds, progress, and
    /// which keys are remembered.
    #[test]
    fn p3_every_history_of_the_lanes_is_that_of_the_model(
        bounds in bounds(), ops in prop::collection::vec(op(), 1..120)
    ) {
        let mut pair = Pair::new(bounds);
        ops.iter().for_each(|op| pair.run(op));
        pair.drain();
    }

    /// With any number of failing messages, a healthy key is refused only because of messages that
    /// were admitted before they failed.
    #[test]
    fn p9_failing_keys_do_not_close_the_intake(keys in 1..6_u64, rounds in 1..30_usize, failing_messages in 0..6_usize) {
        let bounds = Bounds { messages: 8, lane_messages: 8, failing_messages, ..Bounds::default() };
        let (mut lanes, now) = (Lanes::new(bounds), Instant::now());
        for id in 0..keys {
            lanes.admit(id, LaneKind::Keyed, 1, || id).unwrap();
        }
        let mut taken = Vec::new();
        while lanes.take(1, |lane, id| taken.push((lane, id))) {}
        for (lane, id) in taken {
            lanes.defer(lane, id, now + Duration::from_secs(1), true);
        }
        for round in 0..rounds {
            for id in 0..keys {
                if let Err(refusal) = lanes.admit(id, LaneKind::Keyed, 1, || id) {
                    prop_assert!(matches!(refusal, Refusal::FailingFull | Refusal::LaneFull));
                }
            }
            let healthy = 100 + round as u64;
            prop_assert_eq!(lanes.admit(healthy, LaneKind::Keyed, 1, || healthy), Ok(true));
            let mut taken = None;
            prop_assert!(lanes.take(1, |lane, id| taken = Some((lane, id))));
            let (lane, id) = taken.unwrap();
            prop_assert_eq!(id, healthy);
            lanes.finish(lane, 1, 1);
        }
    }
}
