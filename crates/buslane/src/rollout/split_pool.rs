//! Both pools as one: each hash slot belongs to one of them, and can change sides while messages
//! flow.

mod shared;

use super::{LazyPool, beside::Beside};
use buslane_core::{
    BoxFuture, Job, LaneState, Latencies, Pool, PoolStats, RunningJob, StopReport, SubmitError,
};
use buslane_lanes::{Progress, SlotCounts, Split};
use shared::Shared;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// The keyed pool's side.
pub(crate) const KEYED: usize = 0;
/// The actor pool's side.
pub(crate) const ACTOR: usize = 1;

/// Both pools.
///
/// # Drop behaviour
/// As that of the pools; what is between them is abandoned.
pub(crate) struct SplitPool {
    shared: Arc<Shared>,
    stopping: Mutex<Option<watch::Receiver<Option<StopReport>>>>,
}

impl SplitPool {
    /// The slots below `boundary` are the actor pool's. At most `most_held` messages wait for slots
    /// on their way.
    pub(crate) fn new(keyed: LazyPool, actor: LazyPool, boundary: usize, most_held: usize) -> Self {
        let beside = Beside::new([&keyed, &actor].map(|side| Arc::clone(&side.make)));
        let split = Split::new([keyed, actor], boundary, most_held);
        // Who has slots is ready before the first message.
        for (side, slots) in split.counts().at.into_iter().enumerate() {
            if slots > 0 {
                split.sides()[side].started();
            }
        }
        let shared = Shared::new(split, beside);
        Self { shared: Arc::new(shared), stopping: Mutex::new(None) }
    }

    /// From now on the slots below `boundary` belong to the actor pool. [`SplitPool::step`] moves
    /// them.
    pub(crate) fn aim(&self, boundary: usize) {
        self.shared.split.aim(boundary);
        self.shared.limit_keys();
        self.shared.arrived.notify_waiters();
    }

    /// Moves what can be moved now.
    pub(crate) fn step(&self) -> Progress {
        self.shared.step()
    }

    /// Leaves slots that wait where they are.
    pub(crate) fn give_up(&self, slots: &[usize]) {
        self.shared.split.give_up(slots);
        self.shared.arrived.notify_waiters();
    }

    /// The side that runs the messages of a key hash.
    pub(crate) fn runs_at(&self, lane: u64) -> usize {
        self.shared.split.runs_at(lane)
    }

    /// Runs a job beside the messages: by the kind of pool that does not run its key at this
    /// moment. Never waits; `false`, and the job is dropped, when there is no room, when its slot
    /// is on its way, and once this is stopped. It is in no figure of this pool.
    pub(crate) fn try_beside(&self, job: Job) -> bool {
        self.shared
            .split
            .side_of(job.lane)
            .is_some_and(|side| self.shared.beside.try_submit(1 - side, job))
    }

    /// Whether a slot is where it belongs.
    pub(crate) fn is_at_home(&self, slot: usize) -> bool {
        self.shared.split.is_at_home(slot)
    }

    pub(crate) fn counts(&self) -> SlotCounts {
        self.shared.split.counts()
    }

    /// Figures of one side; none while it was not needed yet.
    pub(crate) fn side(&self, side: usize) -> Option<(PoolStats, Latencies)> {
        let pool = self.shared.split.sides()[side].pool.get()?;
        Some((pool.stats(), pool.latencies()))
    }
}

impl Pool for SplitPool {
    /// The pool that has every slot; `split` while both have some.
    fn name(&self) -> &'static str {
        match self.shared.split.only() {
            Some(KEYED) => "keyed",
            Some(_) => "actor",
            None => "split",
        }
    }

    fn try_submit(&self, batch: &mut VecDeque<Job>) -> Result<(), SubmitError> {
        self.shared.split.submit(batch).map_err(|refused| self.shared.reason(refused).1)
    }

    fn submit<'a>(
        &'a self,
        batch: &'a mut VecDeque<Job>,
    ) -> BoxFuture<'a, Result<(), SubmitError>> {
        Box::pin(self.shared.submit(batch))
    }

    fn purge(&self, matches: &dyn Fn(&Job) -> bool) -> usize {
        self.shared.beside.purge(matches);
        self.shared.split.purge(matches)
    }

    fn limit_keys(&self, most: Option<usize>) {
        *self.shared.most_keys.lock().unwrap_or_else(PoisonError::into_inner) = most;
        self.shared.limit_keys();
    }

    fn lane(&self, lane: u64) -> Option<LaneState> {
        let sides = self.shared.split.sides();
        match self.shared.split.side_of(lane) {
            Some(side) => sides[side].pool.get()?.lane(lane),
            None => self.shared.started().find_map(|pool| pool.lane(lane)),
        }
    }

    fn running(&self) -> Vec<RunningJob> {
        let mut running = Vec::new();
        let mut workers = 0;
        for pool in self.shared.started() {
            running.extend(
                pool.running()
                    .into_iter()
                    .map(|job| RunningJob { worker: job.worker + workers, ..job }),
            );
            workers += pool.stats().workers;
        }
        running
    }

    fn stats(&self) -> PoolStats {
        self.shared.stats()
    }

    fn stop(&self, deadline: Duration) -> BoxFuture<'_, StopReport> {
        let mut stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answer = stopping
            .get_or_insert_with(|| {
                let (done, answer) = watch::channel(None);
                let shared = Arc::clone(&self.shared);
                let (begun, before) = (Instant::now(), shared.stats());
                shared.split.close();
                if shared.split.counts().moving == 0 {
                    // Nothing has to arrive first: from here on no retry begins.
                    for pool in shared.started() {
                        drop(pool.stop(deadline));
                    }
                }
                shared.arrived.notify_waiters();
                // In a task of its own, so that a caller who gives up does not leave the pools half
                // stopped.
                tokio::spawn(async move {
                    let stopped = shared.stop(begun, before, deadline);
                    let (report, ()) = tokio::join!(stopped, shared.beside.stop());
                    done.send(Some(report))
                });
                answer
            })
            .clone();
        Box::pin(async move {
            answer
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|report| *report)
                .unwrap_or_default()
        })
    }
}
