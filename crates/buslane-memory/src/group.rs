//! A consumer group: its members, their subscriptions, and the assignment of partitions.
//!
//! A group has no background task. A revoked partition moves when its last open delivery is settled
//! or its deadline passes, *and* a member of the group waits for events, joins, leaves or closes.
//! Running members always wait for events, so the partition moves at once. Without a waiting
//! member, no timer is needed.

use crate::{
    balance::{MemberId, balance},
    claim::{Claim, Drain, GroupContext},
    config::OffsetReset,
    intake::MemoryIntake,
    partition::Partition,
    topic::TopicState,
    wakes::DeferredWakes,
};
use buslane_core::{Lag, Progress, Stragglers, Topic};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

pub(crate) struct Group {
    pub(crate) context: GroupContext,
    state: Mutex<GroupState>,
}

#[derive(Default)]
struct GroupState {
    next_member: MemberId,
    /// In the order of joining.
    members: BTreeMap<MemberId, Member>,
    topics: BTreeMap<Topic, TopicClaims>,
    /// Topics with a partition that may be moving between members.
    moving: BTreeSet<Topic>,
    /// Runs once the lock is free.
    wakes: DeferredWakes,
}

struct Member {
    /// The topics that the member reads, and whether their deliveries are settled as they are
    /// handed out.
    topics: HashMap<Topic, bool>,
    drain_deadline: Duration,
    stragglers: Arc<Stragglers>,
    /// Whether the member has stopped reading. It keeps its partitions until it leaves.
    stopped: bool,
    /// Intakes that the member has not taken yet. At most one intake of a partition is live.
    inbox: VecDeque<MemoryIntake>,
    /// The length at which ended intakes are removed from the inbox.
    full_at: usize,
}

/// The shortest inbox from which ended intakes are removed.
const MIN_INBOX: usize = 64;

impl Member {
    fn give(&mut self, intake: MemoryIntake) {
        if self.inbox.len() >= self.full_at {
            self.inbox.retain(|intake| !intake.assignment.is_ended());
            self.full_at = MIN_INBOX.max(2 * self.inbox.len());
        }
        self.inbox.push_back(intake);
    }

    fn take(&mut self) -> Option<MemoryIntake> {
        std::iter::from_fn(|| self.inbox.pop_front()).find(|intake| !intake.assignment.is_ended())
    }
}

/// The claims of a group on the partitions of a topic, indexed by partition.
struct TopicClaims {
    topic: Arc<TopicState>,
    claims: Vec<Claim>,
}

/// The answer to a member that requests its next event.
pub(crate) enum NextEvent {
    /// A partition was assigned.
    Assigned(MemoryIntake),
    /// No event yet. The member asks again at the next signal, or at this time.
    Nothing(Option<Instant>),
    /// The member has left.
    Gone,
}

impl GroupState {
    /// Balances a topic's partitions over its readers, and revokes those that must move.
    fn rebalance(&mut self, context: &GroupContext, name: &Topic, now: Instant) {
        let Some(table) = self.topics.get_mut(name) else { return };
        self.moving.insert(name.clone());
        table.grow(context);
        let reads = |member: &Member| member.topics.contains_key(name);
        let readers: Vec<MemberId> = self
            .members
            .iter()
            .filter(|(_, member)| reads(member) && !member.stopped)
            .map(|(id, _)| *id)
            .collect();
        // A stopped member keeps its partitions, because it still settles their deliveries.
        let members = &self.members;
        let is_pinned = |claim: &Claim| {
            !claim.is_draining()
                && claim
                    .owner()
                    .and_then(|id| members.get(&id))
                    .is_some_and(|member| member.stopped && reads(member))
        };
        let mut moving: Vec<&mut Claim> =
            table.claims.iter_mut().filter(|claim| !is_pinned(claim)).collect();
        let present: Vec<_> = moving.iter().map(|claim| claim.present()).collect();
        for (claim, wanted) in moving.iter_mut().zip(balance(&present, &readers)) {
            claim.wanted = wanted;
            if let Some(owner) = claim.owner()
                && wanted != Some(owner)
                && !claim.is_draining()
            {
                // An owner that has left the group has already set the deadline.
                let drain_deadline =
                    members.get(&owner).map_or(Duration::ZERO, |member| member.drain_deadline);
                claim.revoke(now + drain_deadline, &mut self.wakes);
            }
        }
    }

