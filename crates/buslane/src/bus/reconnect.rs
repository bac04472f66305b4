//! Callbacks that run when the connection to the broker is restored.

use crate::state::{BusState, TaskGuard};
use buslane_core::{BoxFuture, CatchPanic, IntoVerdict, Verdict, excerpt};
use metrics::Counter;
use parking_lot::Mutex;
use std::{future::Future, sync::Arc};
use tokio::sync::Notify;
use tracing::error;

type Callback = Arc<dyn Fn() -> BoxFuture<'static, Verdict> + Send + Sync>;

/// The callbacks of one bus.
pub(super) struct ReconnectCallbacks {
    callbacks: Mutex<Vec<Callback>>,
    /// Holds one permit after any number of reconnects.
    restored: Notify,
    failures: Counter,
}

impl ReconnectCallbacks {
    pub(super) fn new(failures: Counter) -> Self {
        Self { callbacks: Mutex::default(), restored: Notify::new(), failures }
    }

    /// Calls `callback` after each later reconnect.
    pub(super) fn add<F, Fut>(&self, callback: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoVerdict> + Send + 'static,
    {
        let boxed = move || -> BoxFuture<'static, Verdict> {
            let running = callback();
            Box::pin(async move { running.await.into_verdict() })
        };
        self.callbacks.lock().push(Arc::new(boxed));
    }

    /// The connection is restored: all callbacks are due.
    pub(super) fn call(&self) {
        self.restored.notify_one();
    }

    /// Runs the callbacks after each reconnect, one after the other, until reading ends. A task of
    /// its own, so that a callback holds up no partition.
    pub(super) async fn run(self: Arc<Self>, state: Arc<BusState>) {
        let _guard = TaskGuard::new(&state);
        let calls = async {
            loop {
                self.restored.notified().await;
                let callbacks = self.callbacks.lock().clone();
                for callback in callbacks {
                    self.report(CatchPanic::new(async { callback().await }).await);
                }
            }
        };
        state.reading.run_until_cancelled(calls).await;
    }

    fn report(&self, ended: Result<Verdict, String>) {
        match ended {
            Ok(Verdict::Done) => return,
            Ok(Verdict::Failed(error) | Verdict::Retry(error) | Verdict::Reject(error)) => {
                error!(error = %excerpt::error(&error), "reconnect callback failed");
            }
            Err(panic) => {
                error!(panic = %excerpt::error(&panic), "reconnect callback panicked");
            }
        }
        self.failures.increment(1);
    }
}
