//! The supervisor actor: it starts the worker actors, and starts them again when they fail.
//!
//! Only supervision events go through its mailbox. Those are few: at most one failure a worker is
//! under way, because a worker's next actor starts only after the failure of its last was handled.

use crate::{
    restarts::{Remedy, Restarts},
    worker::{CoolDown, WorkerActor, WorkerArgs, WorkerTasks},
};
use buslane_core::excerpt;
use buslane_pools::Engine;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::{collections::HashMap, fmt::Display, sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};
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
pub(crate) struct Workers {
    args: SupervisorArgs,
    restarts: Vec<Restarts>,
    by_actor: HashMap<ActorId, usize>,
}

impl Actor for Supervisor {
    type Msg = ();
    type State = Workers;
    type Arguments = SupervisorArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<()>,
        args: SupervisorArgs,
    ) -> Result<Workers, ActorProcessingErr> {
        let actors = args.actors;
        let mut workers = Workers {
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
        workers: &mut Workers,
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

impl Workers {
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
        let now = Instant::now().into_std();
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
