//! A naive twin of `Lanes`: every figure is counted anew from plain queues, and every answer is
//! compared.

use buslane_core::LaneState;
use buslane_lanes::{Bounds, LaneKind, LaneRef, LaneStats, Lanes, Refusal};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) id: u64,
    pub(crate) seq: u64,
    pub(crate) bytes: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Admit {
        id: u64,
        bytes: usize,
    },
    Take {
        quantum: usize,
    },
    /// Of the taken lane number `lane` the first `messages` have ended.
    Finish {
        lane: usize,
        messages: usize,
    },
    /// Of the taken lane number `lane` the last `messages` come back.
    GiveBack {
        lane: usize,
        messages: usize,
    },
    /// The first message of a taken lane failed; the messages taken behind it are given back.
    Defer {
        lane: usize,
        delay: u64,
        blocked: bool,
    },
    /// The first message of a taken lane failed for good, and takes those behind it along.
    Abandon {
        lane: usize,
    },
    Advance {
        by: u64,
    },
    Purge {
        modulo: u64,
        rest: u64,
    },
    PurgeDeferred,
    /// The limit of active keys; `None` removes it.
    Limit {
        most: Option<usize>,
    },
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..6_u64, 0..9_usize).prop_map(|(id, bytes)| Op::Admit { id, bytes }),
        1 => (0..6_u64, 30..60_usize).prop_map(|(id, bytes)| Op::Admit { id, bytes }),
        4 => (0..5_usize).prop_map(|quantum| Op::Take { quantum }),
        4 => (0..4_usize, 1..5_usize).prop_map(|(lane, messages)| Op::Finish { lane, messages }),
        2 => (0..4_usize, 1..5_usize).prop_map(|(lane, messages)| Op::GiveBack { lane, messages }),
        3 => (0..4_usize, 0..20_u64, any::<bool>()).prop_map(|(lane, delay, blocked)| Op::Defer { lane, delay, blocked }),
        1 => (0..4_usize).prop_map(|lane| Op::Abandon { lane }),
        2 => (0..15_u64).prop_map(|by| Op::Advance { by }),
        1 => (1..5_u64, 0..3_u64).prop_map(|(modulo, rest)| Op::Purge { modulo, rest }),
        1 => Just(Op::PurgeDeferred),
        1 => prop::option::of(0..5_usize).prop_map(|most| Op::Limit { most }),
    ]
}

/// Two of the six lanes belong to messages without a key.
fn kind(id: u64) -> LaneKind {
    if id < 4 { LaneKind::Keyed } else { LaneKind::Keyless }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Taken(LaneRef),
    Deferred { until: Instant, number: u64, blocked: bool },
}

#[derive(Debug)]
struct Lane {
    queue: VecDeque<Item>,
    taken: VecDeque<Item>,
    state: State,
    /// Failures of its first message until it succeeds.
    failures: u32,
    failing: bool,
}

impl Lane {
    fn open(&self) -> (usize, usize) {
        let all = || self.queue.iter().chain(&self.taken);
        (all().count(), all().map(|item| item.bytes).sum())
    }
}

/// Lanes and their twin, driven together.
pub(crate) struct Pair {
    real: Lanes<Item>,
    bounds: Bounds,
    lanes: BTreeMap<u64, Lane>,
    ready: VecDeque<u64>,
    /// Keys without a message that are remembered, and since when; the longest idle first.
    idle: VecDeque<(u64, Instant)>,
    most_active: usize,
    now: Instant,
    number: u64,
    seq: u64,
    /// The last message of each key that ended.
    last: BTreeMap<u64, u64>,
    accepted: usize,
    ended: usize,
}

