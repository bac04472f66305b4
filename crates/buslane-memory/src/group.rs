//! A consumer group: its members, what they subscribe to, and who has which partition.
//!
//! Nothing runs by itself: a revoked partition is handed on when its last open delivery is settled
//! or its deadline passes *and* a member of the group waits for events, joins, leaves or closes.
//! Members always wait for events while they run, so that is at once; and what nobody waits for
//! needs no timer.

mod lag;

use crate::{
    config::OffsetReset,
    intake::MemoryIntake,
    place::{Drain, Parts, Place},
    share::{MemberId, share},
    topic::TopicState,
    wakes::Wakes,
};
use buslane_core::Topic;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

pub(crate) struct Group {
    pub(crate) parts: Parts,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_member: MemberId,
    /// In the order in which they joined.
    members: BTreeMap<MemberId, Member>,
    topics: BTreeMap<Topic, Table>,
    /// Topics of which a partition may be on its way from one member to another.
    moving: BTreeSet<Topic>,
    /// To be woken once the lock is free.
    wakes: Wakes,
}

struct Member {
    /// What it reads, and whether deliveries of it are settled as they are handed out.
    topics: HashMap<Topic, bool>,
    drain_deadline: Duration,
    /// It reads nothing more; it keeps what it has until it leaves.
    stopped: bool,
    /// Assigned, not yet taken. At most one live intake a partition.
    inbox: VecDeque<MemoryIntake>,
    /// The length at which the inbox is cleared of intakes that have ended.
    full_at: usize,
}

/// Intakes that an inbox holds at least before it is cleared.
const INBOX: usize = 64;

impl Member {
    fn give(&mut self, intake: MemoryIntake) {
        if self.inbox.len() >= self.full_at {
            self.inbox.retain(|intake| !intake.assignment.is_ended());
            self.full_at = INBOX.max(2 * self.inbox.len());
        }
        self.inbox.push_back(intake);
    }

    fn take(&mut self) -> Option<MemoryIntake> {
        std::iter::from_fn(|| self.inbox.pop_front()).find(|intake| !intake.assignment.is_ended())
    }
}

struct Table {
    topic: Arc<TopicState>,
    places: Vec<Place>,
}

/// What a member finds when it looks for an event.
pub(crate) enum Look {
    /// An intake.
    Assigned(MemoryIntake),
    /// Nothing yet; look again at the next signal, or at this time.
    Nothing(Option<Instant>),
    /// The member has left.
    Gone,
}

impl State {
    /// Shares a topic's partitions anew, and revokes what moves.
    fn rebalance(&mut self, parts: &Parts, name: &Topic, now: Instant) {
        let Some(table) = self.topics.get_mut(name) else { return };
        self.moving.insert(name.clone());
        table.grow(parts);
        let reads = |member: &Member| member.topics.contains_key(name);
        let readers: Vec<MemberId> = self
            .members
            .iter()
            .filter(|(_, member)| reads(member) && !member.stopped)
            .map(|(id, _)| *id)
            .collect();
        // What a stopped member has stays with it: its deliveries are still being settled.
        let members = &self.members;
        let is_pinned = |place: &Place| {
            !place.is_draining()
                && place
                    .owner()
                    .and_then(|id| members.get(&id))
                    .is_some_and(|member| member.stopped && reads(member))
        };
        let mut moving: Vec<&mut Place> =
            table.places.iter_mut().filter(|place| !is_pinned(place)).collect();
        let present: Vec<_> = moving.iter().map(|place| place.present()).collect();
        for (place, wanted) in moving.iter_mut().zip(share(&present, &readers)) {
            place.wanted = wanted;
            if let Some(owner) = place.owner()
                && wanted != Some(owner)
                && !place.is_draining()
            {
                // An owner that is gone from the members has set its own deadline as it left.
                let patience =
                    members.get(&owner).map_or(Duration::ZERO, |member| member.drain_deadline);
                place.revoke(now + patience, &mut self.wakes);
            }
        }
    }

