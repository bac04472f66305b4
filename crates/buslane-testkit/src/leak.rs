//! No task may outlive what it was started for. SPEC: T3

use crate::deadline::until;
use tokio::runtime::Handle;

/// How many tasks live on the current runtime.
#[must_use]
pub fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Waits until no more than `before` tasks live.
///
/// # Panics
/// When more are left after the deadline of [`until`].
pub async fn no_more_tasks_than(before: usize) {
    until("the tasks have ended", || tasks() <= before).await;
}
