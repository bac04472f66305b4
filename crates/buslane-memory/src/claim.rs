//! A group's claim on one partition: its present owner, its next owner, and the deadline of a
//! revoked owner.

use crate::{
    assignment::Assignment,
    balance::MemberId,
    intake::MemoryIntake,
    partition::Partition,
    topic::TopicState,
    wakes::{Connection, DeferredWakes, GroupSignal},
};
use buslane_core::{Source, Stragglers};
use std::sync::{Arc, Weak};
use tokio::time::Instant;

/// The state that all assignments of a group share.
pub(crate) struct GroupContext {
    pub(crate) group: u64,
    pub(crate) group_name: Arc<str>,
    /// The number of offsets that may be open in a partition.
    pub(crate) span: usize,
    pub(crate) signal: Arc<GroupSignal>,
    pub(crate) connection: Arc<Connection>,
}

/// The present and the next owner of a partition.
#[derive(Default)]
pub(crate) struct Claim {
    /// The member that is to own the partition.
    pub(crate) wanted: Option<MemberId>,
    current: Option<Current>,
}

struct Current {
    owner: MemberId,
    assignment: Arc<Assignment>,
    /// The time until which the partition waits for open deliveries. Set once the partition is
    /// revoked.
    until: Option<Instant>,
}

/// The state of a revoked claim.
pub(crate) enum Drain {
    /// No member owns the partition.
    Free,
    /// The owner keeps the partition.
    Kept,
    /// The old owner has open deliveries. The partition waits for them until this time.
    Until(Instant),
}

impl Claim {
    pub(crate) fn owner(&self) -> Option<MemberId> {
        self.current.as_ref().map(|current| current.owner)
    }

    /// Whether the owner was revoked and still has open deliveries.
    pub(crate) fn is_draining(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.until.is_some())
    }

    /// The owner for balancing, in which a revoked owner does not count.
    pub(crate) fn present(&self) -> Option<MemberId> {
        if self.is_draining() { self.wanted } else { self.owner() }
    }

    /// Ends the intake of the owner, whose settlements still count.
    pub(crate) fn end(&self, wakes: &mut DeferredWakes) {
        if let Some(current) = &self.current {
            current.assignment.end(wakes);
        }
    }

    /// Revokes the partition from its owner, and waits for the owner's open deliveries until
    /// `deadline`. An earlier deadline stays.
    pub(crate) fn revoke(&mut self, deadline: Instant, wakes: &mut DeferredWakes) {
        if let Some(current) = &mut self.current {
            current.until = Some(current.until.map_or(deadline, |until| until.min(deadline)));
            current.assignment.end(wakes);
        }
    }

    /// Frees a revoked partition once its owner has no open delivery or the deadline has passed.
    pub(crate) fn drain(
        &mut self,
        group: u64,
        partition: &Partition,
        now: Instant,
        wakes: &mut DeferredWakes,
    ) -> Drain {
        let Some(current) = &self.current else { return Drain::Free };
        let Some(until) = current.until else { return Drain::Kept };
        if now < until && partition.position(group).is_some_and(|position| position.open > 0) {
            return Drain::Until(until);
        }
        partition.detach(group, wakes);
        self.current = None;
        Drain::Free
    }

    /// Assigns the free partition to `owner`, whose late settlements count in `stragglers`.
    pub(crate) fn assign(
        &mut self,
        owner: MemberId,
        settle_first: bool,
        stragglers: &Arc<Stragglers>,
        context: &GroupContext,
        topic: &Arc<TopicState>,
        partition: &Arc<Partition>,
    ) -> MemoryIntake {
        let source = Source::new(topic.name.clone(), partition.index);
        let signal = Arc::clone(&context.signal);
        let waiters: Weak<Partition> = Arc::downgrade(partition);
        let assignment = Assignment::new(
            source,
            context.span,
            settle_first,
            context.group,
            signal,
            Arc::clone(stragglers),
            waiters,
        );
        partition.attach(Arc::clone(&assignment));
        self.current = Some(Current { owner, assignment: Arc::clone(&assignment), until: None });
        MemoryIntake {
            assignment,
            partition: Arc::clone(partition),
            topic: Arc::clone(topic),
            connection: Arc::clone(&context.connection),
            held: None,
        }
    }
}
