//! One message now and then: how long it takes from the call that publishes it to the handler that gets it.
//!
//! The bus and the bare client take turns, message by message, so that both meet the same moments of the machine.

use super::{Bare, BusSide, server};
use buslane::{EventBus, Message, Record};
use bytes::Bytes;
use rdkafka::{
    Message as _,
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::{
    runtime::Runtime,
    time::{MissedTickBehavior, interval},
};

/// Time between two messages of one side.
const EVERY: Duration = Duration::from_millis(50);
/// Bytes of a body; the first eight are its number.
const BODY: usize = 247;
/// Messages before the measurement, for connections and memory to be there.
const WARM_UP: usize = 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// When each message was published, and when it came; in nanoseconds.
struct Log {
    epoch: Instant,
    times: Vec<(AtomicU64, AtomicU64)>,
}

impl Log {
    fn new(messages: usize) -> Arc<Self> {
        Arc::new(Self { epoch: Instant::now(), times: (0..messages).map(|_| Default::default()).collect() })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The body of a message that is published now.
    fn publish(&self, number: usize) -> Vec<u8> {
        let mut body = vec![7; BODY];
        body[..8].copy_from_slice(&(number as u64).to_le_bytes());
        self.times[number].0.store(self.now(), Relaxed);
        body
    }

    fn arrive(&self, body: &[u8]) {
        let number = body.first_chunk().map_or(u64::MAX, |number| u64::from_le_bytes(*number));
        let now = self.now();
        if let Some((_, arrived)) = usize::try_from(number).ok().and_then(|number| self.times.get(number)) {
            arrived.store(now, Relaxed);
        }
    }

    async fn wait_for(&self, number: usize) {
        let begun = Instant::now();
        while self.times[number].1.load(Relaxed) == 0 {
            assert!(begun.elapsed() < PATIENCE, "message {number} has not come");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The median and the 99th percentile in microseconds.
    fn percentiles(&self) -> (f64, f64) {
        let times = &self.times[WARM_UP..];
        let mut sorted: Vec<u64> = times.iter().map(|(begin, end)| end.load(Relaxed) - begin.load(Relaxed)).collect();
        sorted.sort_unstable();
        let at = |percent| Duration::from_nanos(sorted[sorted.len() * percent / 100]).as_secs_f64() * 1e6;
        (at(50), at(99))
    }
}

/// Median and 99th percentile of the bus, then of the bare client, in microseconds; one topic each.
///
/// # Panics
/// When a message does not come.
#[must_use]
pub fn idle(runtime: &Runtime, side: BusSide, topics: [&str; 2], messages: usize) -> ((f64, f64), (f64, f64)) {
    let messages = messages + WARM_UP;
    let (ours, theirs) = (Log::new(messages), Log::new(messages));
    let bus = runtime.block_on(connect(side, topics[0], &ours));
    let bare = Bare::new(&server());
    let producer: FutureProducer = bare.producer().create().expect("a client");
    let (over, log) = (Arc::new(AtomicBool::new(false)), Arc::clone(&theirs));
    let (consumer, until) = (bare.consumer(topics[1]), Arc::clone(&over));
    let polling = thread::spawn(move || {
        while !until.load(Relaxed) {
            if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                log.arrive(message.expect("a message").payload().unwrap_or_default());
            }
        }
    });
    let publish = {
        let (bus, ours, theirs) = (bus.clone(), Arc::clone(&ours), Arc::clone(&theirs));
        let topics = topics.map(str::to_owned);
        async move {
            let mut clock = interval(EVERY / 2);
            clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for number in 0..messages {
                clock.tick().await;
                let body = Bytes::from(ours.publish(number));
                bus.publish(&topics[0], Record::new(body).with_key("order-1")).await.expect("a receipt");
                ours.wait_for(number).await;
                clock.tick().await;
                let body = theirs.publish(number);
                let record = FutureRecord::to(&topics[1]).payload(&body).key("order-1");
                producer.send(record, Timeout::Never).await.expect("an acknowledgement");
                theirs.wait_for(number).await;
            }
        }
    };
    runtime.block_on(runtime.spawn(publish)).expect("all are published");
    over.store(true, Relaxed);
    polling.join().expect("the bare consumer ends");
    runtime.block_on(bus.shutdown(PATIENCE)).expect("a bus shuts down");
    (ours.percentiles(), theirs.percentiles())
}

async fn connect(side: BusSide, topic: &str, log: &Arc<Log>) -> EventBus {
    let bus = side.connect(&server()).await;
    let log = Arc::clone(log);
    let handler = move |message: Message| {
        log.arrive(&message.payload);
        async {}
    };
    bus.subscribe(topic, handler).await.expect("a bus subscribes");
    bus
}
