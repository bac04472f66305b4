//! One message now and then: from the call that publishes it to the handler that gets it.

use crate::settings::{self, Tuned};
use buslane_benches::broker::{Arrivals, IDLE_EVERY};
use ruststream::{Broker, HeaderMap, OutgoingMessage, Publisher};
use ruststream_rdkafka::{KafkaPublish, PARTITION_KEY_HEADER, prelude::*};
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};
use tokio::{
    runtime::Runtime,
    time::{MissedTickBehavior, interval},
};

const LANES: usize = 256;

/// State of the handler, which is a plain function here.
static LOG: OnceLock<(String, Arc<Arrivals>)> = OnceLock::new();

fn log() -> &'static (String, Arc<Arrivals>) {
    LOG.get().expect("a run has begun")
}

#[derive(Deserialized)]
struct Body<'a>(&'a [u8]);

#[subscriber(KafkaTopic::tuned(&log().0), workers(LANES, by_key))]
async fn arrive(body: &Body<'_>) -> HandlerOutcome {
    log().1.arrive(body.0);
    HandlerOutcome::ack()
}

pub(crate) fn measure(runtime: &Runtime, topic: String, messages: usize) -> Value {
    let arrivals = Arrivals::new(messages);
    LOG.set((topic.clone(), Arc::clone(&arrivals))).expect("one run a process");
    let app = RustStream::new(AppInfo::new("peer", "0.1.0")).with_broker(settings::broker(), |broker| {
        broker.include(arrive);
    });
    let app = runtime.block_on(app.start()).expect("RustStream starts");
    let connected = runtime.block_on(settings::broker().connect()).expect("a broker");
    let publisher = connected.publisher(KafkaPublish::default());
    let mut headers = HeaderMap::new();
    headers.insert(PARTITION_KEY_HEADER, "order-1");
    let log = Arc::clone(&arrivals);
    let publish = async move {
        let mut clock = interval(IDLE_EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in log.numbers() {
            clock.tick().await;
            let body = log.publish(number);
            let message = OutgoingMessage::new(&topic, &body).with_headers(headers.clone());
            publisher.publish(message, None).await.expect("an acknowledgement");
            log.wait_for(number).await;
        }
    };
    runtime.block_on(runtime.spawn(publish)).expect("all are published");
    runtime.block_on(app.shutdown()).expect("RustStream shuts down");
    let (p50, p99) = arrivals.percentiles();
    json!({ "p50_us": p50, "p99_us": p99 })
}
