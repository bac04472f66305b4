//! Random histories of a source partition, its parking log and the owners that follow each other:
//! nothing is lost, each key keeps its order, and each owner finds the state of the one before.
#![allow(clippy::unwrap_used, reason = "a test")]

use buslane_parking::{
    Action, Cause, Edit, Ending, Entry, Fate, ParkedKey, Parking, Position, Request, Work,
};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const KEYS: u8 = 3;

fn key(number: u8) -> Bytes {
    Bytes::copy_from_slice(&[number])
}

#[derive(Debug, Clone)]
enum Op {
    /// The source delivers the next message.
    Deliver,
    /// Sent entries reach the log; some are there twice, because the answer to the first was lost.
    Write {
        count: usize,
        answer_is_lost: bool,
    },
    /// The owner reads the log.
    Read(usize),
    Commit,
    /// The next owner begins; the entries that this one has sent may reach the log later.
    Crash,
    /// An entry of an earlier owner reaches the log.
    WriteLate,
    Request(u8, Action),
    Work,
    /// The handler of a key begins to fail, or ends it.
    Fails(u8, bool),
}

fn op() -> impl Strategy<Value = Op> {
    let action = prop_oneof![
        3 => Just(Action::Redrive), 1 => (0..30_u64).prop_map(|origin| Action::Skip { origin }), 1 => Just(Action::Discard), 1 => (0..30_u64).prop_map(|origin| Action::Edit { origin })
    ];
    prop_oneof![
        8 => Just(Op::Deliver),
        5 => (1..4_usize, prop::bool::weighted(0.2)).prop_map(|(count, answer_is_lost)| Op::Write { count, answer_is_lost }),
        5 => (1..6_usize).prop_map(Op::Read),
        2 => Just(Op::Commit),
        1 => Just(Op::Crash),
        1 => Just(Op::WriteLate),
        3 => (0..KEYS, action).prop_map(|(key, action)| Op::Request(key, action)),
        5 => Just(Op::Work),
        2 => (0..KEYS, any::<bool>()).prop_map(|(key, fails)| Op::Fails(key, fails)),
    ]
}

/// What the next owner finds: settled messages of the source, and where the log begins.
#[derive(Debug, Clone, Default)]
struct Committed {
    settled: BTreeSet<u64>,
    low: Position,
}

#[derive(Default)]
struct Owner {
    nonce: u128,
    /// The position of its claim, once it has read that.
    claim: Option<Position>,
    parking: Parking,
    read: usize,
    /// The next message of the source.
    cursor: u64,
    settled: BTreeSet<u64>,
    sent: VecDeque<Entry>,
    /// Messages in the lanes of their keys.
    lanes: BTreeMap<u8, VecDeque<u64>>,
    /// Keys whose work was done, and whose entry is on its way.
    working: BTreeSet<Bytes>,
}

impl Owner {
    fn send(&mut self, entry: Entry) {
        self.parking.sends(&entry);
        self.sent.push_back(entry);
    }
}

/// What a state says of a key: messages, position of the first and the last one, redrives, work,
/// and the edit of a message that is not over.
type ToldOfKey = (u64, Position, Position, u32, Option<Work>, Option<Edit>);
type Told = (BTreeMap<Bytes, ToldOfKey>, Option<Request>);

fn told(parking: &Parking, log: &[Entry]) -> Told {
    let keys = parking.keys().map(|(name, key)| {
        let (first, origin) = first(parking, name, key, log);
        let edit = key.edit().filter(|edit| edit.origin >= origin);
        (name.clone(), (key.count(), first, key.last(), key.redrives(), key.work(), edit))
    });
    (keys.collect(), parking.request().cloned())
}

/// The position of a key's first parked message, and its origin.
fn first(parking: &Parking, name: &Bytes, key: &ParkedKey, log: &[Entry]) -> (Position, u64) {
    let entries = (0..).zip(log).skip(usize::try_from(key.from()).unwrap());
    let mut found = entries.filter_map(|(position, entry)| match entry {
        Entry::Parked { key, origin, .. } if key == name => {
            parking.is_first(position, entry).then_some((position, *origin))
        }
        _ => None,
    });
    found.next().expect("a parked key has a first message")
}

struct World {
    /// The key of each message.
    source: Vec<u8>,
    log: Vec<Entry>,
    owner: Owner,
    late: VecDeque<Entry>,
    committed: Committed,
    /// Where the log could begin after each commit.
    lows: Vec<Position>,
    failing: BTreeSet<u8>,
    /// Messages in the order in which they ended, and the owner that ended them.
    ended: Vec<(u8, u64, u128)>,
}

