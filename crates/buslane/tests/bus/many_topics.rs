//! What a bus costs that has many topics: figures to read, without a limit on the time. Run it by
//! its name.
#![allow(clippy::print_stdout, reason = "figures to read")]

use buslane::{Config, EventBus, Message};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// Resident memory in bytes; 0 where the system does not tell.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default()
        * 1_024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; takes a while"]
async fn m1_a_bus_of_many_topics() {
    for topics in [500, 1_000, 10_000] {
        let (before, start) = (resident(), Instant::now());
        let bus = EventBus::connect(Config::default()).await.expect("a bus starts");
        let handled = Arc::new(AtomicUsize::new(0));
        for n in 0..topics {
            let counted = Arc::clone(&handled);
            let handler = move |_: Message| {
                counted.fetch_add(1, SeqCst);
                std::future::ready(())
            };
            bus.subscribe(&format!("topic-{n}"), handler).await.expect("subscribes");
        }
        let subscribed = start.elapsed();
        for n in 0..topics {
            bus.publish(&format!("topic-{n}"), "x").await.expect("a receipt");
        }
        let drained = bus.drained(Duration::from_mins(5)).await.expect("the broker answers");
        assert!(drained.is_complete(), "{drained:?}");
        assert_eq!(handled.load(SeqCst), topics);
        let (all, memory) = (start.elapsed(), (resident().saturating_sub(before)) >> 10);
        println!(
            "{topics} topics: subscribed in {subscribed:?}, one message each in {all:?}, {} KiB a topic",
            memory / topics as u64
        );
        bus.shutdown(Duration::from_secs(30)).await.expect("it reports");
    }
}
