//! One message now and then: how long it takes from the call that publishes it to the handler that
//! gets it.
//!
//! The bus and the bare client take turns, message by message, so that both meet the same moments
//! of the machine.

use super::{Arrivals, BusSide, Floor};
use buslane::{EventBus, Message, Record};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tokio::{
    runtime::Runtime,
    time::{MissedTickBehavior, interval},
};

/// Time between two messages of one side.
pub const IDLE_EVERY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(30);

/// Median and 99th percentile of the bus, then of the bare client, in microseconds; one topic each.
///
/// # Panics
/// When a message does not come.
#[must_use]
pub fn idle(
    runtime: &Runtime,
    side: BusSide,
    floor: &dyn Floor,
    topics: [&str; 2],
    messages: usize,
) -> ((f64, f64), (f64, f64)) {
    let (ours, theirs) = (Arrivals::new(messages), Arrivals::new(messages));
    let bus = runtime.block_on(side.connect(floor));
    runtime.block_on(subscribe(&bus, topics[0], &ours));
    let echo = floor.echo(runtime, topics[1], &theirs);
    let turns = {
        let (bus, topic) = (bus.clone(), topics[0].to_owned());
        let (ours, theirs, publish) = (Arc::clone(&ours), Arc::clone(&theirs), echo.publish);
        async move {
            let mut clock = interval(IDLE_EVERY / 2);
            clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for number in ours.numbers() {
                clock.tick().await;
                let body = Bytes::from(ours.publish(number));
                bus.publish(&topic, Record::new(body).with_key("order-1"))
                    .await
                    .expect("a receipt");
                ours.wait_for(number).await;
                clock.tick().await;
                publish(theirs.publish(number)).await;
                theirs.wait_for(number).await;
            }
        }
    };
    runtime.block_on(runtime.spawn(turns)).expect("all are published");
    (echo.end)();
    runtime.block_on(bus.shutdown(PATIENCE)).expect("a bus shuts down");
    (ours.percentiles(), theirs.percentiles())
}

async fn subscribe(bus: &EventBus, topic: &str, log: &Arc<Arrivals>) {
    let log = Arc::clone(log);
    let handler = move |message: Message| {
        log.arrive(&message.payload);
        async {}
    };
    bus.subscribe(topic, handler).await.expect("a bus subscribes");
}