impl World {
    fn new(source: Vec<u8>) -> Self {
        let mut world = Self {
            source,
            log: Vec::new(),
            owner: Owner::default(),
            late: VecDeque::new(),
            committed: Committed::default(),
            lows: Vec::new(),
            failing: BTreeSet::new(),
            ended: Vec::new(),
        };
        world.take_over();
        world
    }

    fn take_over(&mut self) {
        let before = std::mem::take(&mut self.owner);
        self.late.extend(before.sent);
        let nonce = before.nonce + 1;
        self.owner = Owner {
            nonce,
            read: usize::try_from(self.committed.low).unwrap(),
            settled: self.committed.settled.clone(),
            sent: VecDeque::from([Entry::Claim { nonce }]),
            ..Owner::default()
        };
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Deliver => self.deliver(),
            Op::Write { count, answer_is_lost } => {
                for _ in 0..*count {
                    let Some(entry) = self.owner.sent.pop_front() else { return };
                    self.log.push(entry.clone());
                    if *answer_is_lost && !matches!(entry, Entry::Claim { .. }) {
                        self.log.push(entry);
                    }
                }
            }
            Op::Read(count) => self.read(*count),
            Op::Commit => self.commit(),
            Op::Crash => self.take_over(),
            Op::WriteLate => self.log.extend(self.late.pop_front()),
            Op::Request(number, action) => {
                self.log.push(Entry::Request { key: key(*number), action: *action });
            }
            Op::Work => self.work(),
            Op::Fails(number, true) => drop(self.failing.insert(*number)),
            Op::Fails(number, false) => drop(self.failing.remove(number)),
        }
    }

    fn deliver(&mut self) {
        let owner = &mut self.owner;
        let Some(claim) = owner.claim else { return };
        let lanes: Vec<u8> = owner.lanes.keys().copied().collect();
        for number in lanes {
            self.decide(number, claim);
        }
        let owner = &mut self.owner;
        while owner.settled.contains(&owner.cursor) {
            owner.cursor += 1;
        }
        let origin = owner.cursor;
        let Some(&number) = self.source.get(usize::try_from(origin).unwrap()) else { return };
        owner.cursor += 1;
        owner.lanes.entry(number).or_default().push_back(origin);
        self.decide(number, claim);
    }

    /// Decides about the first message that waits in the lane of a key.
    fn decide(&mut self, number: u8, claim: Position) {
        let owner = &mut self.owner;
        let Some(origin) = owner.lanes.get_mut(&number).and_then(VecDeque::pop_front) else {
            return;
        };
        let key = key(number);
        let cause = match owner.parking.fate(&key, origin) {
            Fate::Copy => {
                owner.settled.insert(origin);
                return;
            }
            Fate::Wait => return owner.lanes.entry(number).or_default().push_front(origin),
            Fate::Park => Cause::Behind,
            Fate::Run if self.failing.contains(&number) => Cause::Failed,
            Fate::Run => {
                owner.settled.insert(origin);
                return self.ended.push((number, origin, owner.nonce));
            }
        };
        owner.send(Entry::Parked { claim, key, origin, cause });
    }

    fn read(&mut self, count: usize) {
        let owner = &mut self.owner;
        for entry in self.log[owner.read..].iter().take(count) {
            let position = owner.read as Position;
            owner.read += 1;
            let counts = owner.parking.apply(position, entry);
            match entry {
                Entry::Claim { nonce } if *nonce == owner.nonce => owner.claim = Some(position),
                // That of an earlier owner, late: this one begins again.
                Entry::Claim { .. } if owner.claim.is_some() => return self.take_over(),
                Entry::Parked { claim, origin, .. } if Some(*claim) == owner.claim => {
                    owner.settled.insert(*origin);
                }
                Entry::Resolved { claim, key, .. }
                | Entry::FailedAgain { claim, key, .. }
                | Entry::NotFirst { claim, key }
                    if Some(*claim) == owner.claim && counts =>
                {
                    owner.working.remove(key);
                }
                _ => {}
            }
            if let Some(answer) = owner.claim.and_then(|claim| owner.parking.answer(claim)) {
                owner.send(answer);
            }
        }
    }

    fn commit(&mut self) {
        let owner = &mut self.owner;
        if owner.claim.is_none() {
            return;
        }
        let open = (0..).find(|origin| !owner.settled.contains(origin)).unwrap();
        owner.parking.committed(open);
        self.committed = Committed { settled: owner.settled.clone(), low: owner.parking.low() };
        self.lows.push(self.committed.low);
        // The log may still begin where it could have begun earlier.
        let whole = told(&self.owner.parking, &self.log);
        for from in [0].iter().chain(&self.lows) {
            assert_eq!(self.replayed(*from), whole, "from {from}: {:?}", self.log);
        }
    }

    /// What a replay from a position on says.
    fn replayed(&self, from: Position) -> Told {
        let mut parking = Parking::default();
        let from = usize::try_from(from).unwrap();
        for (position, entry) in self.log.iter().enumerate().take(self.owner.read).skip(from) {
            parking.apply(position as Position, entry);
        }
        told(&parking, &self.log)
    }

    /// Does the work of one key.
    fn work(&mut self) {
        let owner = &mut self.owner;
        let Some(claim) = owner.claim else { return };
        let todo = owner.parking.keys().filter_map(|(name, key)| Some((name, key, key.work()?)));
        let mut todo: Vec<_> = todo.filter(|(name, ..)| !owner.working.contains(*name)).collect();
        todo.sort_by_key(|(name, ..)| (*name).clone());
        let Some(&(name, parked, work)) = todo.first() else { return };
        let (position, origin) = first(&owner.parking, name, parked, &self.log[..owner.read]);
        let (key, number) = (name.clone(), name[0]);
        let failures = parked.redrives() + 1;
        owner.working.insert(key.clone());
        let ending = match work {
            Work::Redrive if self.failing.contains(&number) => {
                let redrives = failures;
                return owner.send(Entry::FailedAgain { claim, key, position, origin, redrives });
            }
            Work::Redrive => Ending::Handled,
            Work::Skip { origin: named } if named != origin => {
                return owner.send(Entry::NotFirst { claim, key });
            }
            Work::Skip { .. } => Ending::Skipped,
            Work::Discard { .. } => Ending::Discarded,
        };
        self.ended.push((number, origin, owner.nonce));
        let ended = owner.parking.ending(claim, &key, (position, origin), ending);
        owner.send(ended);
    }

    /// Everything heals, and everything that is parked is redriven.
    fn finish(&mut self) {
        self.failing.clear();
        self.log.extend(self.late.drain(..));
        for _ in 0..4 * (self.source.len() + 4) {
            self.run(&Op::Write { count: usize::MAX, answer_is_lost: false });
            self.read(usize::MAX);
            let parked: Vec<_> =
                self.owner.parking.keys().map(|(name, key)| (name[0], key.work())).collect();
            for (number, work) in parked {
                if work.is_none() {
                    self.run(&Op::Request(number, Action::Redrive));
                }
            }
            self.deliver();
            (0..KEYS).for_each(|_| self.work());
        }
        self.commit();
        assert_eq!(self.owner.parking.keys().count(), 0, "{:?}", self.owner.parking);
    }
}

