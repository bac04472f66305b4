//! A member's knowledge of its group, and its decisions. Pure: no client, no clock, no task.
//!
//! Every member decides alone, by one rule: the members that read a topic hold equally many of its
//! partitions, give or take one. A member with more gives up the surplus after its open messages
//! have ended; a member with fewer claims partitions without an owner. No member claims a partition
//! of a member that renews its lease. A member that cannot renew stops before others may claim.

use super::term::Lease;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// A partition of a topic, by the topic's token.
pub(super) type PartitionKey = (String, u32);

/// A decision of [`LeaseState`] that its task carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Write this member as the owner over this revision. Answer: [`LeaseState::claimed`].
    Claim(PartitionKey, u64),
    /// Start to read.
    Start(PartitionKey),
    /// Stop reading, and wait for open messages. Answer: [`LeaseState::drained`].
    Revoke(PartitionKey),
    /// Remove the owner over this revision. Answer: [`LeaseState::released`].
    Release(PartitionKey, u64),
    /// Stop at once, because the partition may belong to another member.
    Lose(PartitionKey),
}

/// Whether this member owns a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ownership {
    None,
    /// The claim is not answered yet.
    Claiming,
    Held,
    Draining,
    /// The release must still be written to the bucket.
    Releasing,
    /// The release is not answered yet.
    Released,
}

/// The owner of a partition in the bucket, and the state of this member's ownership.
struct PartitionLease {
    owner: Option<String>,
    revision: u64,
    ownership: Ownership,
}

/// Another member.
struct Member {
    revision: u64,
    /// When this member first saw that revision.
    since: Instant,
    topics: BTreeSet<String>,
}

pub(super) struct LeaseState {
    me: String,
    /// The validity of a renewal.
    length: Duration,
    lease: Lease,
    /// Whether this member has seen all present values of the bucket.
    is_synced: bool,
    /// The topics that this member reads, with the number of their partitions.
    wants: BTreeMap<String, u32>,
    members: BTreeMap<String, Member>,
    partitions: BTreeMap<PartitionKey, PartitionLease>,
    /// Whether the lease has expired since the last step.
    has_expired: bool,
    /// Own renewals that the bucket has accepted: the revision, and the time of sending.
    sent: Vec<(u64, Instant)>,
    /// The revision of the last own renewal that this member has seen in the bucket.
    seen_own: u64,
    /// The time of this member's view: the member has seen every value that was in the bucket then,
    /// because an own renewal from that time has returned.
    view: Option<Instant>,
    /// Partitions that this member has claimed since the last step.
    started: Vec<PartitionKey>,
}

impl LeaseState {
    pub(super) fn new(me: String, length: Duration, now: Instant) -> Self {
        Self {
            me,
            length,
            lease: Lease::new(now, Duration::ZERO),
            is_synced: false,
            wants: BTreeMap::new(),
            members: BTreeMap::new(),
            partitions: BTreeMap::new(),
            has_expired: false,
            sent: Vec::new(),
            seen_own: 0,
            view: None,
            started: Vec::new(),
        }
    }

    /// Sets the topics that this member reads, and their partitions.
    pub(super) fn want(&mut self, wants: BTreeMap<String, u32>) {
        self.wants = wants;
    }

    /// Begins a new watch of the bucket with its present values. A value that is replaced before
    /// the watch delivers it comes last, behind an older own renewal. So every member counts as
    /// alive from now on.
    pub(super) fn reopened(&mut self, now: Instant) {
        self.is_synced = false;
        for member in self.members.values_mut() {
            member.since = now;
        }
    }

    /// The watch has delivered all present values of the bucket.
    pub(super) fn synced(&mut self) {
        self.is_synced = true;
    }

    /// A member has renewed its lease or left.
    pub(super) fn member(
        &mut self,
        id: String,
        revision: u64,
        topics: Option<BTreeSet<String>>,
        now: Instant,
    ) {
        if id == self.me {
            self.seen_own = self.seen_own.max(revision);
            return self.update_view();
        }
        match topics {
            None => drop(self.members.remove(&id)),
            Some(topics) => {
                let is_known =
                    self.members.get(&id).is_some_and(|member| member.revision >= revision);
                if !is_known {
                    self.members.insert(id, Member { revision, since: now, topics });
                }
            }
        }
    }

