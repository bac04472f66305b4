//! Random histories of two members, one partition, and a group that stores the last commit, without
//! a broker.

use super::{Arrival, CommitRules, Membership, TopicPartition};
use buslane_offsets::{Limits, codec::decode};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// The end of the partition.
const END: u64 = 60;

#[derive(Debug, Clone, Copy)]
enum SimulatedStep {
    /// The coordinator assigns the partition to a member, if it is free.
    Give(usize),
    /// The client reads a number of messages.
    Read(usize, u64),
    /// A handler finishes its message.
    Done(usize, usize),
    /// A handler gives its message back.
    Back(usize, usize),
    /// A commit is due; the broker accepts it or refuses.
    Commit(usize, bool),
    /// The partition is revoked, after all handlers have finished or before.
    Revoke(usize, bool),
    /// The partition is lost: the other member may have it already.
    Lose(usize),
    Crash(usize),
}

fn step() -> impl Strategy<Value = SimulatedStep> {
    let who = 0..2_usize;
    prop_oneof![
        3 => who.clone().prop_map(SimulatedStep::Give),
        6 => (who.clone(), 1..8_u64).prop_map(|(who, count)| SimulatedStep::Read(who, count)),
        8 => (who.clone(), any::<usize>()).prop_map(|(who, which)| SimulatedStep::Done(who, which)),
        1 => (who.clone(), any::<usize>()).prop_map(|(who, which)| SimulatedStep::Back(who, which)),
        4 => (who.clone(), prop::bool::weighted(0.8)).prop_map(|(who, taken)| SimulatedStep::Commit(who, taken)),
        2 => (who.clone(), prop::bool::weighted(0.7)).prop_map(|(who, patient)| SimulatedStep::Revoke(who, patient)),
        1 => who.clone().prop_map(SimulatedStep::Lose),
        1 => who.prop_map(SimulatedStep::Crash),
    ]
}

struct Member {
    machine: Membership,
    /// The generation of the member's assignment.
    has: Option<u64>,
    position: u64,
    /// The generation and the offset of each message in a handler.
    running: BTreeSet<(u64, u64)>,
}

impl Member {
    fn new() -> Self {
        let rules = CommitRules { interval: Duration::ZERO, every: 1, metadata_limit: 4_096 };
        Self { machine: Membership::new(rules), has: None, position: 0, running: BTreeSet::new() }
    }
}

struct Group {
    members: [Member; 2],
    committed: Option<(u64, String)>,
    /// The number of times that each offset was done.
    done: BTreeMap<u64, u32>,
    /// Whether a member released a partition before its handlers ended, or crashed.
    is_rough: bool,
}

fn partition() -> TopicPartition {
    TopicPartition::new("orders", 0).expect("a good name")
}

impl Group {
    fn new() -> Self {
        Self {
            members: [Member::new(), Member::new()],
            committed: None,
            done: BTreeMap::new(),
            is_rough: false,
        }
    }

    fn run(&mut self, step: SimulatedStep) {
        match step {
            SimulatedStep::Give(who) => self.give(who),
            SimulatedStep::Read(who, count) => self.read(who, count),
            SimulatedStep::Done(who, which) => self.end(who, which, true),
            SimulatedStep::Back(who, which) => self.end(who, which, false),
            SimulatedStep::Commit(who, taken) => {
                let commits =
                    self.members[who].machine.due(Instant::now() + Duration::from_secs(3_600));
                self.answer(who, commits, taken);
            }
            SimulatedStep::Revoke(who, patient) => self.revoke(who, patient),
            SimulatedStep::Lose(who) => {
                if let Some(generation) = self.members[who].has.take() {
                    self.is_rough = true;
                    self.let_go(who, generation);
                }
            }
            SimulatedStep::Crash(who) => {
                self.is_rough |= self.members[who].has.is_some();
                self.members[who] = Member::new();
            }
        }
    }

    fn give(&mut self, who: usize) {
        if self.members.iter().any(|member| member.has.is_some()) {
            return;
        }
        let committed = self.committed.clone();
        let member = &mut self.members[who];
        let assigned = member.machine.assign(
            partition(),
            committed.as_ref().map(|(offset, metadata)| (*offset, &**metadata)),
        );
        assert!(assigned.unreadable.is_none(), "our own metadata: {committed:?}");
        member.has = Some(assigned.generation);
        member.position = assigned.from.unwrap_or(0);
    }

