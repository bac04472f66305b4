//! Decides whether one member of a group always has a key in all of its topics.
//!
//! A key has the same partition number in topics with equally many partitions. So one member has
//! the key in all of them exactly when the assignment gives it that number of each topic.

use crate::config::Assignment;
use buslane_core::Topic;

/// Why different members may have a key in different topics; `None` when one member has it.
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
            let reason = scatter(assignment, &of(&[8, 8])).expect("scattered");
            assert!(reason.contains("consumer.assignment `range`"), "{reason}");
        }
        assert_eq!(scatter(Assignment::Range, &of(&[8, 8, 8])), None);
        let reason = scatter(Assignment::Range, &of(&[8, 8, 6])).expect("scattered");
        assert!(reason.contains("a (8) and c (6)"), "{reason}");
    }
}
