//! One partition in its group: who has it, who is to have it, and whether its old owner still
//! finishes.

use crate::{
    assignment::Assignment, connection::Connection, intake::MemoryIntake, share::MemberId,
    signal::Signal,
};
use crate::{partition::Partition, topic::TopicState, wakes::Wakes};
use buslane_core::Source;
use std::sync::Arc;
use tokio::time::Instant;

/// What every assignment of a group is made with.
pub(crate) struct Parts {
    pub(crate) group: u64,
    pub(crate) group_name: Arc<str>,
    pub(crate) span: usize,
    pub(crate) signal: Arc<Signal>,
    pub(crate) connection: Arc<Connection>,
}

#[derive(Default)]
pub(crate) struct Place {
    pub(crate) wanted: Option<MemberId>,
    held: Option<Held>,
}

struct Held {
    owner: MemberId,
    assignment: Arc<Assignment>,
    /// Set once it is revoked: when its open deliveries are no longer awaited.
    until: Option<Instant>,
}

/// What became of a revoked place.
pub(crate) enum Drain {
    /// Nobody holds it.
    Free,
    /// Its owner keeps it.
    Kept,
    /// Its old owner still has open deliveries, and is awaited until then.
    Until(Instant),
}

impl Place {
    pub(crate) fn owner(&self) -> Option<MemberId> {
        self.held.as_ref().map(|held| held.owner)
    }

    /// Whether its owner still reads or finishes there, and whether that was revoked.
    pub(crate) fn is_draining(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.until.is_some())
    }

    /// Who has it, for sharing: a revoked owner has it no longer.
    pub(crate) fn present(&self) -> Option<MemberId> {
        if self.is_draining() { self.wanted } else { self.owner() }
    }

    /// Ends its intake; settlements are still taken.
    pub(crate) fn end(&self, wakes: &mut Wakes) {
        if let Some(held) = &self.held {
            held.assignment.end(wakes);
        }
    }

    /// Takes it from its owner, whose open deliveries are awaited until `deadline`. An earlier
    /// deadline stays.
    pub(crate) fn revoke(&mut self, deadline: Instant, wakes: &mut Wakes) {
        if let Some(held) = &mut self.held {
            held.until = Some(held.until.map_or(deadline, |until| until.min(deadline)));
            held.assignment.end(wakes);
        }
    }

    /// Frees it when it is revoked and its owner is done, or out of time.
    pub(crate) fn drain(
        &mut self,
        group: u64,
        partition: &Partition,
        now: Instant,
        wakes: &mut Wakes,
    ) -> Drain {
        let Some(held) = &self.held else { return Drain::Free };
        let Some(until) = held.until else { return Drain::Kept };
        if now < until && partition.position(group).is_some_and(|position| position.open > 0) {
            return Drain::Until(until);
        }
        partition.detach(group, wakes);
        self.held = None;
        Drain::Free
    }

    /// Gives the free place to `owner`.
    pub(crate) fn assign(
        &mut self,
        owner: MemberId,
        settle_first: bool,
        parts: &Parts,
        topic: &Arc<TopicState>,
        partition: &Arc<Partition>,
    ) -> MemoryIntake {
        let source = Source::new(topic.name.clone(), partition.index);
        let signal = Arc::clone(&parts.signal);
        let assignment =
            Assignment::new(source, parts.span, settle_first, parts.group, signal, partition);
        partition.attach(Arc::clone(&assignment));
        self.held = Some(Held { owner, assignment: Arc::clone(&assignment), until: None });
        MemoryIntake {
            assignment,
            partition: Arc::clone(partition),
            topic: Arc::clone(topic),
            connection: Arc::clone(&parts.connection),
            held: None,
        }
    }
}