    /// A partition has this owner. An owner without a known renewal counts as alive from now on.
    pub(super) fn partition(
        &mut self,
        key: PartitionKey,
        revision: u64,
        owner: Option<String>,
        now: Instant,
    ) {
        if let Some(other) =
            owner.as_ref().filter(|owner| **owner != self.me && !self.members.contains_key(*owner))
        {
            self.members
                .insert(other.clone(), Member { revision: 0, since: now, topics: BTreeSet::new() });
        }
        let partition = self.entry(&key);
        if revision > partition.revision {
            (partition.revision, partition.owner) = (revision, owner);
        }
    }

    /// The bucket has accepted a renewal that this member sent at `sent`. After the lease has
    /// expired, the renewal begins a new lease: all partitions held before are lost, and holders of
    /// the old lease stay without one.
    pub(super) fn renewed(&mut self, sent: Instant, revision: u64, now: Instant) {
        self.sent.push((revision, sent));
        self.update_view();
        if !self.lease.extend(sent + self.length, now) {
            self.has_expired = true;
            self.lease = Lease::new(sent, self.length);
        }
    }

    /// The lease under which this member may act.
    pub(super) const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Updates the time of the view. A member that sees no value of the bucket must not conclude
    /// that the others are silent.
    fn update_view(&mut self) {
        let (seen, view) = (self.seen_own, &mut self.view);
        self.sent.retain(|(revision, sent)| {
            let is_seen = *revision <= seen;
            if is_seen {
                *view = Some(view.map_or(*sent, |before| before.max(*sent)));
            }
            !is_seen
        });
    }

    /// The answer to [`Action::Claim`]: the new revision, or `None` if another member was faster.
    pub(super) fn claimed(&mut self, key: PartitionKey, revision: Option<u64>) {
        let me = self.me.clone();
        let partition = self.entry(&key);
        let was_claiming = partition.ownership == Ownership::Claiming;
        partition.ownership = Ownership::None;
        if let Some(revision) = revision {
            if revision >= partition.revision {
                (partition.revision, partition.owner) = (revision, Some(me));
            }
            if was_claiming && revision == partition.revision {
                partition.ownership = Ownership::Held;
                self.started.push(key);
            }
        }
    }

    /// The answer to [`Action::Revoke`].
    pub(super) fn drained(&mut self, key: &PartitionKey) {
        let partition = self.entry(key);
        if partition.ownership == Ownership::Draining {
            partition.ownership = Ownership::Releasing;
        }
    }

    /// The answer to [`Action::Release`]: the new revision, or `None` if the release failed.
    pub(super) fn released(&mut self, key: &PartitionKey, revision: Option<u64>) {
        let partition = self.entry(key);
        // The next step decides about the partition again.
        partition.ownership = Ownership::Releasing;
        if let Some(revision) = revision
            && revision > partition.revision
        {
            (partition.revision, partition.owner) = (revision, None);
        }
    }

    /// Whether this member holds and claims no partition.
    pub(super) fn is_idle(&self) -> bool {
        self.partitions.values().all(|partition| partition.ownership == Ownership::None)
    }

    /// Decides the actions of this step.
    pub(super) fn step(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        self.lose(now, &mut actions);
        let started = std::mem::take(&mut self.started);
        let held = started.into_iter().filter(|key| {
            self.partitions.get(key).is_some_and(|partition| partition.ownership == Ownership::Held)
        });
        actions.extend(held.map(Action::Start));
        self.release(&mut actions);
        if self.is_synced && self.lease.is_valid(now) {
            self.share(&mut actions);
        }
        actions
    }

    /// Gives up partitions for which this member may no longer act.
    fn lose(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let is_valid = self.lease.is_valid(now) && !std::mem::take(&mut self.has_expired);
        for (key, partition) in &mut self.partitions {
            let is_other = partition.owner.as_deref() != Some(self.me.as_str());
            let is_acting = matches!(partition.ownership, Ownership::Held | Ownership::Draining);
            if is_acting && (!is_valid || is_other) {
                partition.ownership = Ownership::None;
                actions.push(Action::Lose(key.clone()));
            }
        }
    }