    /// Assigns free partitions. Returns the next deadline, and whether a partition was assigned.
    fn advance(&mut self, context: &GroupContext, now: Instant) -> (Option<Instant>, bool) {
        let (mut next, mut moved) = (None, false);
        self.moving.retain(|name| {
            let Some(table) = self.topics.get_mut(name) else { return false };
            let (partitions, mut is_moving) = (table.topic.partitions(), false);
            for (claim, partition) in table.claims.iter_mut().zip(partitions.iter()) {
                match claim.drain(context.group, partition, now, &mut self.wakes) {
                    Drain::Kept => {}
                    Drain::Until(until) => {
                        is_moving = true;
                        next = Some(next.map_or(until, |next: Instant| next.min(until)));
                    }
                    Drain::Free => {
                        let Some(id) = claim.wanted else { continue };
                        let Some(member) = self.members.get_mut(&id) else { continue };
                        let settle_first = member.topics.get(name).copied().unwrap_or_default();
                        let intake = claim.assign(
                            id,
                            settle_first,
                            &member.stragglers,
                            context,
                            &table.topic,
                            partition,
                        );
                        member.give(intake);
                        moved = true;
                    }
                }
            }
            is_moving
        });
        (next, moved)
    }

    /// Revokes every partition of a member.
    fn revoke_of(&mut self, member: MemberId, deadline: Instant) {
        for (name, table) in &mut self.topics {
            let held = table.claims.iter_mut().filter(|claim| claim.owner() == Some(member));
            let revoked = held.map(|claim| claim.revoke(deadline, &mut self.wakes)).count();
            if revoked > 0 {
                self.moving.insert(name.clone());
            }
        }
    }

    fn open_of(&self, context: &GroupContext, member: MemberId) -> u64 {
        let open = |table: &TopicClaims| {
            let partitions = table.topic.partitions();
            let held = table
                .claims
                .iter()
                .zip(partitions.iter())
                .filter(|(claim, _)| claim.owner() == Some(member));
            held.filter_map(|(_, partition)| partition.position(context.group))
                .map(|position| position.open)
                .sum::<u64>()
        };
        self.topics.values().map(open).sum()
    }
}

impl TopicClaims {
    /// Adds claims for new partitions. A group that already reads the topic reads them from the
    /// start.
    fn grow(&mut self, context: &GroupContext) {
        let partitions = self.topic.partitions();
        for partition in partitions.iter().skip(self.claims.len()) {
            partition.ensure_cursor(context.group, &context.group_name, OffsetReset::Earliest);
            self.claims.push(Claim::default());
        }
    }
}

impl Group {
    pub(crate) fn new(context: GroupContext) -> Arc<Self> {
        Arc::new(Self { context, state: Mutex::new(GroupState::default()) })
    }

    pub(crate) fn join(&self, drain_deadline: Duration, stragglers: &Arc<Stragglers>) -> MemberId {
        let mut state = self.state.lock();
        let id = state.next_member;
        state.next_member += 1;
        let member = Member {
            topics: HashMap::new(),
            drain_deadline,
            stragglers: Arc::clone(stragglers),
            stopped: false,
            inbox: VecDeque::new(),
            full_at: MIN_INBOX,
        };
        state.members.insert(id, member);
        id
    }

    /// Changes the state under the lock, assigns free partitions, and notifies the members.
    fn change<T>(&self, change: impl FnOnce(&mut GroupState, &GroupContext, Instant) -> T) -> T {
        let now = Instant::now();
        let mut state = self.state.lock();
        let answer = change(&mut state, &self.context, now);
        state.advance(&self.context, now);
        let wakes = std::mem::take(&mut state.wakes);
        drop(state);
        wakes.run();
        self.context.signal.notify();
        answer
    }

