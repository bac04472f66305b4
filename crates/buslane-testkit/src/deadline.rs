//! Deadlines for every wait of a test: a wait without a deadline hangs instead of failing.

use std::{future::Future, time::Duration};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::yield_now,
    time::{Instant, timeout},
};

/// Bounds a hang. The limit is long enough for a machine with busy cores, and only a failing test
/// waits that long. Timeouts that a test configures but does not exercise have this length too.
pub const LIMIT: Duration = Duration::from_secs(180);

/// The time for which a member of a test may be starved before others take over its partitions. A
/// scenario in which a member crashes waits that long, so the time is as short as possible.
pub const SILENCE: Duration = Duration::from_secs(12);

/// The time that a partition waits for its open deliveries before it moves, in a test that settles
/// them.
pub const DRAIN: Duration = Duration::from_secs(30);

/// Waits for `future`.
///
/// # Panics
/// When `future` takes longer than `limit`. `what` names the future in the message.
pub async fn within<F: Future>(limit: Duration, what: &str, future: F) -> F::Output {
    match timeout(limit, future).await {
        Ok(output) => output,
        Err(_) => panic!("not within {limit:?}: {what}"),
    }
}

/// Lets other tasks run between two polls of a condition. On a multi-threaded runtime, the thread
/// sleeps for a millisecond, because the runtime's timers do not advance while handlers compute. On
/// a single-threaded one, the call only yields, because an idle runtime advances paused time.
pub async fn turn() {
    if Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread {
        std::thread::sleep(Duration::from_millis(1));
    }
    yield_now().await;
}

/// Waits for `condition`, without advancing paused time.
///
/// # Panics
/// When the condition does not hold within [`LIMIT`] of real time.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        turn().await;
    }
}

/// Awaits `future`, and returns its output and the time that it took on the runtime's clock.
pub async fn timed<F: Future>(future: F) -> (F::Output, Duration) {
    let start = Instant::now();
    let output = future.await;
    (output, start.elapsed())
}
