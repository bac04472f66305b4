//! Nothing is left of buses that have ended. Counts all threads and all memory of a process.

use super::is_alone;
use buslane::{Config, Envelope, Event, EventBus};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

const MESSAGES: usize = 2_000;

/// One bus from its start to its end, on a runtime of its own. Every other one ends by a drop.
fn one_life(round: usize) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut config = Config::default();
        config.memory.actor_pool.enabled = round % 4 < 2;
        let bus = EventBus::connect(config).await.expect("a bus starts");
        let handled = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&handled);
        let handler = move |_: Event| {
            counted.fetch_add(1, SeqCst);
            std::future::ready(())
        };
        bus.subscribe_envelopes("orders", handler).await.expect("subscribes");
        let payload = "x".repeat(1_000);
        let envelope =
            |n: usize| Envelope::new(format!("a{}", n % 100), "Filled", &payload).expect("JSON");
        let envelopes: Vec<_> = (0..MESSAGES).map(envelope).collect();
        bus.publish_envelopes("orders", &envelopes).await.expect("published");
        until("all are handled", || handled.load(SeqCst) == MESSAGES);
        if round.is_multiple_of(2) {
            let report = bus.shutdown(Duration::from_secs(10)).await.expect("it reports");
            assert_eq!((report.abandoned, report.stragglers), (0, 0), "{report:?}");
        }
        drop(bus);
        let metrics = tokio::runtime::Handle::current().metrics();
        until("its tasks have ended", || metrics.num_alive_tasks() == 0);
    });
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + buslane_testkit::deadline::LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// Resident memory in bytes; 0 where the system does not tell.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default()
        * 1_024
}

#[test]
fn t3_no_task_no_thread_and_no_memory_is_left() {
    if !is_alone("leaks::t3_no_task_no_thread_and_no_memory_is_left") {
        return;
    }
    let before = threads();
    for round in 0..8 {
        one_life(round);
        until("its threads have ended", || threads() <= before);
    }
    let warm = resident();
    for round in 0..32 {
        one_life(round);
    }
    until("all threads have ended", || threads() <= before);
    // 32 buses have held more than 64 MB of messages between them; what may remain is the
    // allocator's.
    let grown = resident().saturating_sub(warm);
    assert!(grown < 32 << 20, "{grown} bytes more than after the first eight");
}
