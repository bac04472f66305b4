//! The task that moves slots, and looks at both sides now and then. It decides nothing: that is for
//! guard and plan.

use super::Controller;
use crate::{
    clock::now,
    rollout::RolloutConfig,
    state::{BusState, TaskGuard},
};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

/// First and longest pause between two looks whether a message that is running has ended.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// Moves the slots of a bus until nothing is read any more.
pub(crate) async fn mover(
    controller: Arc<Controller>,
    state: Arc<BusState>,
    config: RolloutConfig,
) {
    let _guard = TaskGuard::new(&state);
    let mut looks = interval(config.check_interval);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut journey = Journey::default();
    loop {
        tokio::select! {
            biased;
            () = state.reading.cancelled() => break,
            () = controller.aimed.notified() => journey.next = Some(now()),
            () = until(journey.next) => journey.step(&controller, config.move_deadline),
            () = until(journey.retry) => {
                journey.retry = None;
                controller.retry_stuck();
            }
            _ = looks.tick(), if config.guard => controller.look(),
        }
    }
    controller.close();
}

/// Slots on their way.
#[derive(Default)]
struct Journey {
    /// When to look again.
    next: Option<Instant>,
    pause: Duration,
    /// Since when each slot waits for a handler.
    waiting: HashMap<usize, Instant>,
    /// When to ask the slots again that have stayed.
    retry: Option<Instant>,
}

impl Journey {
    fn step(&mut self, controller: &Controller, deadline: Duration) {
        let progress = controller.pool.step();
        let now = now();
        self.pause =
            if progress.arrived > 0 { PAUSE.0 } else { (self.pause * 2).clamp(PAUSE.0, PAUSE.1) };
        self.waiting.retain(|slot, _| progress.waiting.contains(slot));
        for slot in progress.waiting {
            self.waiting.entry(slot).or_insert(now);
        }
        let vain: Vec<_> = self
            .waiting
            .iter()
            .filter(|(_, since)| now - **since >= deadline)
            .map(|(slot, _)| *slot)
            .collect();
        if !vain.is_empty() {
            controller.pool.abort(&vain);
            controller.gave_up(&vain, |slot| self.waiting.get(&slot).copied().unwrap_or(now));
            self.waiting.retain(|slot, _| !vain.contains(slot));
            self.retry = Some(now + deadline);
        }
        let moving = controller.pool.counts().moving;
        self.next = (moving > 0).then(|| now + self.pause);
        controller.moved(moving);
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
