//! What each worker is doing, as far as waking needs to know.

use std::task::Waker;

/// A worker's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Asleep, on the idle list.
    Idle,
    /// Woken, or running messages: it looks for work before it sleeps.
    Busy,
    /// Its handler waits; it holds nothing else.
    Waiting,
    /// Not started, ended, or taken out after a failure.
    Gone,
}

struct Worker {
    phase: Phase,
    waker: Option<Waker>,
    /// Messages that it takes at a time.
    appetite: usize,
}

/// Most messages in a queue. More saves no time: the lock is a small part of so many.
pub(super) const LOCAL_QUEUE: usize = 128;

/// All workers of a scheduler.
pub(super) struct Workers {
    list: Box<[Worker]>,
    /// Asleep, the one that fell asleep last at the end: its memory is warm.
    idle: Vec<usize>,
    busy: usize,
    /// Workers whose queue may hold something.
    claimers: Vec<usize>,
    parallelism: usize,
}

impl Workers {
    pub(super) fn new(workers: usize, parallelism: usize) -> Self {
        Self {
            list: (0..workers)
                .map(|_| Worker { phase: Phase::Gone, waker: None, appetite: 1 })
                .collect(),
            idle: Vec::with_capacity(workers),
            busy: 0,
            claimers: Vec::new(),
            parallelism: parallelism.max(1),
        }
    }

    pub(super) const fn parallelism(&self) -> usize {
        self.parallelism
    }

    pub(super) const fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether more are busy than there are cores.
    pub(super) const fn are_crowded(&self) -> bool {
        self.busy > self.parallelism
    }

    pub(super) const fn any_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    pub(super) fn set(&mut self, worker: usize, phase: Phase) {
        let before = std::mem::replace(&mut self.list[worker].phase, phase);
        if before == phase {
            return;
        }
        match before {
            Phase::Busy => self.busy -= 1,
            Phase::Idle => self.idle.retain(|other| *other != worker),
            Phase::Waiting | Phase::Gone => {}
        }
        match phase {
            Phase::Busy => self.busy += 1,
            Phase::Idle => self.idle.push(worker),
            Phase::Waiting | Phase::Gone => {}
        }
    }

    pub(super) fn sleep(&mut self, worker: usize, waker: &Waker) {
        self.set(worker, Phase::Idle);
        match &mut self.list[worker].waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Takes the waker of an idle worker, unless every core has a busy one. Counts it as busy from
    /// now on.
    pub(super) fn wake_one(&mut self) -> Option<Waker> {
        if self.busy >= self.parallelism {
            return None;
        }
        let worker = self.idle.pop()?;
        self.list[worker].phase = Phase::Busy;
        self.busy += 1;
        self.list[worker].waker.clone()
    }

    /// Whether a core is free and a worker asleep.
    pub(super) fn has_spare(&self) -> bool {
        self.busy < self.parallelism && !self.idle.is_empty()
    }

    pub(super) fn wake_all(&mut self, wakers: &mut Vec<Waker>) {
        for worker in std::mem::take(&mut self.idle) {
            self.list[worker].phase = Phase::Busy;
            self.busy += 1;
            wakers.extend(self.list[worker].waker.clone());
        }
    }

    /// How many messages a worker may take now. More each time, as long as its handlers return at
    /// once: what is taken in front of one that waits has to be given back.
    pub(super) fn appetite(&mut self, worker: usize) -> usize {
        let appetite = &mut self.list[worker].appetite;
        let now = *appetite;
        *appetite = LOCAL_QUEUE.min(now * 4);
        now
    }

    /// A handler of this worker waits.
    pub(super) fn has_waited(&mut self, worker: usize) {
        self.list[worker].appetite = 1;
    }

    pub(super) fn claims(&mut self, worker: usize, claims: bool) {
        let known = self.claimers.iter().position(|other| *other == worker);
        match (known, claims) {
            (None, true) => self.claimers.push(worker),
            (Some(at), false) => {
                self.claimers.swap_remove(at);
            }
            _ => {}
        }
    }

    pub(super) fn claimers(&self) -> Vec<usize> {
        self.claimers.clone()
    }
}