    fn release(&mut self, actions: &mut Vec<Action>) {
        for (key, partition) in self
            .partitions
            .iter_mut()
            .filter(|(_, partition)| partition.ownership == Ownership::Releasing)
        {
            if partition.owner.as_deref() == Some(self.me.as_str()) {
                partition.ownership = Ownership::Released;
                actions.push(Action::Release(key.clone(), partition.revision));
            } else {
                partition.ownership = Ownership::None;
            }
        }
    }

    fn entry(&mut self, key: &PartitionKey) -> &mut PartitionLease {
        if !self.partitions.contains_key(key) {
            self.partitions.insert(
                key.clone(),
                PartitionLease { owner: None, revision: 0, ownership: Ownership::None },
            );
        }
        self.partitions.get_mut(key).expect("just inserted")
    }

    /// Claims partitions that this member lacks, and revokes its surplus.
    pub(super) fn share(&mut self, actions: &mut Vec<Action>) {
        let unwanted: Vec<PartitionKey> = self.held(|key| !self.wants.contains_key(&key.0));
        for key in unwanted {
            self.revoke(key, actions);
        }
        for (topic, count) in self.wants.clone() {
            let readers = self.readers(&topic);
            let rank = readers.iter().position(|id| **id == self.me).unwrap_or(0);
            let (each, more) = (count as usize / readers.len(), count as usize % readers.len());
            let quota = each + usize::from(rank < more);
            let held = self.held(|key| key.0 == topic);
            let claiming = self
                .partitions
                .iter()
                .filter(|(key, partition)| {
                    key.0 == topic && partition.ownership == Ownership::Claiming
                })
                .count();
            for key in held.iter().skip(quota).cloned() {
                self.revoke(key, actions);
            }
            let lacking = quota.saturating_sub(held.len() + claiming);
            // Members begin at different partitions, so they rarely claim the same one.
            let first = u32::try_from(rank * each).unwrap_or(0);
            let free: Vec<PartitionKey> = (0..count)
                .map(|n| (topic.clone(), (first + n) % count))
                .filter(|key| self.is_free(key))
                .take(lacking)
                .collect();
            for key in free {
                let partition = self.entry(&key);
                partition.ownership = Ownership::Claiming;
                actions.push(Action::Claim(key, partition.revision));
            }
        }
        // Other members wait for partitions that name this member as owner although it does not
        // read them.
        let me = Some(self.me.as_str());
        for partition in self.partitions.values_mut().filter(|partition| {
            partition.ownership == Ownership::None && partition.owner.as_deref() == me
        }) {
            partition.ownership = Ownership::Releasing;
        }
        self.release(actions);
    }

    fn revoke(&mut self, key: PartitionKey, actions: &mut Vec<Action>) {
        self.entry(&key).ownership = Ownership::Draining;
        actions.push(Action::Revoke(key));
    }

    fn held(&self, is_meant: impl Fn(&PartitionKey) -> bool) -> Vec<PartitionKey> {
        let held = self
            .partitions
            .iter()
            .filter(|(key, partition)| partition.ownership == Ownership::Held && is_meant(key));
        held.map(|(key, _)| key.clone()).collect()
    }

    /// The live members that read the topic, including this one, sorted.
    fn readers(&self, topic: &str) -> Vec<&String> {
        let others = self
            .members
            .iter()
            .filter(|(_, member)| member.topics.contains(topic) && self.is_alive(member));
        let mut readers: Vec<&String> = others.map(|(id, _)| id).collect();
        readers.push(&self.me);
        readers.sort();
        readers
    }

    /// Whether the member has renewed its lease in time. Grants a quarter more than the lease,
    /// because clocks run differently. The view of the bucket measures the time, and not the clock.
    fn is_alive(&self, member: &Member) -> bool {
        self.view.is_none_or(|view| view < member.since + self.length + self.length / 4)
    }

    /// Whether no live member owns the partition.
    fn is_free(&self, key: &PartitionKey) -> bool {
        let Some(partition) = self.partitions.get(key) else { return true };
        let is_held = match &partition.owner {
            None => false,
            Some(owner) if *owner == self.me => false,
            Some(owner) => self.members.get(owner).is_some_and(|member| self.is_alive(member)),
        };
        partition.ownership == Ownership::None && !is_held
    }
}
