//! Drives the migration of slots between the pools, step by step. A value that the monitor task
//! runs: it decides neither which slots move nor when a rollout advances.

use super::Controller;
use buslane_pools::Pools;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// The first and the longest pause between two looks at whether a running message has ended.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// The slots that are moving.
pub(crate) struct Migrator {
    /// How long a slot waits for its running message before it stays.
    deadline: Duration,
    /// When the next step is due; `None` while no slot moves.
    next_step: Option<Instant>,
    pause: Duration,
    /// The slots that wait for a running message, and since when.
    waiting: HashMap<usize, Instant>,
    /// When the stuck slots are asked to move again.
    retry_stuck: Option<Instant>,
}

impl Migrator {
    pub(crate) fn new(deadline: Duration) -> Self {
        Self {
            deadline,
            next_step: None,
            pause: PAUSE.0,
            waiting: HashMap::new(),
            retry_stuck: None,
        }
    }

    /// Slots have to move from now on.
    pub(crate) const fn begin(&mut self, now: Instant) {
        self.next_step = Some(now);
    }

    /// When [`Migrator::run_due`] has something to do; `None` while no slot moves or is stuck.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.next_step.into_iter().chain(self.retry_stuck).min()
    }

    /// Performs the due step, or asks stuck slots to move again.
    pub(crate) fn run_due(&mut self, controller: &Controller, now: Instant) {
        let Some(pools) = controller.pools() else { return };
        if self.next_step.is_some_and(|at| at <= now) {
            self.step(controller, pools, now);
        }
        if self.retry_stuck.is_some_and(|at| at <= now) {
            self.retry_stuck = None;
            controller.retry_stuck(pools);
        }
    }

    fn step(&mut self, controller: &Controller, pools: &Pools, now: Instant) {
        let progress = pools.step();
        self.pause =
            if progress.arrived > 0 { PAUSE.0 } else { (self.pause * 2).clamp(PAUSE.0, PAUSE.1) };
        self.waiting.retain(|slot, _| progress.waiting.contains(slot));
        for slot in progress.waiting {
            self.waiting.entry(slot).or_insert(now);
        }
        let stuck: HashMap<_, _> =
            self.waiting.extract_if(|_, since| now - *since >= self.deadline).collect();
        if !stuck.is_empty() {
            controller.abort_stuck(pools, &stuck);
            self.retry_stuck = Some(now + self.deadline);
        }
        let moving = pools.counts().moving;
        self.next_step = (moving > 0).then(|| now + self.pause);
        controller.moved(pools, moving);
    }
}
