//! A worker actor: it runs lanes until it fails or there is nothing left to do.
//!
//! Its mailbox holds no work. A ractor mailbox has no bound, and its content is lost when the actor
//! fails; the lanes have bounds and keep their messages.
//!
//! The worker's loop runs in a task of its own, which fails when the worker fails and ends when the
//! actor is killed. In the actor's own task, ractor would poll its four ports each time a handler
//! continues.

use buslane_pools::{Engine, OnPanic, Worker};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::{
    any::Any,
    collections::HashMap,
    future::poll_fn,
    panic::resume_unwind,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};
use tokio::{
    sync::{oneshot, watch},
    task::{AbortHandle, JoinHandle},
    time::{self, Instant},
};
use tracing::info;

/// The actor of one worker.
pub(crate) struct WorkerActor;

/// The arguments of a worker actor.
pub(crate) struct WorkerArgs {
    pub(crate) engine: Arc<Engine>,
    pub(crate) index: usize,
    pub(crate) cool_down: Option<CoolDown>,
    pub(crate) tasks: WorkerTasks,
}

/// The only message of a worker actor: begin.
pub(crate) struct Run;

impl Actor for WorkerActor {
    type Msg = Run;
    type State = WorkerArgs;
    type Arguments = WorkerArgs;

    async fn pre_start(
        &self,
        _: ActorRef<Run>,
        args: WorkerArgs,
    ) -> Result<WorkerArgs, ActorProcessingErr> {
        Ok(args)
    }

    async fn post_start(
        &self,
        myself: ActorRef<Run>,
        _: &mut WorkerArgs,
    ) -> Result<(), ActorProcessingErr> {
        myself.cast(Run)?;
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Run>,
        _: Run,
        args: &mut WorkerArgs,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(cool_down) = args.cool_down.take()
            && cool_down.over().await
        {
            args.engine.restarted();
            info!(seat = args.index, "actor is tried again after its cool-down");
        }
        // Starting has woken the supervisor, which an executor may have queued behind this task: a
        // handler that computes must not keep it from its work.
        requeue().await;
        if let Err(payload) = args.run().await? {
            resume_unwind(payload);
        }
        myself.stop(None);
        Ok(())
    }
}

impl WorkerArgs {
    /// Runs lanes until a panic or the end.
    ///
    /// # Cancel safety
    /// Dropped, it ends the worker at its next `.await`.
    async fn run(&self) -> Result<Result<(), Box<dyn Any + Send>>, oneshot::error::RecvError> {
        let (tell, ended) = oneshot::channel();
        let worker = Worker::new(Arc::clone(&self.engine), self.index);
        let task = tokio::spawn(async move {
            // Dropping the worker returns its lanes, so it is dropped before its end is reported.
            let end = { worker }.run(OnPanic::Fail).await;
            // The receiver is gone when the actor was killed.
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

/// The cool-down before a worker that failed too often runs again.
///
/// # Drop behaviour
/// The worker no longer counts as down.
pub(crate) struct CoolDown {
    engine: Arc<Engine>,
    time: Duration,
    drained: watch::Receiver<bool>,
}

impl CoolDown {
    /// Counts a worker of `engine` as down for `time`, or until the engine is drained.
    pub(crate) fn new(engine: Arc<Engine>, time: Duration, drained: watch::Receiver<bool>) -> Self {
        engine.set_down(true);
        Self { engine, time, drained }
    }

    /// Waits until it is over. Returns whether there may be work: there is none in a drained
    /// engine.
    async fn over(mut self) -> bool {
        time::timeout(self.time, self.drained.wait_for(|drained| *drained)).await.is_err()
    }
}

impl Drop for CoolDown {
    fn drop(&mut self) {
        self.engine.set_down(false);
    }
}

/// The tasks of each worker index, the actor's and the worker's, to be joined.
#[derive(Clone, Default)]
pub(crate) struct WorkerTasks(Arc<Mutex<HashMap<usize, Vec<JoinHandle<()>>>>>);

impl WorkerTasks {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Vec<JoinHandle<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a task of the worker `index`.
    pub(crate) fn add(&self, index: usize, task: JoinHandle<()>) {
        self.lock().entry(index).or_default().push(task);
    }

    /// Takes the tasks of one worker out.
    pub(crate) fn take_of(&self, index: usize) -> Vec<JoinHandle<()>> {
        self.lock().remove(&index).unwrap_or_default()
    }

    /// Takes all tasks out.
    pub(crate) fn take(&self) -> Vec<JoinHandle<()>> {
        self.lock().drain().flat_map(|(_, tasks)| tasks).collect()
    }
}

/// Joins `tasks` until `grace` has passed, and returns how many are left.
pub(crate) async fn join(tasks: Vec<JoinHandle<()>>, grace: Duration) -> usize {
    let deadline = Instant::now() + grace;
    let mut left = 0;
    for task in tasks {
        left += usize::from(time::timeout_at(deadline, task).await.is_err());
    }
    left
}
