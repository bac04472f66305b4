//! Assigns the partitions of a topic to members. The numbers of partitions differ by at most one,
//! and as few partitions as possible move.
//!
//! Pure: members are numbers, and partitions are indices.

/// The number of a member in its group.
pub(crate) type MemberId = u64;

/// Assigns each partition to one of `members`, which are in the order of joining; `None` for all
/// when there are no members. A present owner keeps its partition unless the shares would be
/// uneven.
pub(crate) fn balance(present: &[Option<MemberId>], members: &[MemberId]) -> Vec<Option<MemberId>> {
    if members.is_empty() {
        return vec![None; present.len()];
    }
    let least = present.len() / members.len();
    let mut extra = present.len() % members.len();
    let mut held = vec![0_usize; members.len()];
    let mut shares: Vec<Option<MemberId>> = vec![None; present.len()];
    // The first pass keeps partitions up to the even share. The second pass keeps one more while
    // any remain.
    for round in 0..2 {
        for (share, owner) in shares.iter_mut().zip(present) {
            let Some(at) =
                owner.and_then(|owner| members.iter().position(|member| *member == owner))
            else {
                continue;
            };
            if share.is_some() || held[at] >= least + round || (round == 1 && extra == 0) {
                continue;
            }
            extra -= round;
            held[at] += 1;
            *share = *owner;
        }
    }
    // The other partitions go to the members with the fewest partitions, in the order of joining.
    for share in shares.iter_mut().filter(|share| share.is_none()) {
        let fewest = held.iter().copied().min().unwrap_or_default();
        let at = held.iter().position(|count| *count == fewest).unwrap_or_default();
        held[at] += 1;
        *share = Some(members[at]);
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn m1_joining_and_leaving_move_few_partitions() {
        let alone = balance(&[None; 4], &[1]);
        assert_eq!(alone, [Some(1); 4]);
        let two = balance(&alone, &[1, 2]);
        assert_eq!(two, [Some(1), Some(1), Some(2), Some(2)]);
        let three = balance(&two, &[1, 2, 3]);
        assert_eq!(three, [Some(1), Some(1), Some(2), Some(3)]);
        assert_eq!(balance(&three, &[2, 3]), [Some(2), Some(3), Some(2), Some(3)]);
        assert_eq!(balance(&three, &[]), [None; 4]);
    }

    proptest! {
        #[test]
        fn m1_shares_are_even_and_sticky(present in prop::collection::vec(prop::option::of(0_u64..6), 0..40), members in prop::collection::btree_set(0_u64..6, 1..6)) {
            let members: Vec<u64> = members.into_iter().collect();
            let shares = balance(&present, &members);
            let count = |of: &[Option<u64>], member: u64| of.iter().filter(|owner| **owner == Some(member)).count();
            let counts: Vec<usize> = members.iter().map(|member| count(&shares, *member)).collect();
            prop_assert_eq!(counts.iter().sum::<usize>(), present.len());
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
            prop_assert_eq!(&balance(&shares, &members), &shares, "settled shares do not move");
            let least = present.len() / members.len();
            for member in &members {
                let kept = present.iter().zip(&shares).filter(|(was, is)| **was == Some(*member) && was == is).count();
                prop_assert!(kept >= count(&present, *member).min(least));
            }
        }
    }
}
