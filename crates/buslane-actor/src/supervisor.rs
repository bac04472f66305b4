//! The supervisor actor: it fills the seats, and fills them again when their actors fail.
//!
//! Nothing but supervision events goes through its mailbox. Those are few: at most one failure a
//! seat is under way, because the next actor of a seat starts only after the failure of the last
//! was handled.

use crate::{
    restarts::{Remedy, Restarts},
    seat::{Place, Rest, Seat},
};
use buslane_core::excerpt;
use buslane_lanes::Engine;
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use std::{
    collections::HashMap,
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{self, Instant},
};
use tracing::{error, warn};

/// The actor that starts and restarts the others.
pub(crate) struct Supervisor;

/// What the supervisor works with.
pub(crate) struct Plan {
    pub(crate) engine: Arc<Engine>,
    pub(crate) actors: usize,
    pub(crate) max_restarts: usize,
    pub(crate) restart_window: Duration,
    pub(crate) cool_down: Duration,
    pub(crate) drained: watch::Receiver<bool>,
    pub(crate) tasks: SeatTasks,
}

/// The tasks of each seat, its actor's and its worker's, for whoever joins them.
#[derive(Clone, Default)]
pub(crate) struct SeatTasks(Arc<Mutex<HashMap<usize, Vec<JoinHandle<()>>>>>);

impl SeatTasks {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Vec<JoinHandle<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a task of the seat `index`.
    pub(crate) fn add(&self, index: usize, task: JoinHandle<()>) {
        self.lock().entry(index).or_default().push(task);
    }

    /// Takes the tasks of one seat out.
    fn take_seat(&self, index: usize) -> Vec<JoinHandle<()>> {
        self.lock().remove(&index).unwrap_or_default()
    }

    /// Takes the tasks out.
    pub(crate) fn take(&self) -> Vec<JoinHandle<()>> {
        self.lock().drain().flat_map(|(_, tasks)| tasks).collect()
    }
}

/// The seats, as the supervisor knows them.
pub(crate) struct Seats {
    plan: Plan,
    restarts: Vec<Restarts>,
    by_actor: HashMap<ActorId, usize>,
}

impl Actor for Supervisor {
    type Msg = ();
    type State = Seats;
    type Arguments = Plan;

    async fn pre_start(
        &self,
        myself: ActorRef<()>,
        plan: Plan,
    ) -> Result<Seats, ActorProcessingErr> {
        let actors = plan.actors;
        let mut seats = Seats {
            plan,
            restarts: (0..actors).map(|_| Restarts::default()).collect(),
            by_actor: HashMap::with_capacity(actors),
        };
        for index in 0..actors {
            seats.fill(&myself, index, None).await?;
        }
        Ok(seats)
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<()>,
        event: SupervisionEvent,
        seats: &mut Seats,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(actor, error) => {
                seats.failed(&myself, &actor, &error).await?
            }
            // An actor that ended by itself brings its state along: nothing is left to do.
            SupervisionEvent::ActorTerminated(actor, Some(_), _) => {
                seats.by_actor.remove(&actor.get_id());
            }
            SupervisionEvent::ActorTerminated(actor, None, _) => {
                seats.failed(&myself, &actor, &"killed").await?
            }
            _ => {}
        }
        if seats.by_actor.is_empty() {
            myself.stop(None);
        }
        Ok(())
    }
}

impl Seats {
    async fn fill(
        &mut self,
        myself: &ActorRef<()>,
        index: usize,
        rest: Option<Rest>,
    ) -> Result<(), ActorProcessingErr> {
        let place = Place {
            engine: Arc::clone(&self.plan.engine),
            index,
            rest,
            tasks: self.plan.tasks.clone(),
        };
        let (actor, task) = Actor::spawn_linked(None, Seat, place, myself.get_cell()).await?;
        self.by_actor.insert(actor.get_id(), index);
        self.plan.tasks.add(index, task);
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
        for last in self.plan.tasks.take_seat(index) {
            // The actor has told of its failure, which is the last thing it does, and its worker
            // has ended before.
            let _ = last.await;
        }
        let Plan { engine, actors, max_restarts, restart_window, cool_down, drained, .. } =
            &self.plan;
        let now = Instant::now().into_std();
        // Half of the actors stay in service: with all of them at rest no message would be handled,
        // of no key.
        let may_rest = 2 * (engine.workers_down() + 1) <= *actors;
        let rest = match self.restarts[index].failed(now, *restart_window, *max_restarts, may_rest)
        {
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
                Some(Rest::new(Arc::clone(engine), *cool_down, drained.clone()))
            }
        };
        self.fill(myself, index, rest).await
    }
}

/// Waits for `tasks` until `grace` has passed, and returns how many are left.
pub(crate) async fn join(tasks: Vec<JoinHandle<()>>, grace: Duration) -> usize {
    let deadline = Instant::now() + grace;
    let mut left = 0;
    for task in tasks {
        left += usize::from(time::timeout_at(deadline, task).await.is_err());
    }
    left
}
