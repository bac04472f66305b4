//! One worker actor: it has a seat in the pool, and runs lanes there until it fails or there is
//! nothing left to do.
//!
//! It keeps no work in its mailbox. A ractor mailbox has no bound, and what lies in it is lost when
//! the actor fails; the lanes have bounds, and keep what they hold.
//!
//! What it runs has a task of its own, which fails when the actor's worker fails and ends when the
//! actor is killed. Inside of the actor's task, ractor would look at its four ports each time a
//! handler goes on.

use crate::supervisor::SeatTasks;
use buslane_lanes::{Engine, OnPanic, Worker};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::{any::Any, future::poll_fn, panic::resume_unwind, sync::Arc, task::Poll, time::Duration};
use tokio::{
    sync::{oneshot, watch},
    task::AbortHandle,
    time,
};
use tracing::info;

/// The actor at one seat.
pub(crate) struct Seat;

/// What an actor gets when it takes its seat.
pub(crate) struct Place {
    pub(crate) engine: Arc<Engine>,
    pub(crate) index: usize,
    pub(crate) rest: Option<Rest>,
    pub(crate) tasks: SeatTasks,
}

/// The one message of a seat: begin.
pub(crate) struct Run;

impl Actor for Seat {
    type Msg = Run;
    type State = Place;
    type Arguments = Place;

    async fn pre_start(&self, _: ActorRef<Run>, place: Place) -> Result<Place, ActorProcessingErr> {
        Ok(place)
    }

    async fn post_start(
        &self,
        myself: ActorRef<Run>,
        _: &mut Place,
    ) -> Result<(), ActorProcessingErr> {
        myself.cast(Run)?;
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Run>,
        _: Run,
        place: &mut Place,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(rest) = place.rest.take()
            && rest.over().await
        {
            place.engine.restarted();
            info!(seat = place.index, "actor is tried again after its cool-down");
        }
        // Starting has woken the supervisor, which an executor may have queued behind this task: a
        // handler that computes must not keep it from its work.
        requeue().await;
        if let Err(payload) = place.run().await? {
            resume_unwind(payload);
        }
        myself.stop(None);
        Ok(())
    }
}

impl Place {
    /// Runs lanes until a panic or the end.
    ///
    /// # Cancel safety
    /// Dropped, it ends the worker at its next `.await`.
    async fn run(&self) -> Result<Result<(), Box<dyn Any + Send>>, oneshot::error::RecvError> {
        let (tell, ended) = oneshot::channel();
        let worker = Worker::new(Arc::clone(&self.engine), self.index);
        let task = tokio::spawn(async move {
            // The worker gives its lanes back when it is dropped, so it goes before anybody hears
            // of its end.
            let end = { worker }.run(OnPanic::Fail).await;
            // Nobody listens any more when the actor was killed.
            let _ = tell.send(end);
        });
        let _abort = AbortOnDrop(task.abort_handle());
        self.tasks.add(self.index, task);
        ended.await
    }
}

/// Ends a task when it is dropped.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Goes to the end of the executor's queue.
async fn requeue() {
    let mut waited = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A cool-down that a seat has before it.
///
/// # Drop behaviour
/// The seat counts as able to run again.
pub(crate) struct Rest {
    engine: Arc<Engine>,
    time: Duration,
    drained: watch::Receiver<bool>,
}

impl Rest {
    /// Marks a seat of `engine` as down for `time`, or until nothing is left to do.
    pub(crate) fn new(engine: Arc<Engine>, time: Duration, drained: watch::Receiver<bool>) -> Self {
        engine.set_down(true);
        Self { engine, time, drained }
    }

    /// Waits until it is over; tells whether there may be work again. There is none when the pool
    /// has ended.
    async fn over(mut self) -> bool {
        time::timeout(self.time, self.drained.wait_for(|drained| *drained)).await.is_err()
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.engine.set_down(false);
    }
}