    /// Hands on what is free; when the next deadline passes, and whether anything was handed on.
    fn advance(&mut self, parts: &Parts, now: Instant) -> (Option<Instant>, bool) {
        let (mut next, mut moved) = (None, false);
        self.moving.retain(|name| {
            let Some(table) = self.topics.get_mut(name) else { return false };
            let (partitions, mut is_moving) = (table.topic.partitions(), false);
            for (place, partition) in table.places.iter_mut().zip(partitions.iter()) {
                match place.drain(parts.group, partition, now, &mut self.wakes) {
                    Drain::Kept => {}
                    Drain::Until(until) => {
                        is_moving = true;
                        next = Some(next.map_or(until, |next: Instant| next.min(until)));
                    }
                    Drain::Free => {
                        let Some(id) = place.wanted else { continue };
                        let Some(member) = self.members.get_mut(&id) else { continue };
                        let settle_first = member.topics.get(name).copied().unwrap_or_default();
                        member.give(place.assign(id, settle_first, parts, &table.topic, partition));
                        moved = true;
                    }
                }
            }
            is_moving
        });
        (next, moved)
    }

    /// Takes every partition from a member.
    fn revoke_of(&mut self, member: MemberId, deadline: Instant) {
        for (name, table) in &mut self.topics {
            let held = table.places.iter_mut().filter(|place| place.owner() == Some(member));
            let revoked = held.map(|place| place.revoke(deadline, &mut self.wakes)).count();
            if revoked > 0 {
                self.moving.insert(name.clone());
            }
        }
    }

    fn open_of(&self, parts: &Parts, member: MemberId) -> u64 {
        let open = |table: &Table| {
            let partitions = table.topic.partitions();
            let held = table
                .places
                .iter()
                .zip(partitions.iter())
                .filter(|(place, _)| place.owner() == Some(member));
            held.filter_map(|(_, partition)| partition.position(parts.group))
                .map(|position| position.open)
                .sum::<u64>()
        };
        self.topics.values().map(open).sum()
    }
}

impl Table {
    /// Adds the places of partitions that are new. A group that reads the topic already reads them
    /// from the start.
    fn grow(&mut self, parts: &Parts) {
        let partitions = self.topic.partitions();
        for partition in partitions.iter().skip(self.places.len()) {
            partition.ensure_cursor(parts.group, &parts.group_name, OffsetReset::Earliest);
            self.places.push(Place::default());
        }
    }
}

