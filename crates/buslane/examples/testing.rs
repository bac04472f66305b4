//! A test of a handler, on a broker in memory that delivers a message twice. Needs no broker.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use buslane::{
    Config, Envelope, Event, EventBus, Topic,
    memory::{MemberOptions, MemoryBroker},
};
use std::{
    collections::HashSet,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = Config::default();
    let broker = MemoryBroker::default();
    let member = broker.member(MemberOptions::new(&*config.group));
    let bus = EventBus::with_broker(config, Arc::new(member)).await?;

    // Idempotent: an order that is shipped already is not shipped again.
    let shipped = Arc::new(Mutex::new(HashSet::new()));
    let orders = Arc::clone(&shipped);
    let ship = move |event: Event| {
        println!("ship {}", event.aggregate_id);
        orders.lock().unwrap_or_else(PoisonError::into_inner).insert(event.aggregate_id.clone());
        async {}
    };
    bus.subscribe_envelopes("orders", ship).await?;

    // As after a crash: the first delivery comes twice.
    broker.faults().duplicate(&Topic::new("orders")?, 1);
    for order in ["order-1", "order-2"] {
        bus.publish_envelope("orders", Envelope::new(order, "OrderPlaced", &())?).await?;
    }
    assert!(bus.drained(Duration::from_secs(10)).await?.is_complete());
    assert_eq!(shipped.lock().unwrap_or_else(PoisonError::into_inner).len(), 2);
    assert_eq!(broker.lag(&bus.config().group, "orders"), 0, "everything is settled");
    bus.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
