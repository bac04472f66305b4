//! What a membership counts.

use super::{Arrival, CommitRules, Membership, TopicPartition};
use std::time::Duration;

#[test]
fn k2_each_settled_offset_without_room_in_the_metadata_counts_once() {
    let rules = CommitRules { interval: Duration::ZERO, every: 1, metadata_limit: 0 };
    let mut membership = Membership::new(rules);
    let partition = TopicPartition::new("orders", 0).expect("a good name");
    let generation = membership.assign(partition, Some((0, ""))).generation;
    for offset in 0..10 {
        assert_eq!(membership.arrived(generation, offset), Arrival::Run);
    }
    let mut commit = |done: &[u64], is_refused: bool| {
        membership.settled(generation, done, &[]);
        membership.offers(&[generation]);
        membership.answered(|_| is_refused);
        membership.left_out()
    };
    assert_eq!(commit(&[5, 6, 7], true), 3);
    assert_eq!(commit(&[8], false), 4, "a commit that is sent again leaves no further ones out");
    assert_eq!(commit(&[9], false), 5, "also where nothing is worth a commit");
    assert_eq!(commit(&[0, 1, 2, 3, 4], false), 5);
}
