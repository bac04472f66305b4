//! What a member knows of its group, and what it does about it. Pure: no client, no clock, no task.
//!
//! Each member takes and gives by itself, by one rule: of a topic's partitions, each of the members
//! that read it may hold as many as the others, give or take one. Who holds more gives up, after
//! what is open has ended; who holds fewer takes what nobody holds. Nothing is taken from a member
//! that shows signs of life, and a member that could not show any stops before others may take.

mod share;

use super::Lease;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// A partition of a topic, by the topic's token.
pub(super) type Place = (String, u32);

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Write me as the owner, if the last revision is this one. Answer: [`Machine::claimed`].
    Claim(Place, u64),
    /// Begin to read.
    Start(Place),
    /// Stop reading, and await what is open. Answer: [`Machine::drained`].
    Revoke(Place),
    /// Write that nobody is the owner, if the last revision is this one. Answer:
    /// [`Machine::released`].
    Release(Place, u64),
    /// Stop at once: it may belong to somebody else.
    Lose(Place),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mine {
    No,
    Claiming,
    Held,
    Draining,
    /// To be given up in the bucket.
    Releasing,
    /// Asked to be given up there.
    Leaving,
}

struct Spot {
    owner: Option<String>,
    revision: u64,
    mine: Mine,
}

/// Another member.
struct Member {
    revision: u64,
    /// When that revision was first seen.
    since: Instant,
    topics: BTreeSet<String>,
}

pub(super) struct Machine {
    me: String,
    /// How long a sign of life counts.
    length: Duration,
    lease: Lease,
    /// Whether all that stood in the bucket was seen.
    is_synced: bool,
    /// The topics that this member reads, and how many partitions they have.
    wants: BTreeMap<String, u32>,
    members: BTreeMap<String, Member>,
    spots: BTreeMap<Place, Spot>,
    /// A time without a lease has passed since the last step.
    has_expired: bool,
    /// Own signs of life that have arrived: their revisions, and when they were sent.
    sent: Vec<(u64, Instant)>,
    /// The last of them that was seen in the bucket.
    seen_own: u64,
    /// All that was in the bucket at this time was seen: an own sign of life, sent then, came out
    /// of it again.
    view: Option<Instant>,
    /// Partitions that were just given to this member.
    started: Vec<Place>,
}

impl Machine {
    pub(super) fn new(me: String, length: Duration, now: Instant) -> Self {
        Self {
            me,
            length,
            lease: Lease::new(now, Duration::ZERO),
            is_synced: false,
            wants: BTreeMap::new(),
            members: BTreeMap::new(),
            spots: BTreeMap::new(),
            has_expired: false,
            sent: Vec::new(),
            seen_own: 0,
            view: None,
            started: Vec::new(),
        }
    }

    /// What this member reads from now on.
    pub(super) fn want(&mut self, wants: BTreeMap<String, u32>) {
        self.wants = wants;
    }

    /// The bucket is looked at anew, from what stands in it now on. What is written over before it
    /// is heard of comes last, behind an own sign of life that is older. So everybody counts as
    /// alive from now on.
    pub(super) fn reopened(&mut self, now: Instant) {
        self.is_synced = false;
        for member in self.members.values_mut() {
            member.since = now;
        }
    }

    /// Everything that stands in the bucket was seen.
    pub(super) fn synced(&mut self) {
        self.is_synced = true;
    }

