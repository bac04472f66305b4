//! Checks that no task is left behind. SPEC: T3

use crate::deadline::until;
use tokio::runtime::Handle;

/// The number of tasks on the current runtime.
#[must_use]
pub fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Waits until the runtime has at most `before` tasks.
///
/// # Panics
/// When more tasks are left after the deadline of [`until`].
pub async fn no_more_tasks_than(before: usize) {
    until("the tasks have ended", || tasks() <= before).await;
}
