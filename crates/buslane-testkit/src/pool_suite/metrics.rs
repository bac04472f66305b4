//! The metrics of a pool equal its traffic. Not a part of `pool_suite!`, because the recorder must
//! be installed before the pool is created.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use buslane_core::{Job, Kind, Message, Pool, SubmitError, erase};

use super::kit::{job, submit_all};
use crate::deadline::{LIMIT, until, within};
use crate::ledger::Ledger;
use crate::signal::{Count, Gate};

/// The value of a series on a page in the text format of Prometheus; `None` when the page lacks the
/// series.
///
/// # Panics
/// When the value is not a number.
#[must_use]
pub fn value_of(page: &str, series: &str) -> Option<f64> {
    let line = page
        .lines()
        .find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    Some(line[series.len() + 1..].trim().parse().expect("a number"))
}

/// Runs traffic of every kind through a pool without a default handler, stops the pool, and
/// compares the rendered `page` with the traffic. `prefix` is `memory_eventbus_keyed_pool`, for
/// example; `restarts` is the number of restarts after three panics of regular messages.
///
/// # Panics
/// When the page differs from the traffic.
pub async fn page_equals_traffic(
    pool: &dyn Pool,
    prefix: &str,
    restarts: u32,
    page: impl Fn() -> String,
) {
    let (gate, entered) = (Arc::new(Gate::default()), Arc::new(Count::default()));
    let script = |kind| {
        erase(kind, async |message: Message| match message.offset % 10 {
            8 => Err("a failure"),
            9 => panic!("a panic"),
            _ => Ok(()),
        })
    };
    let waiting = {
        let (gate, entered) = (Arc::clone(&gate), Arc::clone(&entered));
        erase(Kind::Regular, move |_: Message| {
            let (gate, entered) = (Arc::clone(&gate), Arc::clone(&entered));
            async move {
                entered.add();
                gate.wait().await;
            }
        })
    };
    let handlers = [script(Kind::Regular), script(Kind::Envelope)];
    let value = |name: &str| value_of(&page(), &format!("{prefix}_{name}"));
    let ledger = Ledger::new();

    // 30 regular messages and 50 envelopes: 64 succeed, 8 fail, 3 and 5 panic.
    let jobs = (0..80)
        .map(|n| job(&ledger, n % 7, n).with_handler(Arc::clone(&handlers[usize::from(n >= 30)])));
    submit_all(pool, jobs).await;
    ledger.settled(80).await;
    until("the page has heard of it", || value("inbox_depth") == Some(0.0)).await;
    // A worker restarts after its message settles, and a stopping pool restarts no worker.
    until("they are back", || value("actor_restarted_total").unwrap_or(0.0) >= f64::from(restarts))
        .await;
    // Four open jobs give the gauges a value. The pool stops without them, so they are abandoned.
    submit_all(pool, (0..4).map(|n| job(&ledger, n, n).with_handler(Arc::clone(&waiting)))).await;
    within(LIMIT, "they have begun", entered.reached(1)).await;
    let capacity = pool.stats().capacity;
    #[allow(clippy::cast_precision_loss, reason = "capacities are small")]
    let utilization = 4.0 / capacity as f64;
    until("the gauges show it", || value("inbox_depth") == Some(4.0)).await;
    assert_eq!(value("inbox_utilization"), Some(utilization));
    // A job without a handler is refused.
    let mut orphan: VecDeque<Job> = VecDeque::from([job(&ledger, 1, 1)]);
    assert_eq!(pool.try_submit(&mut orphan), Err(SubmitError::NoHandler));
    let report = pool.stop(Duration::ZERO).await;
    assert_eq!(report.abandoned, 4);

    let expected = [
        ("messages_sent_total", 84.0),
        ("messages_processed_total{success=\"true\"}", 64.0),
        ("messages_processed_total{success=\"false\"}", 16.0),
        ("handler_panics_total{kind=\"regular\"}", 3.0),
        ("handler_panics_total{kind=\"envelope\"}", 5.0),
        ("actor_restarted_total", f64::from(restarts)),
        ("dead_letters_total", 5.0),
        ("inbox_depth", 0.0),
        ("inbox_utilization", 0.0),
    ];
    for (name, count) in expected {
        // The page may omit a counter that was never incremented.
        assert_eq!(value(name).unwrap_or(0.0), count, "{name} on\n{}", page());
    }
    // Latency is measured for the first message of a batch and for every message that waits.
    let measured = value("message_latency_seconds_count").expect("a histogram");
    assert!((1.0..=80.0).contains(&measured), "{measured}");
    assert!(value("message_latency_seconds_sum").is_some_and(|sum| sum > 0.0));
}
