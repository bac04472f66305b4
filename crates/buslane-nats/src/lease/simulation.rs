//! Three members and a bucket without a server: random histories of joins, silences, lost answers
//! and late values.

use super::state::{Action, LeaseState, PartitionKey};
use super::term::Lease;
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

const LEASE: Duration = Duration::from_secs(10);
const PARTITIONS: u32 = 5;
const TOPIC: &str = "orders";

#[derive(Debug, Clone, Copy)]
enum SimulatedStep {
    /// Time passes, in tenths of a second.
    Wait(u64),
    /// A member joins, or reads the topic again.
    Join(usize),
    /// A member gives the topic up.
    Leave(usize),
    /// A member renews its lease.
    Renew(usize),
    /// A member decides, and the bucket answers.
    Act(usize),
    /// A member decides, and the answers of the bucket are lost.
    ActLost(usize),
    /// A member begins to watch. A value that is replaced meanwhile arrives later.
    Open(usize),
    /// A member receives the changes of the bucket.
    Look(usize),
    /// A process wakes up, and a worker begins the next message of every partition before any other
    /// action.
    Begin(usize),
    /// The open messages of a revoked partition end.
    Drain(usize),
    /// A member is killed, and a new one replaces it.
    Crash(usize),
}

fn step() -> impl Strategy<Value = SimulatedStep> {
    let who = || 0..3_usize;
    prop_oneof![
        4 => (1..60_u64).prop_map(SimulatedStep::Wait),
        3 => who().prop_map(SimulatedStep::Join),
        1 => who().prop_map(SimulatedStep::Leave),
        6 => who().prop_map(SimulatedStep::Renew),
        8 => who().prop_map(SimulatedStep::Act),
        1 => who().prop_map(SimulatedStep::ActLost),
        2 => who().prop_map(SimulatedStep::Open),
        8 => who().prop_map(SimulatedStep::Look),
        6 => who().prop_map(SimulatedStep::Begin),
        4 => who().prop_map(SimulatedStep::Drain),
        1 => who().prop_map(SimulatedStep::Crash),
    ]
}

struct Member {
    id: String,
    state: LeaseState,
    wants: bool,
    /// The partitions that the member reads, each with the lease of its beginning, and whether one
    /// of its messages was refused.
    reading: BTreeMap<PartitionKey, (Lease, bool)>,
    draining: BTreeMap<PartitionKey, (Lease, bool)>,
    /// The last revision of the bucket that the member has seen.
    seen: u64,
    /// The last revision at the time when the member began to watch.
    opened: Option<u64>,
}

impl Member {
    fn new(id: String, now: Instant) -> Self {
        let state = LeaseState::new(id.clone(), LEASE, now);
        Self {
            id,
            state,
            wants: false,
            reading: BTreeMap::new(),
            draining: BTreeMap::new(),
            seen: 0,
            opened: None,
        }
    }

    /// The partitions that the member reads or drains, with the lease of each.
    fn acting(&self) -> impl Iterator<Item = (&PartitionKey, &Lease)> {
        self.reading.iter().chain(&self.draining).map(|(place, (lease, _))| (place, lease))
    }
}

#[derive(Clone)]
enum Value {
    Member(String, BTreeSet<String>),
    Partition(PartitionKey, Option<String>),
}

struct World {
    now: Instant,
    members: Vec<Member>,
    revision: u64,
    /// The last revision of each key and its value.
    bucket: BTreeMap<String, (u64, Value)>,
    born: usize,
}

