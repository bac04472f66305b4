//! The phase of each worker, by which the scheduler decides whom to wake.

use std::task::Waker;

/// The phase of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WorkerPhase {
    /// It sleeps and is in the idle list.
    Idle,
    /// It was woken or runs messages. It searches for work before it sleeps.
    Busy,
    /// Its handler waits, and it has no other message.
    Waiting,
    /// It has not started, has ended, or was removed after a failure.
    Gone,
}

struct WorkerState {
    phase: WorkerPhase,
    waker: Option<Waker>,
    /// The number of messages that it takes at a time.
    appetite: usize,
}

/// The maximum number of messages in a local queue. With so many, the cost of the lock is
/// negligible.
pub(super) const LOCAL_QUEUE: usize = 128;

/// All workers of a scheduler.
pub(super) struct Workers {
    list: Box<[WorkerState]>,
    /// The sleeping workers, the latest last. It is woken first, because its memory is in the
    /// cache.
    idle: Vec<usize>,
    busy: usize,
    /// The workers whose queue may hold messages.
    claimers: Vec<usize>,
    parallelism: usize,
}

impl Workers {
    pub(super) fn new(workers: usize, parallelism: usize) -> Self {
        Self {
            list: (0..workers)
                .map(|_| WorkerState { phase: WorkerPhase::Gone, waker: None, appetite: 1 })
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

    /// Whether more workers are busy than there are cores.
    pub(super) const fn are_crowded(&self) -> bool {
        self.busy > self.parallelism
    }

    pub(super) const fn any_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    pub(super) fn set(&mut self, worker: usize, phase: WorkerPhase) {
        let before = std::mem::replace(&mut self.list[worker].phase, phase);
        if before == phase {
            return;
        }
        match before {
            WorkerPhase::Busy => self.busy -= 1,
            WorkerPhase::Idle => self.idle.retain(|other| *other != worker),
            WorkerPhase::Waiting | WorkerPhase::Gone => {}
        }
        match phase {
            WorkerPhase::Busy => self.busy += 1,
            WorkerPhase::Idle => self.idle.push(worker),
            WorkerPhase::Waiting | WorkerPhase::Gone => {}
        }
    }

    pub(super) fn sleep(&mut self, worker: usize, waker: &Waker) {
        self.set(worker, WorkerPhase::Idle);
        match &mut self.list[worker].waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Takes the waker of an idle worker, which counts as busy from now on. `None` if every core
    /// has a busy worker.
    pub(super) fn wake_one(&mut self) -> Option<Waker> {
        if self.busy >= self.parallelism {
            return None;
        }
        let worker = self.idle.pop()?;
        self.list[worker].phase = WorkerPhase::Busy;
        self.busy += 1;
        self.list[worker].waker.clone()
    }

    /// Whether a core is free and a worker sleeps.
    pub(super) fn has_spare(&self) -> bool {
        self.busy < self.parallelism && !self.idle.is_empty()
    }

    pub(super) fn wake_all(&mut self, wakers: &mut Vec<Waker>) {
        for worker in std::mem::take(&mut self.idle) {
            self.list[worker].phase = WorkerPhase::Busy;
            self.busy += 1;
            wakers.extend(self.list[worker].waker.clone());
        }
    }

    /// The number of messages that a worker may take now. It grows each time while the worker's
    /// handlers return at once, because messages behind one that waits have to be given back.
    pub(super) fn appetite(&mut self, worker: usize) -> usize {
        let appetite = &mut self.list[worker].appetite;
        let now = *appetite;
        *appetite = LOCAL_QUEUE.min(now * 4);
        now
    }

    /// Records that a handler of this worker waits.
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
