//! A bus in one process: subscribe, publish, wait, shut down. Needs no broker.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use buslane::{Config, EventBus, Message};
use std::{error::Error, time::Duration};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Reads BUSLANE_URL and the file of BUSLANE_CONFIG; without them it is memory://.
    let bus = EventBus::connect(Config::load()?).await?;

    // A failure of a regular message is final: it is logged, counted and never retried.
    bus.subscribe("cache.invalidate", async |message: Message| {
        println!("drop {}", String::from_utf8_lossy(&message.payload));
    })
    .await?;

    for sku in ["sku-7", "sku-8", "sku-9"] {
        bus.publish("cache.invalidate", sku).await?;
    }

    // A shutdown leaves what has not started with the broker, and memory:// ends with its process.
    let drained = bus.drained(Duration::from_secs(10)).await?;
    assert!(drained.is_complete(), "left: {:?}", drained.left);
    bus.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
