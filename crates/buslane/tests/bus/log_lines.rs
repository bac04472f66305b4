//! Log lines as tracing-subscriber writes them: their length, and that no text from outside begins
//! one. SPEC: D7, O5
#![allow(clippy::unwrap_used, reason = "a test")]

use buslane::{Config, Envelope, Event, EventBus, Record};
use buslane_testkit::deadline::until;
use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tracing_subscriber::fmt::MakeWriter;

/// Everything that was written.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A bus whose handler fails each envelope with `error`, and how many attempts there were.
/// Everything runs on this thread, so that the subscriber of this thread hears of it.
async fn failing(config: Config, error: &'static str) -> (EventBus, Arc<AtomicUsize>) {
    let bus = EventBus::connect(config).await.unwrap();
    let attempts = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&attempts);
    let handler = move |_: Event| {
        count.fetch_add(1, SeqCst);
        std::future::ready(Err::<(), _>(error))
    };
    bus.subscription("orders").block_failed().envelopes(handler).await.unwrap();
    (bus, attempts)
}

#[tokio::test]
async fn o5_a_line_does_not_grow_with_attempts() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(
        tracing_subscriber::fmt().with_writer(log.clone()).finish(),
    );
    let mut config = Config::default();
    config.retry.attempts = 1;
    (config.retry.initial, config.retry.max) = (Duration::from_millis(1), Duration::from_millis(1));
    let (bus, attempts) = failing(config, "no").await;
    bus.publish_envelope("orders", Envelope::new("order-42", "Counted", &1).unwrap())
        .await
        .unwrap();
    until("a thousand attempts", || attempts.load(SeqCst) >= 1_000).await;
    bus.close().await.unwrap();
    let lines: Vec<_> =
        log.lines().into_iter().filter(|line| line.contains("key blocked")).collect();
    assert!(lines.len() >= 999, "{}", lines.len());
    let (first, last) = (&lines[0], &lines[lines.len() - 1]);
    assert!(
        first.contains("process{") && first.contains("order-42"),
        "the line is in the span of its delivery: {first}"
    );
    assert!(
        last.len() <= first.len() + 10,
        "{} characters, then {}: {last}",
        first.len(),
        last.len()
    );
}

#[tokio::test]
async fn d7_no_text_from_outside_begins_a_line() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(
        tracing_subscriber::fmt().with_writer(log.clone()).finish(),
    );
    let mut config = Config::default();
    config.retry.attempts = 1;
    let (bus, _) = failing(config, "unknown variant `x`\nFORGED by a handler").await;
    bus.publish_envelope("orders", Envelope::new("a", "Counted", &1).unwrap()).await.unwrap();
    bus.publish(
        "orders",
        Record::new("torn").with_key(format!("k\nFORGED by a key{}", "k".repeat(900_000))),
    )
    .await
    .unwrap();
    let field = format!("{}\\nFORGED by a field", "9".repeat(500_000));
    let body = format!(
        r#"{{"event_id":"1","aggregate_id":"b","event_type":"x","event_version":1,"timestamp":"{field}","payload":1}}"#
    );
    bus.publish("orders", Record::new(body)).await.unwrap();
    until("all are blocked", || bus.status().blocked_keys == 3).await;
    bus.close().await.unwrap();
    let lines = log.lines();
    assert!(
        lines.iter().filter(|line| line.contains("FORGED")).count() >= 2,
        "their beginnings are there"
    );
    assert!(!lines.iter().any(|line| line.starts_with("FORGED")), "{lines:#?}");
    let longest = lines.iter().map(String::len).max().unwrap();
    assert!(longest < 4_000, "{longest}");
}
