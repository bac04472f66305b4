//! One pool on a real broker: how much it handles, how long a message takes, and what memory a
//! backlog takes.

use super::{BusSide, FilledTopic, Floor, Load, Reader};
use crate::Cost;
use buslane::{Config, EventBus, Message, Record};
use bytes::Bytes;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    runtime::Runtime,
    sync::Semaphore,
    time::{MissedTickBehavior, interval},
};

/// The open loop: a rate that both can do easily.
const EVERY: Duration = Duration::from_millis(5);
const BURST: u64 = 20;
const BURSTS: u64 = 2_000;
/// Bursts before those that are measured, for connections and memory to be there.
const WARM_UP: u64 = 100;
const KEYS: u64 = 1_000;
const PARTITIONS: u32 = 8;
/// Messages behind handlers that wait: fewer than a consumer on NATS may have open.
const BACKLOG: u64 = 80_000;
const HASTE: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(60);

impl BusSide {
    /// Handles a topic that holds `messages`, as fast as it can; then messages at a fixed rate,
    /// whose times from the call that publishes them to their handler it returns in nanoseconds;
    /// then a backlog behind handlers that wait.
    ///
    /// # Panics
    /// When the bus refuses, or messages do not come.
    #[must_use]
    pub fn compare(
        self,
        runtime: &Runtime,
        floor: &dyn Floor,
        topic: &str,
        messages: u64,
    ) -> (Cost, Vec<u64>) {
        let (cost, _) = self.read(runtime, floor, topic, Reader::Raw, Duration::ZERO, "", messages);
        let empty = FilledTopic::empty(
            runtime,
            floor,
            Load { messages: 0, keys: KEYS, partitions: PARTITIONS },
        );
        let times = runtime
            .block_on(runtime.spawn(open_loop(self.connect(floor), empty.name().to_owned())))
            .expect("the loop ends");
        let mut config = self.config(floor);
        let (keyed, actor) = floor.pools(&mut config);
        // Behind handlers that wait, a reader waits this long for each batch.
        (keyed.wait_timeout, actor.wait_timeout) = (HASTE, HASTE);
        runtime.block_on(backlog(config, topic, messages.min(BACKLOG)));
        (cost, times)
    }
}

async fn open_loop(bus: impl Future<Output = EventBus>, topic: String) -> Vec<u64> {
    let bus = bus.await;
    let (epoch, count) = (Instant::now(), BURST * (WARM_UP + BURSTS));
    let times: Arc<[AtomicU64]> = (0..count).map(|_| AtomicU64::new(0)).collect();
    let handled = Arc::new(AtomicUsize::new(0));
    let now = move || u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let (log, done) = (Arc::clone(&times), Arc::clone(&handled));
    let handler = move |message: Message| {
        let number =
            message.payload.first_chunk().map_or(u64::MAX, |number| u64::from_le_bytes(*number));
        if let Some(time) = usize::try_from(number).ok().and_then(|number| log.get(number)) {
            time.store(now() - time.load(Relaxed), Relaxed);
            done.fetch_add(1, Relaxed);
        }
        async {}
    };
    bus.subscribe(&topic, handler).await.expect("a bus subscribes");
    let mut clock = interval(EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut receipts = Vec::new();
    for burst in 0..WARM_UP + BURSTS {
        clock.tick().await;
        let batch = (burst * BURST..(burst + 1) * BURST)
            .map(|number| record(number, &times, now()))
            .collect();
        let (bus, topic) = (bus.clone(), topic.clone());
        receipts.push(tokio::spawn(async move {
            bus.publish_batch(&topic, batch).await.expect("an open bus")
        }));
    }
    for batch in receipts {
        batch
            .await
            .expect("a batch ends")
            .into_iter()
            .for_each(|receipt| drop(receipt.expect("a receipt")));
    }
    wait_until("the open loop", || handled.load(Relaxed) == times.len()).await;
    bus.shutdown(PATIENCE).await.expect("a bus shuts down");
    let warm_up = usize::try_from(BURST * WARM_UP).unwrap_or(0);
    times[warm_up..].iter().map(|time| time.load(Relaxed)).collect()
}

fn record(number: u64, times: &[AtomicU64], now: u64) -> Record {
    let mut body = vec![7; 247];
    body[..8].copy_from_slice(&number.to_le_bytes());
    times[usize::try_from(number).unwrap_or(0)].store(now, Relaxed);
    Record::new(Bytes::from(body)).with_key(format!("order-{}", number % KEYS))
}

/// Lets messages pile up behind handlers that wait, then releases them.
async fn backlog(config: Config, topic: &str, messages: u64) {
    let bus = EventBus::connect(config).await.expect("a bus connects");
    let gate = Arc::new(Semaphore::new(0));
    let closed = Arc::clone(&gate);
    let handler = move |_: Message| {
        let gate = Arc::clone(&closed);
        async move { drop(gate.acquire().await) }
    };
    bus.subscribe(topic, handler).await.expect("a bus subscribes");
    wait_until("the backlog", || bus.pool_stats().accepted >= messages).await;
    gate.close();
    bus.shutdown(PATIENCE).await.expect("a bus shuts down");
}

async fn wait_until(what: &str, is_over: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_over() {
        assert!(begun.elapsed() < PATIENCE, "{what} does not get its messages");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
