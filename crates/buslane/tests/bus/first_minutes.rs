//! The README's example as it stands there, many times over. SPEC: B9
#![allow(clippy::print_stdout, reason = "the example prints")]

use buslane::{
    Config, Envelope, Event, EventBus, Message, ShutdownReport, TopicSettings, TopicStrategy,
};
use std::{error::Error, time::Duration};

const RUNS: usize = 100;

async fn on_order(event: Event) -> Result<(), serde_json::Error> {
    let order: serde_json::Value = event.payload.parse()?;
    println!("{} {}: {order}", event.aggregate_id, event.event_type);
    Ok(())
}

/// What was handled.
async fn twenty_lines() -> Result<u64, Box<dyn Error>> {
    let bus = EventBus::connect(Config::load()?).await?; // memory:// unless configured otherwise

    // At least once, in order per aggregate; what fails for good goes to a topic of its own.
    bus.subscription("orders").dead_letter("orders.dlq").envelopes(on_order).await?;
    // A failure is final.
    bus.subscribe("cache.invalidate", async |message: Message| {
        println!("drop {:?}", message.payload)
    })
    .await?;

    let placed = serde_json::json!({ "total": 1990 });
    let receipt =
        bus.publish_envelope("orders", Envelope::new("order-42", "OrderPlaced", &placed)?).await?;
    println!("stored at {}/{} {}", receipt.topic, receipt.partition, receipt.offset);
    bus.publish("cache.invalidate", "sku-7").await?;

    // Waits until everything published so far is handled; a shutdown does not, it leaves the rest
    // with the broker.
    let drained = bus.drained(Duration::from_secs(10)).await?;
    assert!(drained.is_complete(), "left: {:?}", drained.left);
    let report = bus.shutdown(Duration::from_secs(10)).await?;
    assert_eq!((report.abandoned, report.unhandled), (0, 0));
    Ok(bus.pool_stats().ok)
}

/// So that what is run is what is read: each line of the README's example stands in this file.
#[test]
fn b9_the_example_of_the_readme_is_the_one_that_is_run() {
    let here = include_str!("first_minutes.rs");
    for (page, text) in [
        ("README.md", include_str!("../../../../README.md")),
        ("the crate's", include_str!("../../README.md")),
    ] {
        let example = text
            .split("```")
            .find_map(|part| part.strip_prefix("rust\n"))
            .expect("a README has an example");
        let lines: Vec<_> =
            example.lines().map(str::trim).filter(|line| !line.starts_with("# ")).collect();
        assert!(lines.len() > 20, "{page}");
        for line in lines.into_iter().filter(|line| !line.starts_with("use ")) {
            assert!(here.contains(line), "{page}: {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b9_the_example_of_the_readme_handles_its_messages_every_time() {
    let mut handled = Vec::new();
    for _ in 0..RUNS {
        handled.push(twenty_lines().await.expect("the example runs"));
    }
    assert_eq!(handled, vec![2; RUNS], "two messages in each run");
}

/// Without waiting, a shutdown leaves what was not read: it says so, whatever it finds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b9_a_shutdown_counts_what_the_memory_broker_loses() {
    let (mut handled, mut lost) = (0, 0);
    for _ in 0..RUNS {
        let (bus, report) = publish_and_shut_down(100).await.expect("a bus of its own");
        let ok = bus.pool_stats().ok;
        assert_eq!(
            ok + report.unhandled,
            100,
            "each message was handled or is counted: {report:?}"
        );
        handled += usize::from(ok == 100);
        lost += report.unhandled;
    }
    println!(
        "of {RUNS} runs without drained, {handled} handled all of their messages; {lost} messages were counted as lost"
    );
}

async fn publish_and_shut_down(
    messages: usize,
) -> Result<(EventBus, ShutdownReport), Box<dyn Error>> {
    let bus = EventBus::connect(Config::default()).await?;
    bus.subscribe_envelopes("orders", on_order).await?;
    let envelopes = (0..messages).map(|n| Envelope::new(format!("order-{n}"), "OrderPlaced", &n));
    bus.publish_envelopes("orders", &envelopes.collect::<Result<Vec<_>, _>>()?).await?;
    let report = bus.shutdown(Duration::from_secs(10)).await?;
    Ok((bus, report))
}

/// A program that works on a strict memory broker does not meet its first missing topic, or its
/// first large message, on Kafka.
#[tokio::test]
async fn m1_a_strict_memory_broker_finds_what_kafka_would() {
    let text = "topics: [orders]\nmemory: { create_missing: false, max_message_bytes: 300 }";
    let bus = EventBus::connect(Config::parse_yaml(text).expect("good settings"))
        .await
        .expect("a bus starts");
    bus.subscribe_envelopes("orders", on_order).await.expect("it was announced");
    let missing = bus
        .subscribe_envelopes("payments", on_order)
        .await
        .expect_err("nothing creates it")
        .to_string();
    assert_eq!(missing, "topic payments does not exist");
    let missing = bus.publish("payments", "x").await.expect_err("nothing creates it").to_string();
    assert_eq!(missing, "payments refused the record: topic payments does not exist");
    let large = bus.publish("orders", "x".repeat(301)).await.expect_err("too large").to_string();
    assert_eq!(
        large,
        "orders refused the record: its size of 301 bytes exceeds memory.max_message_bytes, 300"
    );
    bus.configure_topic("payments", &TopicSettings::default(), TopicStrategy::CreateOnly)
        .await
        .expect("created");
    bus.subscribe_envelopes("payments", on_order).await.expect("now it is there");
    bus.shutdown(Duration::from_secs(10)).await.expect("it reports");
}
