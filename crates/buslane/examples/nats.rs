//! A consumer on NATS JetStream, with partitions held by lease: one lane for each order.
//!
//! The argument is the URL of a server, nats://127.0.0.1:4222 by default; docs/dev/brokers.md says
//! how to start one.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use buslane::{Config, Envelope, Event, EventBus, TopicSettings, TopicStrategy};
use std::{env, error::Error, time::Duration};

async fn on_order(event: Event) {
    println!("{} {} from {}", event.aggregate_id, event.event_type, event.message.topic());
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // `Config::from_env()` takes the URL from BUSLANE_URL instead.
    let url = env::args().nth(1).unwrap_or("nats://127.0.0.1:4222".to_owned());
    let mut config = Config::new(&url)?;
    // Processes of one group share the partitions.
    config.group = "example-billing".to_owned();
    let bus = EventBus::connect(config).await?;

    let topic = "example.orders";
    let settings = TopicSettings { partitions: Some(8), ..TopicSettings::default() };
    bus.configure_topic(topic, &settings, TopicStrategy::CreateOnly).await?;
    bus.subscribe_envelopes(topic, on_order).await?;
    for number in 0..10 {
        let placed = Envelope::new(format!("order-{number}"), "OrderPlaced", &number)?;
        bus.publish_envelope(topic, placed).await?;
    }

    // What is not handled by then stays with the broker, for the next process.
    assert!(bus.drained(Duration::from_secs(60)).await?.is_complete());
    bus.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