fn wants(is_wanted: bool) -> BTreeMap<String, u32> {
    if is_wanted { BTreeMap::from([(TOPIC.to_owned(), PARTITIONS)]) } else { BTreeMap::new() }
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let members = (0..3).map(|n| Member::new(format!("m{n}"), now)).collect();
        Self { now, members, revision: 0, bucket: BTreeMap::new(), born: 3 }
    }

    fn put(&mut self, key: String, value: Value) -> u64 {
        self.revision += 1;
        self.bucket.insert(key, (self.revision, value));
        self.revision
    }

    fn swap(&mut self, place: &PartitionKey, expected: u64, owner: Option<String>) -> Option<u64> {
        let key = format!("p{}", place.1);
        let found = self.bucket.get(&key).map_or(0, |(revision, _)| *revision);
        (found == expected).then(|| self.put(key, Value::Partition(place.clone(), owner)))
    }

    fn run(&mut self, step: SimulatedStep) {
        match step {
            SimulatedStep::Wait(tenths) => self.now += Duration::from_millis(tenths * 100),
            SimulatedStep::Join(who) => self.want(who, true),
            SimulatedStep::Leave(who) => self.want(who, false),
            SimulatedStep::Renew(who) => self.renew(who),
            SimulatedStep::Act(who) => self.act(who, true),
            SimulatedStep::ActLost(who) => self.act(who, false),
            SimulatedStep::Open(who) => {
                self.members[who].opened = Some(self.revision);
                self.members[who].state.reopened(self.now);
            }
            SimulatedStep::Look(who) => self.look(who),
            SimulatedStep::Begin(who) => self.begin(who),
            SimulatedStep::Drain(who) => self.drain(who),
            SimulatedStep::Crash(who) => {
                self.members[who] = Member::new(format!("m{}", self.born), self.now);
                self.born += 1;
            }
        }
    }

    fn want(&mut self, who: usize, is_wanted: bool) {
        let member = &mut self.members[who];
        member.wants = is_wanted;
        member.state.want(wants(is_wanted));
        self.renew(who);
    }

    fn renew(&mut self, who: usize) {
        let (id, sent) = (self.members[who].id.clone(), self.now);
        let topics = if self.members[who].wants {
            BTreeSet::from([TOPIC.to_owned()])
        } else {
            BTreeSet::new()
        };
        let revision = self.put(format!("m{id}"), Value::Member(id, topics));
        let member = &mut self.members[who];
        member.state.renewed(sent, revision, sent);
    }

    fn look(&mut self, who: usize) {
        let now = self.now;
        let member = &mut self.members[who];
        let until = member.opened.take().unwrap_or(u64::MAX);
        let is_news = |revision| revision > member.seen && revision <= until;
        let mut news: Vec<(u64, Value)> =
            self.bucket.values().filter(|(revision, _)| is_news(*revision)).cloned().collect();
        news.sort_by_key(|(revision, _)| *revision);
        for (revision, value) in news {
            member.seen = revision;
            match value {
                Value::Member(id, topics) => member.state.member(id, revision, Some(topics), now),
                Value::Partition(place, owner) => {
                    member.state.partition(place, revision, owner, now)
                }
            }
        }
        member.state.synced();
    }

    fn act(&mut self, who: usize, is_answered: bool) {
        let now = self.now;
        for action in self.members[who].state.step(now) {
            let id = self.members[who].id.clone();
            match action {
                Action::Claim(place, revision) => {
                    let answer = self.swap(&place, revision, Some(id)).filter(|_| is_answered);
                    self.members[who].state.claimed(place, answer);
                }
                Action::Release(place, revision) => {
                    let answer = self.swap(&place, revision, None).filter(|_| is_answered);
                    self.members[who].state.released(&place, answer);
                }
                Action::Start(place) => {
                    let member = &mut self.members[who];
                    member.reading.insert(place, (member.state.lease().clone(), false));
                }
                Action::Revoke(place) => {
                    let member = &mut self.members[who];
                    member.draining.extend(member.reading.remove_entry(&place));
                }
                Action::Lose(place) => {
                    self.members[who].reading.remove(&place);
                    self.members[who].draining.remove(&place);
                }
            }
        }
        self.check();
    }

    /// Before a handler starts, its worker checks the lease. No message may begin after a refused
    /// one.
    fn begin(&mut self, who: usize) {
        let (now, mut begun) = (self.now, Vec::new());
        let Member { reading, draining, .. } = &mut self.members[who];
        for (place, (lease, was_refused)) in reading.iter_mut().chain(draining) {
            if lease.is_valid(now) {
                assert!(!*was_refused, "{place:?} goes on behind a message that was given back");
                begun.push(place.clone());
            }
            *was_refused |= !lease.would_be_valid(now);
        }
        for (other, member) in self.members.iter().enumerate().filter(|(other, _)| *other != who) {
            let acts =
                |place| member.acting().any(|(of, lease)| of == place && lease.would_be_valid(now));
            assert!(!begun.iter().any(acts), "a message begins at {who}, and {other} acts for it");
        }
    }

    fn drain(&mut self, who: usize) {
        let member = &mut self.members[who];
        if let Some((place, _)) = member.draining.pop_first() {
            member.state.drained(&place);
        }
    }

    /// Checks that no two members act for one partition. A member without a lease does not act,
    /// because every action checks the lease.
    fn check(&self) {
        let mut acting = BTreeMap::new();
        for member in &self.members {
            for (place, _) in member.acting().filter(|(_, lease)| lease.would_be_valid(self.now)) {
                let other = acting.insert(place.clone(), &member.id);
                assert_eq!(other, None, "{place:?} is read by {} too", member.id);
            }
        }
    }

    /// Lets all live members act until nothing changes.
    fn settle(&mut self) {
        for _ in 0..40 {
            self.now += LEASE / 10;
            for who in 0..3 {
                self.renew(who);
            }
            for who in 0..3 {
                self.look(who);
                self.act(who, true);
                while !self.members[who].draining.is_empty() {
                    self.drain(who);
                }
                self.act(who, true);
            }
        }
    }
}

proptest! {
    #[test]
    fn n5_a_partition_has_one_reader_at_a_time_and_in_the_end_has_one(steps in prop::collection::vec(step(), 0..200)) {
        let mut world = World::new();
        for step in steps {
            world.run(step);
            world.check();
        }
        world.settle();
        let counts: Vec<usize> =
            world.members.iter().filter(|member| member.wants).map(|member| member.reading.len()).collect();
        let read: usize = world.members.iter().map(|member| member.reading.len()).sum();
        prop_assert_eq!(read, if counts.is_empty() { 0 } else { PARTITIONS as usize }, "{:?}", counts);
        let (most, least) = (counts.iter().max().copied().unwrap_or(0), counts.iter().min().copied().unwrap_or(0));
        prop_assert!(most - least <= 1, "shares are alike: {:?}", counts);
    }
}
