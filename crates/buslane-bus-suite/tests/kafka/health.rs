//! Health names faults of Kafka until they are repaired: on the mock cluster of librdkafka, and on
//! real brokers that are stopped and killed. SPEC: O3

mod played;
mod real;

use buslane::{Config, Event, EventBus};
use buslane_core::Topic;
use buslane_kafka::{KafkaBroker, KafkaConfig};
use buslane_testkit::signal::Count;
use std::{
    future::{Ready, ready},
    sync::Arc,
    time::Duration,
};

const PATIENCE: Duration = buslane_testkit::deadline::LIMIT;
const SOON: Duration = Duration::from_millis(200);

/// A configuration that checks health often.
fn watchful() -> Config {
    let mut config = Config::default();
    config.health.check_interval = Duration::from_millis(100);
    config
}

async fn bus_of(config: Config, kafka: KafkaConfig) -> EventBus {
    let broker = KafkaBroker::connect(kafka).await.expect("a broker that answers");
    EventBus::with_broker(config, Arc::new(broker)).await.expect("a bus starts")
}

fn counts(count: &Arc<Count>) -> impl Fn(Event) -> Ready<()> + Send + Sync + 'static + use<> {
    let count = Arc::clone(count);
    move |_| {
        count.add();
        ready(())
    }
}

async fn publish(bus: &EventBus, topic: &Topic, keys: std::ops::Range<usize>) {
    for key in keys {
        let envelope = buslane::Envelope::new(format!("k{key}"), "Counted", &key).expect("valid");
        bus.publish_envelope(topic, envelope).await.expect("stored");
    }
}