impl Pair {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            real: Lanes::new(bounds),
            bounds,
            lanes: BTreeMap::new(),
            ready: VecDeque::new(),
            idle: VecDeque::new(),
            most_active: usize::MAX,
            now: Instant::now(),
            number: 0,
            seq: 0,
            last: BTreeMap::new(),
            accepted: 0,
            ended: 0,
        }
    }

    pub(crate) fn run(&mut self, op: &Op) {
        match *op {
            Op::Admit { id, bytes } => self.admit(id, bytes),
            Op::Take { quantum } => self.take(quantum),
            Op::Finish { lane, messages } => {
                self.with_taken(lane, |pair, id| pair.finish(id, messages))
            }
            Op::GiveBack { lane, messages } => {
                self.with_taken(lane, |pair, id| pair.give_back(id, messages))
            }
            Op::Defer { lane, delay, blocked } => {
                self.with_taken(lane, |pair, id| {
                    pair.defer(id, Duration::from_millis(delay), blocked)
                });
            }
            Op::Abandon { lane } => self.with_taken(lane, Self::abandon),
            Op::Advance { by } => self.advance(Duration::from_millis(by)),
            Op::Purge { modulo, rest } => self.purge(modulo, rest),
            Op::PurgeDeferred => self.purge_deferred(),
            Op::Limit { most } => {
                self.most_active = most.unwrap_or(usize::MAX);
                self.real.limit_active(self.most_active);
            }
        }
        self.check();
    }

    /// Takes and finishes until nothing is left, as workers would.
    pub(crate) fn drain(&mut self) {
        while let Some(id) = self.taken().first().copied() {
            self.finish(id, usize::MAX);
            self.check();
        }
        while !self.lanes.is_empty() {
            if self.ready.is_empty() {
                let due = self
                    .real
                    .next_due()
                    .expect("with nothing taken and nothing ready, something is deferred");
                self.advance(due.saturating_duration_since(self.now));
            }
            self.take(3);
            self.check();
            let id = self.taken()[0];
            self.finish(id, usize::MAX);
            self.check();
        }
        assert!(self.real.is_empty());
        self.real.keep_none();
        self.idle.clear();
        assert_eq!(self.real.stats(), LaneStats::default());
        assert!(!self.real.wants_sweep());
        assert_eq!(self.accepted, self.ended);
    }

    fn account(&self, failing: bool) -> (usize, usize) {
        self.lanes
            .values()
            .filter(|lane| lane.failing == failing)
            .map(Lane::open)
            .fold((0, 0), |sum, open| (sum.0 + open.0, sum.1 + open.1))
    }

    /// Whether an account has room. A single message may be larger than the budget.
    fn fits(&self, failing: bool, messages: usize, bytes: usize) -> bool {
        let Bounds { messages: most, bytes: budget, failing_messages, failing_bytes, .. } =
            self.bounds;
        let (most, budget) =
            if failing { (failing_messages, failing_bytes) } else { (most, budget) };
        let used = self.account(failing);
        used.0 + messages <= most && (used.1 + bytes <= budget || (used.0 == 0 && messages == 1))
    }

    fn expected(&self, id: u64, bytes: usize) -> Result<bool, Refusal> {
        let lane = self.lanes.get(&id);
        let is_active = |lane: &&Lane| !matches!(lane.state, State::Deferred { .. });
        if lane.is_none() && self.lanes.values().filter(is_active).count() >= self.most_active {
            return Err(Refusal::KeysFull);
        }
        if lane.is_some_and(|lane| lane.open().0 >= self.bounds.lane_messages) {
            return Err(Refusal::LaneFull);
        }
        let open = lane.map_or((0, 0), Lane::open);
        match lane {
            Some(lane) if lane.failing => {
                self.fits(true, 1, bytes).then_some(true).ok_or(Refusal::FailingFull)
            }
            Some(lane) if lane.failures > 0 => self
                .fits(true, open.0 + 1, open.1 + bytes)
                .then_some(true)
                .ok_or(Refusal::FailingFull),
            _ => self.fits(false, 1, bytes).then_some(false).ok_or(Refusal::Full),
        }
    }

    fn admit(&mut self, id: u64, bytes: usize) {
        let expected = self.expected(id, bytes);
        assert_eq!(self.real.has_room(id, bytes), expected.map(drop), "has_room({id}, {bytes})");
        if self.real.has_headroom(id, bytes) {
            assert!(expected.is_ok(), "who is woken for room finds it");
        }
        let item = Item { id, seq: self.seq, bytes };
        let is_new = !self.lanes.contains_key(&id);
        assert_eq!(self.real.admit(id, kind(id), bytes, || item), expected.map(|_| is_new));
        let Ok(failing) = expected else { return };
        self.seq += 1;
        self.accepted += 1;
        let fresh = || Lane {
            queue: VecDeque::new(),
            taken: VecDeque::new(),
            state: State::Ready,
            failures: 0,
            failing: false,
        };
        let lane = self.lanes.entry(id).or_insert_with(fresh);
        lane.queue.push_back(item);
        lane.failing = failing;
        if is_new {
            self.ready.push_back(id);
            self.idle.retain(|(idle, _)| *idle != id);
            self.make_room();
        }
    }

    fn take(&mut self, quantum: usize) {
        let mut got = Vec::new();
        let any = self.real.take(quantum, |lane, item| got.push((lane, item)));
        let Some(id) = self.ready.pop_front() else {
            assert!(!any && got.is_empty());
            return;
        };
        assert!(any);
        let lane = self.lanes.get_mut(&id).expect("a ready lane exists");
        assert_eq!(lane.state, State::Ready, "one at a time");
        let count = quantum.max(1).min(lane.queue.len());
        lane.taken = lane.queue.drain(..count).collect();
        assert!(
            got.iter().map(|(_, item)| item).eq(&lane.taken),
            "in order: {got:?} {:?}",
            lane.taken
        );
        lane.state = State::Taken(got[0].0);
    }

    fn taken(&self) -> Vec<u64> {
        let is_taken = |lane: &Lane| matches!(lane.state, State::Taken(_));
        self.lanes.iter().filter(|(_, lane)| is_taken(lane)).map(|(id, _)| *id).collect()
    }

    fn with_taken(&mut self, number: usize, run: impl FnOnce(&mut Self, u64)) {
        let taken = self.taken();
        if !taken.is_empty() {
            run(self, taken[number % taken.len()]);
        }
    }

    fn finish(&mut self, id: u64, messages: usize) {
        let lane = self.lanes.get_mut(&id).expect("a taken lane exists");
        let State::Taken(place) = lane.state else { panic!("{id} is not taken") };
        let ended: Vec<Item> = lane.taken.drain(..messages.min(lane.taken.len())).collect();
        lane.failures = 0;
        for item in &ended {
            let before = self.last.insert(id, item.seq);
            assert!(
                before.is_none_or(|before| before < item.seq),
                "order of {id}: {before:?} before {}",
                item.seq
            );
        }
        self.ended += ended.len();
        self.real.finish(place, ended.len(), ended.iter().map(|item| item.bytes).sum());
        let lane = &self.lanes[&id];
        let open = lane.open();
        if lane.failing && self.fits(false, open.0, open.1) {
            self.lanes.get_mut(&id).unwrap().failing = false;
        }
        self.settle(id, false);
    }

    fn give_back(&mut self, id: u64, messages: usize) {
        let State::Taken(place) = self.lanes[&id].state else { panic!("{id} is not taken") };
        for _ in 0..messages {
            let lane = self.lanes.get_mut(&id).unwrap();
            let Some(item) = lane.taken.pop_back() else { break };
            lane.queue.push_front(item);
            self.real.give_back(place, item);
        }
        self.settle(id, true);
    }

    fn settle(&mut self, id: u64, front: bool) {
        let lane = self.lanes.get_mut(&id).unwrap();
        if !lane.taken.is_empty() {
            return;
        }
        if lane.queue.is_empty() {
            self.lanes.remove(&id);
            if kind(id) == LaneKind::Keyless {
                return;
            }
            self.idle.push_back((id, self.now));
            self.make_room();
            return;
        }
        lane.state = State::Ready;
        if front { self.ready.push_front(id) } else { self.ready.push_back(id) }
    }

    fn defer(&mut self, id: u64, delay: Duration, blocked: bool) {
        let behind = self.lanes[&id].taken.len() - 1;
        if behind > 0 {
            self.give_back(id, behind);
        }
        let lane = self.lanes.get_mut(&id).unwrap();
        let State::Taken(place) = lane.state else { panic!("{id} is not taken") };
        let item = lane.taken.pop_front().unwrap();
        lane.queue.push_front(item);
        lane.failures += 1;
        self.number += 1;
        let until = self.now + delay;
        lane.state = State::Deferred { until, number: self.number, blocked };
        let open = lane.open();
        if !self.lanes[&id].failing && self.fits(true, open.0, open.1) {
            self.lanes.get_mut(&id).unwrap().failing = true;
        }
        self.real.defer(place, item, until, blocked);
    }

    fn abandon(&mut self, id: u64) {
        let behind = self.lanes[&id].taken.len() - 1;
        if behind > 0 {
            self.give_back(id, behind);
        }
        let lane = self.lanes.get_mut(&id).unwrap();
        let State::Taken(place) = lane.state else { panic!("{id} is not taken") };
        let item = lane.taken.pop_front().unwrap();
        let mut gone = Vec::new();
        self.real.abandon(place, item, &|item| item.bytes, &mut |item| gone.push(item));
        let expected: Vec<Item> = std::iter::once(item).chain(lane.queue.drain(..)).collect();
        assert_eq!(gone, expected, "in order");
        self.purged(gone, expected);
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        let mut due: Vec<(Instant, u64, u64)> = self
            .lanes
            .iter()
            .filter_map(|(id, lane)| match lane.state {
                State::Deferred { until, number, .. } if until <= self.now => {
                    Some((until, number, *id))
                }
                _ => None,
            })
            .collect();
        due.sort_unstable();
        assert_eq!(self.real.wake_due(self.now), due.len());
        for (_, _, id) in due {
            self.lanes.get_mut(&id).unwrap().state = State::Ready;
            self.ready.push_back(id);
        }
        self.sweep();
    }

    /// Forgets the longest idle keys while more are remembered than allowed.
    fn make_room(&mut self) {
        let keyed = self.lanes.keys().filter(|id| kind(**id) == LaneKind::Keyed).count();
        while keyed + self.idle.len() > self.bounds.keys && self.idle.pop_front().is_some() {}
    }

    /// Time has passed: keys that were idle for the whole time are forgotten, and none much sooner.
    fn sweep(&mut self) {
        let again = self.real.sweep(self.now);
        let kept = |id: u64| self.real.lane(id).is_some();
        let most = self.bounds.key_idle;
        for (id, since) in &self.idle {
            let idle = self.now - *since;
            assert!(
                if kept(*id) { idle < most } else { idle >= most / 8 * 7 },
                "{id} is idle for {idle:?} of {most:?}"
            );
        }
        self.idle.retain(|(id, _)| kept(*id));
        assert_eq!(again.is_some(), !self.idle.is_empty());
        assert!(again.is_none_or(|again| again > self.now));
    }

    fn purge(&mut self, modulo: u64, rest: u64) {
        let matches = |item: &Item| item.seq % modulo == rest;
        let mut gone = Vec::new();
        self.real.purge(&matches, &|item| item.bytes, &mut |item| gone.push(item));
        let mut expected = Vec::new();
        for lane in self.lanes.values_mut() {
            expected.extend(lane.queue.iter().copied().filter(matches));
            lane.queue.retain(|item| !matches(item));
        }
        self.purged(gone, expected);
    }

    fn purge_deferred(&mut self) {
        let mut gone = Vec::new();
        self.real.purge_deferred(&|item| item.bytes, &mut |item| gone.push(item));
        let mut expected = Vec::new();
        for lane in
            self.lanes.values_mut().filter(|lane| matches!(lane.state, State::Deferred { .. }))
        {
            expected.extend(lane.queue.drain(..));
        }
        self.purged(gone, expected);
    }

    fn purged(&mut self, mut gone: Vec<Item>, mut expected: Vec<Item>) {
        gone.sort_unstable_by_key(|item| item.seq);
        expected.sort_unstable_by_key(|item| item.seq);
        assert_eq!(gone, expected);
        self.ended += gone.len();
        self.lanes.retain(|_, lane| lane.open().0 > 0);
        self.ready.retain(|id| self.lanes.contains_key(id));
    }

    fn check(&mut self) {
        if self.real.wants_sweep() {
            self.sweep();
        }
        let (runnable, failing) = (self.account(false), self.account(true));
        let stats = self.real.stats();
        let is_deferred = |lane: &&Lane| matches!(lane.state, State::Deferred { .. });
        let is_blocked = |lane: &&Lane| matches!(lane.state, State::Deferred { blocked: true, .. });
        let expected = LaneStats {
            open: runnable.0 + failing.0,
            open_bytes: runnable.1 + failing.1,
            failing: failing.0,
            lanes: self.lanes.len(),
            idle_lanes: self.idle.len(),
            ready: self.ready.len(),
            deferred_lanes: self.lanes.values().filter(is_deferred).count(),
            blocked_lanes: self.lanes.values().filter(is_blocked).count(),
        };
        assert_eq!(stats, expected);
        for id in 0..6 {
            let with_work = self.lanes.get(&id).map(|lane| LaneState {
                open: lane.open().0,
                failures: lane.failures,
                is_waiting: is_deferred(&lane),
                is_blocked: is_blocked(&lane),
            });
            let idle = self.idle.iter().any(|(idle, _)| *idle == id).then(LaneState::default);
            assert_eq!(self.real.lane(id), with_work.or(idle), "{id}");
        }
        assert_eq!(self.accepted, self.ended + stats.open, "accepted is ended plus open");
        assert_eq!(self.real.ready(), self.ready.len());
        let bounds = self.bounds;
        for (used, most, budget) in [
            (runnable, bounds.messages, bounds.bytes),
            (failing, bounds.failing_messages, bounds.failing_bytes),
        ] {
            assert!(
                used.0 <= most && (used.1 <= budget || used.0 == 1),
                "{used:?} of {most}, {budget} bytes"
            );
        }
        assert!(self.lanes.values().all(|lane| lane.open().0 <= bounds.lane_messages));
        // Not after every step, because asking drops stale timers, and stale timers must do no
        // harm.
        if self.seq.is_multiple_of(3) {
            let due = self.lanes.values().filter_map(|lane| match lane.state {
                State::Deferred { until, .. } => Some(until),
                _ => None,
            });
            assert_eq!(self.real.next_due(), due.min());
        }
        let stuck = self.lanes.values().all(|lane| lane.state != State::Ready);
        assert_eq!(stuck, self.ready.is_empty(), "what is neither taken nor deferred can be taken");
    }
}