    fn read(&mut self, who: usize, count: u64) {
        let Some(generation) = self.members[who].has else { return };
        for _ in 0..count {
            let member = &mut self.members[who];
            if member.position == END {
                return;
            }
            let offset = member.position;
            match member.machine.arrived(generation, offset) {
                Arrival::Wait => return,
                Arrival::Skip => {}
                Arrival::Run => {
                    // R4: a message in a handler is not handed out again, unless its owner could
                    // not wait.
                    let elsewhere = self
                        .members
                        .iter()
                        .any(|other| other.running.iter().any(|(_, at)| *at == offset));
                    assert!(!elsewhere || self.is_rough, "{offset} runs twice");
                    self.members[who].running.insert((generation, offset));
                }
            }
            self.members[who].position += 1;
        }
    }

    fn end(&mut self, who: usize, which: usize, is_done: bool) {
        let member = &mut self.members[who];
        let count = member.running.len().max(1);
        let Some(&(generation, offset)) = member.running.iter().nth(which % count) else { return };
        member.running.remove(&(generation, offset));
        let (done, back) = if is_done { (vec![offset], vec![]) } else { (vec![], vec![offset]) };
        if is_done {
            *self.done.entry(offset).or_default() += 1;
        }
        let wanted = member.machine.settled(generation, &done, &back);
        if member.has != Some(generation) {
            assert_eq!(wanted, None, "it was let go");
        } else if let Some(wanted) = wanted {
            member.position = wanted.min(member.position);
        }
    }

    fn answer(&mut self, who: usize, commits: Vec<super::Commit>, taken: bool) {
        for commit in commits {
            // R3: a member commits only partitions that it holds.
            assert_eq!(Some(commit.generation), self.members[who].has);
            if taken {
                self.check(commit.offer.offset, &commit.offer.metadata);
                self.committed = Some((commit.offer.offset, commit.offer.metadata));
            }
        }
        if self.members[who].machine.is_committing() {
            self.members[who].machine.answered(|_| !taken);
        }
    }

    /// A commit names only messages that are done.
    fn check(&self, offset: u64, metadata: &str) {
        assert!(
            self.committed.as_ref().is_none_or(|(before, _)| *before <= offset || self.is_rough),
            "it went back"
        );
        let undone = (0..offset).find(|offset| !self.done.contains_key(offset));
        assert_eq!(undone, None, "committed at {offset}");
        let map = decode(metadata, offset, Limits::default().span).expect("our own metadata");
        for offset in offset..END {
            assert!(
                !map.contains(offset) || self.done.contains_key(&offset),
                "{offset} is named as done"
            );
        }
    }

    fn revoke(&mut self, who: usize, patient: bool) {
        let Some(generation) = self.members[who].has else { return };
        if patient {
            while let Some(at) =
                self.members[who].running.iter().position(|(of, _)| *of == generation)
            {
                self.end(who, at, true);
            }
            assert!(self.members[who].machine.is_drained(&[generation]));
        }
        let commits = self.members[who].machine.offers(&[generation]);
        self.answer(who, commits, true);
        self.members[who].has = None;
        self.is_rough |= self.let_go(who, generation) > 0;
    }

    /// Returns the number of messages that were still running.
    fn let_go(&mut self, who: usize, generation: u64) -> u64 {
        let member = &mut self.members[who];
        let stragglers = member.machine.release(generation);
        let running = member.running.iter().filter(|(of, _)| *of == generation).count();
        assert_eq!(stragglers, running as u64);
        // R1 and R2: no message of the generation starts, and none is committed.
        assert_eq!(member.machine.arrived(generation, member.position), Arrival::Skip);
        assert!(member.machine.offers(&[generation]).is_empty());
        assert_eq!(member.machine.room(generation), 0);
        stragglers
    }

    /// Member 0 handles all remaining messages.
    fn finish(&mut self) {
        self.run(SimulatedStep::Revoke(0, true));
        self.run(SimulatedStep::Revoke(1, true));
        self.run(SimulatedStep::Give(0));
        while self.members[0].position < END || !self.members[0].running.is_empty() {
            self.run(SimulatedStep::Read(0, END));
            self.run(SimulatedStep::Done(0, 0));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// SPEC K2, K3: no history loses a message, and no commit names a message that is not done.
    /// Without a crash, a loss and a straggler, each message is done once.
    #[test]
    fn k3_histories_of_a_group_lose_nothing(steps in prop::collection::vec(step(), 1..120)) {
        let mut group = Group::new();
        steps.into_iter().for_each(|step| group.run(step));
        group.finish();
        prop_assert_eq!(group.done.len() as u64, END);
        prop_assert!(group.is_rough || group.done.values().all(|times| *times == 1), "{:?}", group.done);
    }
}