    /// A sign of life of a member was seen, or that it has left.
    pub(super) fn member(
        &mut self,
        id: String,
        revision: u64,
        topics: Option<BTreeSet<String>>,
        now: Instant,
    ) {
        if id == self.me {
            self.seen_own = self.seen_own.max(revision);
            return self.look_back();
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

    /// The owner of a partition was seen. One of whom no sign of life was seen yet counts as alive
    /// from now on.
    pub(super) fn place(
        &mut self,
        place: Place,
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
        let spot = self.spot(&place);
        if revision > spot.revision {
            (spot.revision, spot.owner) = (revision, owner);
        }
    }

    /// A sign of life of this member, sent at that time, has arrived. After a time without a lease
    /// it is a new beginning: all that was held before is lost, and who holds the old lease stays
    /// without.
    pub(super) fn renewed(&mut self, sent: Instant, revision: u64, now: Instant) {
        self.sent.push((revision, sent));
        self.look_back();
        if !self.lease.extend(sent + self.length, now) {
            self.has_expired = true;
            self.lease = Lease::new(sent, self.length);
        }
    }

    /// Until when this member may act.
    pub(super) const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// How old the view of the bucket is: whoever sees nothing of it for long must not think that
    /// the others are silent.
    fn look_back(&mut self) {
        let (seen, view) = (self.seen_own, &mut self.view);
        self.sent.retain(|(revision, sent)| {
            let is_seen = *revision <= seen;
            if is_seen {
                *view = Some(view.map_or(*sent, |before| before.max(*sent)));
            }
            !is_seen
        });
    }

    /// The answer to [`Action::Claim`]: the new revision, or that somebody was quicker.
    pub(super) fn claimed(&mut self, place: Place, revision: Option<u64>) {
        let me = self.me.clone();
        let spot = self.spot(&place);
        let was_claiming = spot.mine == Mine::Claiming;
        spot.mine = Mine::No;
        if let Some(revision) = revision {
            if revision >= spot.revision {
                (spot.revision, spot.owner) = (revision, Some(me));
            }
            if was_claiming && revision == spot.revision {
                spot.mine = Mine::Held;
                self.started.push(place);
            }
        }
    }

    /// The answer to [`Action::Revoke`].
    pub(super) fn drained(&mut self, place: &Place) {
        let spot = self.spot(place);
        if spot.mine == Mine::Draining {
            spot.mine = Mine::Releasing;
        }
    }

    /// The answer to [`Action::Release`]: the new revision, or that it was refused or not answered.
    pub(super) fn released(&mut self, place: &Place, revision: Option<u64>) {
        let spot = self.spot(place);
        // Without a revision it is looked at again.
        spot.mine = Mine::Releasing;
        if let Some(revision) = revision
            && revision > spot.revision
        {
            (spot.revision, spot.owner) = (revision, None);
        }
    }

    /// Whether this member holds nothing, and nothing is on its way to it.
    pub(super) fn is_idle(&self) -> bool {
        self.spots.values().all(|spot| spot.mine == Mine::No)
    }

    /// What is to be done now.
    pub(super) fn step(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        self.lose(now, &mut actions);
        let started = std::mem::take(&mut self.started);
        let held = started
            .into_iter()
            .filter(|place| self.spots.get(place).is_some_and(|spot| spot.mine == Mine::Held));
        actions.extend(held.map(Action::Start));
        self.release(&mut actions);
        if self.is_synced && self.lease.is_valid(now) {
            self.share(&mut actions);
        }
        actions
    }

    /// What this member may not act for any more.
    fn lose(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let is_valid = self.lease.is_valid(now) && !std::mem::take(&mut self.has_expired);
        for (place, spot) in &mut self.spots {
            let is_other = spot.owner.as_deref() != Some(self.me.as_str());
            let is_acting = matches!(spot.mine, Mine::Held | Mine::Draining);
            if is_acting && (!is_valid || is_other) {
                spot.mine = Mine::No;
                actions.push(Action::Lose(place.clone()));
            }
        }
    }

    fn release(&mut self, actions: &mut Vec<Action>) {
        for (place, spot) in self.spots.iter_mut().filter(|(_, spot)| spot.mine == Mine::Releasing)
        {
            if spot.owner.as_deref() == Some(self.me.as_str()) {
                spot.mine = Mine::Leaving;
                actions.push(Action::Release(place.clone(), spot.revision));
            } else {
                spot.mine = Mine::No;
            }
        }
    }

    fn spot(&mut self, place: &Place) -> &mut Spot {
        if !self.spots.contains_key(place) {
            self.spots.insert(place.clone(), Spot { owner: None, revision: 0, mine: Mine::No });
        }
        self.spots.get_mut(place).expect("it was put there")
    }
}