impl Group {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self { parts, state: Mutex::new(State::default()) })
    }

    pub(crate) fn join(&self, drain_deadline: Duration) -> MemberId {
        let mut state = self.state.lock();
        let id = state.next_member;
        state.next_member += 1;
        let (topics, inbox) = (HashMap::new(), VecDeque::new());
        let member = Member { topics, drain_deadline, stopped: false, inbox, full_at: INBOX };
        state.members.insert(id, member);
        id
    }

    /// Changes the membership under the lock, hands on what is free, and tells the members.
    fn change<T>(&self, change: impl FnOnce(&mut State, &Parts, Instant) -> T) -> T {
        let now = Instant::now();
        let mut state = self.state.lock();
        let answer = change(&mut state, &self.parts, now);
        state.advance(&self.parts, now);
        let wakes = std::mem::take(&mut state.wakes);
        drop(state);
        wakes.run();
        self.parts.signal.notify();
        answer
    }

    /// Adds topics to what a member reads; `false` when the member has left.
    pub(crate) fn subscribe(
        &self,
        id: MemberId,
        topics: Vec<(Arc<TopicState>, bool)>,
        reset: OffsetReset,
    ) -> bool {
        self.change(|state, parts, now| {
            for (topic, settle_first) in topics {
                let Some(member) = state.members.get_mut(&id) else { return false };
                let name = topic.name.clone();
                if member.topics.contains_key(&name) {
                    continue;
                }
                member.topics.insert(name.clone(), settle_first);
                if !state.topics.contains_key(&name) {
                    let partitions = topic.partitions();
                    for partition in partitions.iter() {
                        partition.ensure_cursor(parts.group, &parts.group_name, reset);
                    }
                    let places = partitions.iter().map(|_| Place::default()).collect();
                    drop(partitions);
                    state.topics.insert(name.clone(), Table { topic, places });
                }
                state.rebalance(parts, &name, now);
            }
            true
        })
    }

    pub(crate) fn unsubscribe(&self, id: MemberId, topic: &Topic) {
        self.change(|state, parts, now| {
            let Some(member) = state.members.get_mut(&id) else { return };
            if member.topics.remove(topic).is_some() {
                state.rebalance(parts, topic, now);
            }
        });
    }

    /// Ends the intakes of a member; it keeps its partitions until it leaves.
    pub(crate) fn stop(&self, id: MemberId) {
        self.change(|state, _, _| {
            if let Some(member) = state.members.get_mut(&id) {
                member.stopped = true;
                member.inbox.clear();
            }
            let places = state.topics.values().flat_map(|table| &table.places);
            places
                .filter(|place| place.owner() == Some(id))
                .for_each(|place| place.end(&mut state.wakes));
        });
    }

    /// Takes a member out of the group. What it has open is awaited until `deadline`.
    pub(crate) fn leave(&self, id: MemberId, deadline: Instant) {
        self.change(|state, parts, now| {
            let Some(member) = state.members.remove(&id) else { return };
            state.revoke_of(id, deadline);
            for topic in member.topics.keys() {
                state.rebalance(parts, topic, now);
            }
        });
    }

    /// Open deliveries of a member, also of one that is leaving.
    pub(crate) fn open_of(&self, id: MemberId) -> u64 {
        self.state.lock().open_of(&self.parts, id)
    }

    /// Takes from a member that has left what it still has; how many of its deliveries were open.
    pub(crate) fn expel(&self, id: MemberId) -> u64 {
        self.change(|state, parts, now| {
            let open = state.open_of(parts, id);
            state.revoke_of(id, now);
            open
        })
    }

    /// What there is for a member, after handing on what is free.
    pub(crate) fn look(&self, id: MemberId) -> Look {
        let mut state = self.state.lock();
        let (next, moved) = state.advance(&self.parts, Instant::now());
        let look = match state.members.get_mut(&id) {
            None => Look::Gone,
            Some(member) => member.take().map_or(Look::Nothing(next), Look::Assigned),
        };
        let wakes = std::mem::take(&mut state.wakes);
        drop(state);
        wakes.run();
        if moved {
            self.parts.signal.notify();
        }
        look
    }

    /// Partitions of a topic were added.
    pub(crate) fn grown(&self, topic: &Topic) {
        self.change(|state, parts, now| state.rebalance(parts, topic, now));
    }

    /// Revokes every partition and gives each to the member after its owner, or to its owner again
    /// if there is only one.
    pub(crate) fn revoke_all(&self) {
        self.change(|state, _, now| {
            state.moving.extend(state.topics.keys().cloned());
            for (name, table) in &mut state.topics {
                let readers: Vec<(MemberId, Duration)> = (state.members.iter())
                    .filter(|(_, member)| member.topics.contains_key(name) && !member.stopped)
                    .map(|(id, member)| (*id, member.drain_deadline))
                    .collect();
                for place in &mut table.places {
                    let Some(at) = readers.iter().position(|(id, _)| Some(*id) == place.owner())
                    else {
                        continue;
                    };
                    place.wanted = Some(readers[(at + 1) % readers.len()].0);
                    place.revoke(now + readers[at].1, &mut state.wakes);
                }
            }
        });
    }

    /// Whether it has no member.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().members.is_empty()
    }
}

#[cfg(test)]
mod tests;
