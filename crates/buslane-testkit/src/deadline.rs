//! Deadlines for whatever a test waits for. A test that waits without one hangs instead of failing.

use std::{future::Future, time::Duration};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::yield_now,
    time::{Instant, timeout},
};

/// Bounds a hang, and nothing else: long enough for a machine whose cores all do something else.
/// Only a failing test waits as long. Timeouts of configurations that a test does not try are as
/// long too.
pub const LIMIT: Duration = Duration::from_secs(180);

/// How long a member of a test may be starved before others take over what it has. A scenario in
/// which one dies without a word waits as long, so it is no longer than it must be.
pub const SILENCE: Duration = Duration::from_secs(12);

/// What open deliveries of a partition are given before it moves, in a test that settles them.
pub const DRAIN: Duration = Duration::from_secs(30);

/// Waits for `future`.
///
/// # Panics
/// When it takes longer than `limit`; `what` says what was waited for.
pub async fn within<F: Future>(limit: Duration, what: &str, future: F) -> F::Output {
    match timeout(limit, future).await {
        Ok(output) => output,
        Err(_) => panic!("not within {limit:?}: {what}"),
    }
}

/// Lets others go on, between two looks at something: where time is real, for a millisecond,
/// without the runtime's timers, which stand still while handlers compute; where it may be paused,
/// for a turn alone, because a runtime that has nothing to do moves paused time on.
pub async fn turn() {
    if Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread {
        std::thread::sleep(Duration::from_millis(1));
    }
    yield_now().await;
}

/// Waits for `condition`; paused time stands still.
///
/// # Panics
/// When it does not come about within [`LIMIT`] of real time.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        turn().await;
    }
}

/// How much time of the runtime's clock `future` takes, with what it gives.
pub async fn timed<F: Future>(future: F) -> (F::Output, Duration) {
    let start = Instant::now();
    let output = future.await;
    (output, start.elapsed())
}