/// A multiple of the usual number, which the quick tests make smaller.
fn cases() -> u32 {
    12 * ProptestConfig::default().cases
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn inv_each_key_keeps_its_order_and_nothing_is_lost(
        source in prop::collection::vec(0..KEYS, 1..30), ops in prop::collection::vec(op(), 1..150)
    ) {
        let mut world = World::new(source.clone());
        ops.iter().for_each(|op| world.run(op));
        world.finish();
        let mut first: BTreeMap<u64, usize> = BTreeMap::new();
        let mut owners: BTreeMap<u64, Vec<u128>> = BTreeMap::new();
        for (at, (_, origin, owner)) in world.ended.iter().enumerate() {
            first.entry(*origin).or_insert(at);
            owners.entry(*origin).or_default().push(*owner);
        }
        prop_assert_eq!(first.len(), source.len(), "lost: {:?} of {:?}", first, source);
        for number in 0..KEYS {
            let of_key = (0..).zip(&source).filter(|(_, key)| **key == number);
            let order: Vec<usize> = of_key.map(|(origin, _)| first[&origin]).collect();
            prop_assert!(order.is_sorted(), "key {}: {:?}, {:?}", number, order, world.ended);
        }
        for (origin, owners) in owners {
            let once: BTreeSet<_> = owners.iter().collect();
            prop_assert_eq!(once.len(), owners.len(), "{} twice by one owner: {:?}", origin, world.ended);
        }
    }
}
