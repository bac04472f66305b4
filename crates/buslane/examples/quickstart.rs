//! A bus in one process: subscribe, publish, wait, shut down. Needs no broker.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use buslane::{Config, Envelope, Event, EventBus, Message};
use std::{error::Error, time::Duration};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Reads BUSLANE_URL and the file of BUSLANE_CONFIG; without them it is memory://.
    let bus = EventBus::connect(Config::load()?).await?;

    // At least once, and in order for each order. A failure is retried.
    bus.subscribe_envelopes("orders", async |event: Event| {
        println!("{} {}", event.aggregate_id, event.event_type);
    })
    .await?;
    // Regular messages: a failure is final. It is logged, counted and never retried.
    bus.subscribe("cache.invalidate", async |message: Message| {
        println!("drop {}", String::from_utf8_lossy(&message.payload));
    })
    .await?;

    for step in ["OrderPlaced", "OrderPaid", "OrderShipped"] {
        bus.publish_envelope("orders", Envelope::new("order-42", step, &step)?).await?;
    }
    bus.publish("cache.invalidate", "sku-7").await?;

    // A shutdown leaves what has not started with the broker, and memory:// ends with its process.
    let drained = bus.drained(Duration::from_secs(10)).await?;
    assert!(drained.is_complete(), "left: {:?}", drained.left);
    bus.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
