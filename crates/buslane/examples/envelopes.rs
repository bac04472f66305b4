//! Events of aggregates: in order for each order, at least once. Needs no broker.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use buslane::{Config, Envelope, Event, EventBus};
use serde::{Deserialize, Serialize};
use std::{error::Error, time::Duration};

#[derive(Serialize, Deserialize)]
struct Placed {
    total: u64,
}

/// An error makes the bus try again; the order's later events wait meanwhile.
async fn on_order(event: Event) -> Result<(), serde_json::Error> {
    let placed: Placed = event.payload.parse()?;
    println!("{} {}: {}", event.aggregate_id, event.event_type, placed.total);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus = EventBus::connect(Config::load()?).await?;
    bus.subscription("orders").dead_letter("orders.dead").envelopes(on_order).await?;

    // Two orders run beside each other; the two events of one order run one after the other.
    for total in [1990, 2490] {
        for order in ["order-42", "order-43"] {
            let placed = Envelope::new(order, "OrderPlaced", &Placed { total })?;
            let receipt = bus.publish_envelope("orders", placed).await?;
            println!("stored at {}/{} {}", receipt.topic, receipt.partition, receipt.offset);
        }
    }

    assert!(bus.drained(Duration::from_secs(10)).await?.is_complete());
    bus.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
