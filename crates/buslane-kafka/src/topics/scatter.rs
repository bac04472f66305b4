//! Which assignments give the same partition of two topics to one member of a group.
//!
//! A key has the same partition number in topics with equally many partitions, so there one member
//! has the key in all of them exactly when it has that number in all of them.

use crate::config::Assignment;
use buslane_core::Topic;

/// Why a member may have another share of one of these topics than of another.
pub(super) fn scatter(assignment: Assignment, topics: &[(&Topic, u32)]) -> Option<String> {
    let (first, others) = topics.split_first().filter(|(_, others)| !others.is_empty())?;
    if assignment != Assignment::Range {
        let reason = "the assignment may give the same partition of two topics to different members; consumer.assignment \
                      `range` keeps them together where topics have equally many partitions";
        return Some(reason.to_owned());
    }
    let other = others.iter().find(|(_, partitions)| *partitions != first.1)?;
    Some(format!(
        "a key has different partitions in {} ({}) and {} ({}), which may belong to different members; give topics equally \
         many partitions",
        first.0, first.1, other.0, other.1
    ))
}

#[cfg(test)]
mod tests {
    use super::scatter;
    use crate::config::Assignment;
    use buslane_core::Topic;

    #[test]
    fn k3_only_ranges_of_equal_topics_stay_together() {
        let topics = ["a", "b", "c"].map(|name| Topic::new(name).expect("a good name"));
        let of =
            |partitions: &[u32]| topics.iter().zip(partitions.iter().copied()).collect::<Vec<_>>();
        for assignment in
            [Assignment::CooperativeSticky, Assignment::RoundRobin, Assignment::Broker]
        {
            assert_eq!(scatter(assignment, &of(&[])), None);
            assert_eq!(
                scatter(assignment, &of(&[8])),
                None,
                "one topic has one owner of a partition"
            );
            let reason = scatter(assignment, &of(&[8, 8])).expect("they may differ");
            assert!(reason.contains("consumer.assignment `range`"), "{reason}");
        }
        assert_eq!(scatter(Assignment::Range, &of(&[8, 8, 8])), None);
        let reason = scatter(Assignment::Range, &of(&[8, 8, 6])).expect("they differ");
        assert!(reason.contains("a (8) and c (6)"), "{reason}");
    }
}
