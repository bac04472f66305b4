//! Keys move from the keyed pool to the actor pool and back while messages flow. Needs no broker.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use buslane::{Config, Envelope, Event, EventBus};
use std::{error::Error, time::Duration};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus = EventBus::connect(Config::load()?).await?;
    // A handler cannot tell the pools apart.
    bus.subscribe_envelopes("orders", async |_: Event| {}).await?;
    let rollout = bus.rollout();

    for percent in [0, 10, 100, 0] {
        // Always the same keys: those of 10 % are among those of 50 %.
        rollout.set_percent(percent, "example")?;
        for number in 0..100 {
            let placed = Envelope::new(format!("order-{number}"), "OrderPlaced", &percent)?;
            bus.publish_envelope("orders", placed).await?;
        }
        rollout.settled().await;
        let mut on_actors = 0;
        for number in 0..100 {
            let pool = rollout.pool_of("orders", format!("order-{number}"))?;
            on_actors += usize::from(pool == "actor");
        }
        println!("{percent} %: {on_actors} of 100 orders on the actor pool");
    }

    assert!(bus.drained(Duration::from_secs(10)).await?.is_complete());
    bus.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
