//! One worker actor: it has a seat in the pool, and runs lanes there until it fails or there is nothing left to do.
//!
//! It keeps no work in its mailbox. A ractor mailbox has no bound, and what lies in it is lost when the actor fails;
//! the lanes have bounds, and keep what they hold.

use buslane_lanes::{Engine, OnPanic, Worker};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};
use tokio::{sync::watch, time};
use tracing::info;

/// The actor at one seat.
pub(crate) struct Seat;

/// What an actor gets when it takes its seat.
pub(crate) struct Place {
    pub(crate) engine: Arc<Engine>,
    pub(crate) index: usize,
    pub(crate) rest: Option<Rest>,
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

    async fn post_start(&self, myself: ActorRef<Run>, _: &mut Place) -> Result<(), ActorProcessingErr> {
        myself.cast(Run)?;
        Ok(())
    }

    async fn handle(&self, myself: ActorRef<Run>, _: Run, place: &mut Place) -> Result<(), ActorProcessingErr> {
        if let Some(rest) = place.rest.take() {
            rest.over().await;
            place.engine.restarted();
            info!(seat = place.index, "actor is tried again after its cool-down");
        }
        // Starting has woken the supervisor, which an executor may have queued behind this task: a handler that
        // computes must not keep it from its work.
        requeue().await;
        // The worker gives its lanes back when it is dropped, so it goes before the supervisor hears of the failure.
        let ended = { Worker::new(Arc::clone(&place.engine), place.index).run(OnPanic::Fail).await };
        if let Err(payload) = ended {
            std::panic::resume_unwind(payload);
        }
        myself.stop(None);
        Ok(())
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

    async fn over(mut self) {
        // An error says that nobody stands for the pool any more: there is nothing left to do either.
        let _ = time::timeout(self.time, self.drained.wait_for(|drained| *drained)).await;
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.engine.set_down(false);
    }
}
