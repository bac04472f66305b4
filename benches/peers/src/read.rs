//! A topic handled by handlers that do nothing, parse or wait.

use crate::settings::{self, Tuned};
use buslane_benches::broker::{Probe, cost_line};
use ruststream_rdkafka::prelude::*;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Interval of the checks whether everything is handled.
const LOOK: Duration = Duration::from_millis(1);

/// Input and work of the handler.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Reader {
    /// Takes the bytes, and does nothing.
    Bytes,
    /// Takes the parsed envelope, and does nothing.
    Json,
    /// Takes the bytes, and waits.
    Waiting,
}

/// State of the handler, which is a plain function here.
static RUN: OnceLock<Run> = OnceLock::new();

#[derive(Debug)]
pub(crate) struct Run {
    topic: String,
    messages: u64,
    lanes: usize,
    wait: Duration,
    probe: Probe,
    handled: AtomicU64,
}

fn this_run() -> &'static Run {
    RUN.get().expect("a run has begun")
}

impl Run {
    pub(crate) fn new(topic: String, messages: u64, lanes: usize, wait: Duration) -> &'static Self {
        let run = Self { topic, messages, lanes, wait, probe: Probe::default(), handled: AtomicU64::new(0) };
        RUN.set(run).expect("one run a process");
        this_run()
    }

    pub(crate) async fn measure(&'static self, reader: Reader) -> serde_json::Value {
        let app =
            RustStream::new(AppInfo::new("peer", "0.1.0")).with_broker(settings::broker(), |broker| match reader {
                Reader::Bytes => drop(broker.include(bytes)),
                Reader::Json => drop(broker.include(json)),
                Reader::Waiting => drop(broker.include(waiting)),
            });
        let app = app.start().await.expect("RustStream starts");
        while self.handled.load(Relaxed) < self.messages {
            tokio::time::sleep(LOOK).await;
        }
        let cost = self.probe.cost(self.messages);
        app.shutdown().await.expect("RustStream shuts down");
        cost_line(cost, self.probe.clock().mean())
    }

    fn settled(&self) -> HandlerOutcome {
        self.handled.fetch_add(1, Relaxed);
        HandlerOutcome::ack()
    }
}

#[derive(Deserialized)]
struct Body<'a>(&'a [u8]);

/// All fields of an envelope. The payload stays text, as it does on the bus.
#[derive(Deserialize)]
#[allow(dead_code, reason = "what is measured is that they are read")]
struct Envelope {
    event_id: String,
    aggregate_id: String,
    event_type: String,
    #[serde(default)]
    event_version: i64,
    timestamp: String,
    #[serde(default)]
    trace_id: String,
    #[serde(default)]
    correlation_id: String,
    #[serde(default)]
    tenant_id: i64,
    payload: Box<RawValue>,
}

#[subscriber(KafkaTopic::tuned(&this_run().topic), workers(this_run().lanes, by_key))]
async fn bytes(body: &Body<'_>) -> HandlerOutcome {
    this_run().probe.enter();
    std::hint::black_box(body.0);
    this_run().settled()
}

#[subscriber(KafkaTopic::tuned(&this_run().topic), workers(this_run().lanes, by_key))]
async fn json(envelope: &Envelope) -> HandlerOutcome {
    this_run().probe.enter();
    std::hint::black_box(envelope);
    this_run().settled()
}

#[subscriber(KafkaTopic::tuned(&this_run().topic), workers(this_run().lanes, by_key))]
async fn waiting(body: &Body<'_>) -> HandlerOutcome {
    this_run().probe.enter();
    std::hint::black_box(body.0);
    let start = Instant::now();
    tokio::time::sleep(this_run().wait).await;
    this_run().probe.clock().record(start);
    this_run().settled()
}
