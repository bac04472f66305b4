//! The supervisor actor: it starts the worker actors, and starts them again when they fail.
//!
//! Only supervision events go through its mailbox. Those are few: at most one failure a worker is
//! under way, because a worker's next actor starts only after the failure of its last was handled.

use crate::worker::{CoolDown, WorkerActor, WorkerArgs, WorkerTasks};
use buslane_core::excerpt;
use buslane_pools::Engine;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::{
    collections::{HashMap, VecDeque},
    fmt::Display,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, time};
use tracing::{error, warn};

/// The actor that starts and restarts the worker actors.
pub(crate) struct Supervisor;

/// The arguments of the supervisor.
pub(crate) struct SupervisorArgs {
    pub(crate) engine: Arc<Engine>,
    pub(crate) actors: usize,
    pub(crate) max_restarts: usize,
    pub(crate) restart_window: Duration,
    pub(crate) cool_down: Duration,
    pub(crate) drained: watch::Receiver<bool>,
    pub(crate) tasks: WorkerTasks,
}

/// The worker actors, as the supervisor knows them.
pub(crate) struct SupervisedWorkers {
    args: SupervisorArgs,
    restarts: Vec<Restarts>,
    by_actor: HashMap<ActorId, usize>,
}

impl Actor for Supervisor {
    type Msg = ();
    type State = SupervisedWorkers;
    type Arguments = SupervisorArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<()>,
        args: SupervisorArgs,
    ) -> Result<SupervisedWorkers, ActorProcessingErr> {
        let actors = args.actors;
        let mut workers = SupervisedWorkers {
            args,
            restarts: (0..actors).map(|_| Restarts::default()).collect(),
            by_actor: HashMap::with_capacity(actors),
        };
        for index in 0..actors {
            workers.start(&myself, index, None).await?;
        }
        Ok(workers)
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<()>,
        event: SupervisionEvent,
        workers: &mut SupervisedWorkers,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(actor, error) => {
                workers.failed(&myself, &actor, &error).await?
            }
            // An actor that ended by itself brings its state along: nothing is left to do.
            SupervisionEvent::ActorTerminated(actor, Some(_), _) => {
                workers.by_actor.remove(&actor.get_id());
            }
            SupervisionEvent::ActorTerminated(actor, None, _) => {
                workers.failed(&myself, &actor, &"killed").await?
            }
            _ => {}
        }
        if workers.by_actor.is_empty() {
            myself.stop(None);
        }
        Ok(())
    }
}

impl SupervisedWorkers {
    async fn start(
        &mut self,
        myself: &ActorRef<()>,
        index: usize,
        cool_down: Option<CoolDown>,
    ) -> Result<(), ActorProcessingErr> {
        let args = WorkerArgs {
            engine: Arc::clone(&self.args.engine),
            index,
            cool_down,
            tasks: self.args.tasks.clone(),
        };
        let (actor, task) = Actor::spawn_linked(None, WorkerActor, args, myself.get_cell()).await?;
        self.by_actor.insert(actor.get_id(), index);
        self.args.tasks.add(index, task);
        Ok(())
    }

    async fn failed(
        &mut self,
        myself: &ActorRef<()>,
        actor: &ActorCell,
        error: &(dyn Display + Sync),
    ) -> Result<(), ActorProcessingErr> {
        let Some(index) = self.by_actor.remove(&actor.get_id()) else { return Ok(()) };
        let error = excerpt::error(error);
        for last in self.args.tasks.take_of(index) {
            // Both have ended: an actor reports its failure last, after its worker has ended.
            let _ = last.await;
        }
        let SupervisorArgs {
            engine, actors, max_restarts, restart_window, cool_down, drained, ..
        } = &self.args;
        let now = time::Instant::now().into_std();
        // Half of the actors stay in service: with all of them cooling down no message would be
        // handled.
        let may_cool_down = 2 * (engine.workers_down() + 1) <= *actors;
        let pause = match self.restarts[index].failed(
            now,
            *restart_window,
            *max_restarts,
            may_cool_down,
        ) {
            Remedy::Restart => {
                engine.restarted();
                warn!(seat = index, %error, "actor failed and is restarted");
                None
            }
            Remedy::RestartAnyway => {
                engine.restarted();
                error!(seat = index, error = %error, "actor failed too often and is restarted: half of them cool down");
                None
            }
            Remedy::CoolDown => {
                let seconds = cool_down.as_secs_f64();
                error!(seat = index, %error, seconds, "actor failed too often and cools down");
                Some(CoolDown::new(Arc::clone(engine), *cool_down, drained.clone()))
            }
        };
        self.start(myself, index, pause).await
    }
}

/// The reaction of a supervisor to a failed actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Starts another actor in its place at once.
    Restart,
    /// Starts another actor after a cool-down.
    CoolDown,
    /// Starts another actor at once although it failed too often, because too many cool down
    /// already.
    RestartAnyway,
}

/// The recent restarts of one worker. Pure: time is an argument.
#[derive(Debug, Default)]
pub(crate) struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// Records a failure, and returns the reaction to it. A cool-down empties the window. A worker
    /// that may not cool down keeps its newest `max` restarts, so that it cools down at its next
    /// failure once it may.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        window: Duration,
        max: usize,
        may_cool_down: bool,
    ) -> Remedy {
        while self
            .0
            .front()
            .is_some_and(|restart| now.saturating_duration_since(*restart) >= window)
        {
            self.0.pop_front();
        }
        if self.0.len() < max {
            self.0.push_back(now);
            return Remedy::Restart;
        }
        if may_cool_down {
            self.0.clear();
            return Remedy::CoolDown;
        }
        self.0.push_back(now);
        self.0.pop_front();
        Remedy::RestartAnyway
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p8_restarts_are_counted_within_a_sliding_window() {
        let start = Instant::now();
        let failures = [
            (0, Remedy::Restart),
            (20, Remedy::Restart),
            (40, Remedy::Restart),
            (59, Remedy::CoolDown),
        ];
        let after_cool_down = [(90, Remedy::Restart), (91, Remedy::Restart), (92, Remedy::Restart)];
        let sliding = [(150, Remedy::Restart), (150, Remedy::CoolDown)];
        let mut restarts = Restarts::default();
        for (second, remedy) in failures.into_iter().chain(after_cool_down).chain(sliding) {
            let now = start + Duration::from_secs(second);
            assert_eq!(
                restarts.failed(now, Duration::from_secs(60), 3, true),
                remedy,
                "at second {second}"
            );
        }
    }

    #[test]
    fn p8_no_restart_at_all() {
        for (may_cool_down, remedy) in [(true, Remedy::CoolDown), (false, Remedy::RestartAnyway)] {
            assert_eq!(
                Restarts::default().failed(
                    Instant::now(),
                    Duration::from_secs(60),
                    0,
                    may_cool_down
                ),
                remedy
            );
        }
    }

    #[test]
    fn p8_a_seat_that_may_not_rest_is_restarted_until_it_may() {
        let start = Instant::now();
        let mut restarts = Restarts::default();
        for (second, may_cool_down, remedy) in [
            (0, false, Remedy::Restart),
            (1, false, Remedy::Restart),
            (2, false, Remedy::Restart),
            (3, false, Remedy::RestartAnyway),
            (50, false, Remedy::RestartAnyway),
            (61, true, Remedy::CoolDown),
            (62, true, Remedy::Restart),
        ] {
            let now = start + Duration::from_secs(second);
            assert_eq!(
                restarts.failed(now, Duration::from_secs(60), 3, may_cool_down),
                remedy,
                "at second {second}"
            );
        }
    }
}
