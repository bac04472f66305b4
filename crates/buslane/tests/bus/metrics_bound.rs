//! How often a bus asks the recorder for a handle. On a runtime of one thread everything happens on
//! the thread whose recorder counts. SPEC: O2
#![allow(clippy::unwrap_used, reason = "a test")]

use buslane::{Config, Envelope, Event, EventBus, Message, Record};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};
use tokio::runtime::Builder;

/// Counts the handles that it was asked for, and keeps nothing.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Recorder for Counting {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        self.0.fetch_add(1, Relaxed);
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        self.0.fetch_add(1, Relaxed);
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        self.0.fetch_add(1, Relaxed);
        Histogram::noop()
    }
}

#[test]
fn o2_no_handle_is_looked_up_while_messages_flow() {
    for actors in [false, true] {
        let recorder = Counting::default();
        let _recorded = metrics::set_default_local_recorder(&recorder);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut config = Config::default();
            config.memory.actor_pool.enabled = actors;
            config.retry.initial = Duration::from_millis(1);
            config.retry.max = Duration::from_millis(1);
            let bus = EventBus::connect(config).await.unwrap();
            // Good messages, failures, panics, retries, dead letters and skips.
            let fails = async |event: Event| match event.message.offset % 4 {
                0 => Err("no"),
                1 => std::panic::resume_unwind(Box::new("boom")),
                _ => Ok(()),
            };
            let raw = async |message: Message| match message.offset % 4 {
                0 => Err("no"),
                _ => Ok(()),
            };
            bus.subscribe("raw", raw).await.unwrap();
            bus.subscription("orders").dead_letter("dead").envelopes(fails).await.unwrap();
            bus.subscription("hints").skip_failed().envelopes(fails).await.unwrap();
            let mut bound = 0;
            // The handles of partitions are bound as they come.
            for round in 1..=2 {
                let before = bound;
                publish_and_settle(&bus, round * 600).await;
                bound = recorder.0.load(Relaxed);
                assert!(bound > 20, "{bound} handles");
                assert!(round == 1 || bound == before, "{bound} handles after {before}");
            }
            bus.shutdown(Duration::from_secs(5)).await.unwrap();
        });
    }
}

/// 200 messages to each topic.
async fn publish_and_settle(bus: &EventBus, ended: u64) {
    let envelopes: Vec<_> =
        (0..200).map(|n| Envelope::new(format!("a{n}"), "Placed", &n).unwrap()).collect();
    let records: Vec<_> = (0..200).map(|n| Record::new(n.to_string())).collect();
    for receipts in [
        bus.publish_batch("raw", records).await.unwrap(),
        bus.publish_envelopes("orders", &envelopes).await.unwrap(),
        bus.publish_envelopes("hints", &envelopes).await.unwrap(),
    ] {
        receipts.into_iter().for_each(|receipt| drop(receipt.unwrap()));
    }
    let all_ended = async {
        while bus.pool_stats().ok + bus.pool_stats().failed + bus.pool_stats().panicked < ended {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(buslane_testkit::deadline::LIMIT, all_ended).await.unwrap();
}