    /// Adds topics to the subscriptions of a member. Returns `false` when the member has left.
    pub(crate) fn subscribe(
        &self,
        id: MemberId,
        topics: Vec<(Arc<TopicState>, bool)>,
        reset: OffsetReset,
    ) -> bool {
        self.change(|state, context, now| {
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
                        partition.ensure_cursor(context.group, &context.group_name, reset);
                    }
                    let claims = partitions.iter().map(|_| Claim::default()).collect();
                    drop(partitions);
                    state.topics.insert(name.clone(), TopicClaims { topic, claims });
                }
                state.rebalance(context, &name, now);
            }
            true
        })
    }

    pub(crate) fn unsubscribe(&self, id: MemberId, topic: &Topic) {
        self.change(|state, context, now| {
            let Some(member) = state.members.get_mut(&id) else { return };
            if member.topics.remove(topic).is_some() {
                state.rebalance(context, topic, now);
            }
        });
    }

    /// Ends the intakes of a member. It keeps its partitions until it leaves.
    pub(crate) fn stop(&self, id: MemberId) {
        self.change(|state, _, _| {
            if let Some(member) = state.members.get_mut(&id) {
                member.stopped = true;
                member.inbox.clear();
            }
            let claims = state.topics.values().flat_map(|table| &table.claims);
            claims
                .filter(|claim| claim.owner() == Some(id))
                .for_each(|claim| claim.end(&mut state.wakes));
        });
    }

    /// Removes a member. Its partitions wait for their open deliveries until `deadline`.
    pub(crate) fn leave(&self, id: MemberId, deadline: Instant) {
        self.change(|state, context, now| {
            let Some(member) = state.members.remove(&id) else { return };
            state.revoke_of(id, deadline);
            for topic in member.topics.keys() {
                state.rebalance(context, topic, now);
            }
        });
    }

    /// The number of open deliveries of a member, which may be leaving.
    pub(crate) fn open_of(&self, id: MemberId) -> u64 {
        self.state.lock().open_of(&self.context, id)
    }

    /// Revokes the partitions that a departed member still holds. Returns the number of the
    /// member's open deliveries.
    pub(crate) fn expel(&self, id: MemberId) -> u64 {
        self.change(|state, context, now| {
            let open = state.open_of(context, id);
            state.revoke_of(id, now);
            open
        })
    }

    /// The next event of a member, after assigning free partitions.
    pub(crate) fn next_event(&self, id: MemberId) -> NextEvent {
        let mut state = self.state.lock();
        let (next, moved) = state.advance(&self.context, Instant::now());
        let event = match state.members.get_mut(&id) {
            None => NextEvent::Gone,
            Some(member) => member.take().map_or(NextEvent::Nothing(next), NextEvent::Assigned),
        };
        let wakes = std::mem::take(&mut state.wakes);
        drop(state);
        wakes.run();
        if moved {
            self.context.signal.notify();
        }
        event
    }

    /// Assigns partitions that were added to a topic.
    pub(crate) fn grown(&self, topic: &Topic) {
        self.change(|state, context, now| state.rebalance(context, topic, now));
    }

    /// Revokes every partition, and assigns each to the member after its owner, or to a sole owner
    /// again.
    pub(crate) fn revoke_all(&self) {
        self.change(|state, _, now| {
            state.moving.extend(state.topics.keys().cloned());
            for (name, table) in &mut state.topics {
                let readers: Vec<(MemberId, Duration)> = (state.members.iter())
                    .filter(|(_, member)| member.topics.contains_key(name) && !member.stopped)
                    .map(|(id, member)| (*id, member.drain_deadline))
                    .collect();
                for claim in &mut table.claims {
                    let Some(at) = readers.iter().position(|(id, _)| Some(*id) == claim.owner())
                    else {
                        continue;
                    };
                    claim.wanted = Some(readers[(at + 1) % readers.len()].0);
                    claim.revoke(now + readers[at].1, &mut state.wakes);
                }
            }
        });
    }

    /// How far a member is behind in each of its partitions.
    pub(crate) fn lag_of(&self, member: MemberId, now_ms: i64) -> Vec<Lag> {
        let mut lags = Vec::new();
        for (topic, table) in &self.state.lock().topics {
            let partitions = table.topic.partitions();
            let held = table
                .claims
                .iter()
                .zip(partitions.iter())
                .filter(|(claim, _)| claim.owner() == Some(member));
            lags.extend(held.filter_map(|(_, partition)| self.lag_in(topic, partition, now_ms)));
        }
        lags
    }

    /// The group's progress in every partition of those `topics` that it reads.
    pub(crate) fn progress(&self, topics: &[Topic]) -> Vec<Progress> {
        let state = self.state.lock();
        let read = topics.iter().filter_map(|topic| state.topics.get_key_value(topic));
        let mut all = Vec::new();
        for (topic, table) in read {
            for position in
                table.topic.partitions().iter().filter_map(|one| one.position(self.context.group))
            {
                all.push(Progress {
                    topic: topic.clone(),
                    partition: position.partition,
                    end: position.end,
                    settled: position.committed,
                    open: position.lag() - position.done_ahead,
                });
            }
        }
        all
    }

    fn lag_in(&self, topic: &Topic, partition: &Partition, now_ms: i64) -> Option<Lag> {
        let position = partition.position(self.context.group)?;
        let oldest = partition.oldest_unsettled(self.context.group);
        let age = oldest.map(|at| u64::try_from(now_ms.saturating_sub(at)).unwrap_or(0));
        let open = position.lag() - position.done_ahead;
        Some(Lag {
            topic: topic.clone(),
            partition: position.partition,
            messages: position.lag(),
            open,
            unread: Some(open.saturating_sub(position.open)),
            age: age.map(Duration::from_millis),
        })
    }

    /// Whether the group has no member.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().members.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::MemoryConfig,
        wakes::{Connection, GroupSignal},
    };
    use buslane_core::TopicSettings;

    /// A request for an event checks only moving topics, and not all of them.
    #[tokio::test]
    async fn inv_a_group_at_rest_looks_at_no_topic() {
        let config = MemoryConfig { partitions: 4, ..MemoryConfig::default() };
        let context = GroupContext {
            group: 1,
            group_name: "g".into(),
            span: 64,
            signal: Arc::new(GroupSignal::default()),
            connection: Arc::new(Connection::default()),
        };
        let group = Group::new(context);
        let join = || group.join(Duration::from_secs(1), &Arc::default());
        let (one, mut intakes) = (join(), Vec::new());
        for n in 0..50 {
            let name = Topic::new(&format!("t{n}")).unwrap();
            let topic = Arc::new(TopicState::new(name, &config, &TopicSettings::default()));
            assert!(group.subscribe(one, vec![(topic, false)], OffsetReset::Earliest));
            assert_eq!(group.state.lock().moving.len(), 0);
        }
        while let NextEvent::Assigned(intake) = group.next_event(one) {
            intakes.push(intake);
        }
        assert_eq!(intakes.len(), 200);
        // A second member takes its share of one topic, and no other topic moves.
        let two = join();
        let topic = group
            .state
            .lock()
            .topics
            .values()
            .next()
            .map(|table| Arc::clone(&table.topic))
            .unwrap();
        assert!(group.subscribe(two, vec![(topic, false)], OffsetReset::Earliest));
        assert_eq!(intakes.iter().filter(|intake| intake.assignment.is_ended()).count(), 2);
        assert!(
            matches!(group.next_event(two), NextEvent::Assigned(_))
                && matches!(group.next_event(two), NextEvent::Assigned(_))
        );
        assert_eq!(group.state.lock().moving.len(), 0);
        group.leave(two, Instant::now());
        assert_eq!(
            std::iter::from_fn(|| match group.next_event(one) {
                NextEvent::Assigned(intake) => Some(intake),
                _ => None,
            })
            .count(),
            2
        );
    }
}
