//! Where the messages come from: published at a steady rate by the bus, or all before it begins.

use super::{Steady, books};
use crate::{SplitMix64, broker::Floor};
use buslane::{Envelope, EventBus, Record};
use bytes::BytesMut;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::{
    runtime::Runtime,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

const SEED: u64 = 1;
/// Time between two batches of a publisher.
const TICK: Duration = Duration::from_millis(10);
/// Publishers, each with aggregates of its own: the next message of an aggregate is published after
/// the answer to the one before, on which its order rests.
const PUBLISHERS: u64 = 8;

/// A message of a run: its number and its aggregate.
type Numbered = (u64, u64);

/// All messages.
pub(super) fn messages(run: &Steady) -> impl Iterator<Item = Numbered> + Send + use<> {
    let (mut random, keys) = (SplitMix64(SEED), run.keys);
    (0..run.messages).map(move |number| (number, random.below(keys)))
}

fn record((number, key): Numbered, sent: SystemTime, arena: &mut BytesMut) -> Record {
    let payload = books::payload(number, sent.duration_since(UNIX_EPOCH).unwrap_or_default());
    let envelope = Envelope::new(format!("order-{key}"), "OrderPlaced", &payload).expect("JSON");
    Record::from_envelope(&envelope, arena).expect("a valid envelope")
}

/// Publishes everything with the bare client.
pub(super) fn fill(run: &Steady, runtime: &Runtime, floor: &dyn Floor, topic: &str) {
    let mut arena = BytesMut::new();
    let mut records =
        messages(run).map(move |message| record(message, SystemTime::now(), &mut arena));
    floor.fill(runtime, topic, &mut records);
}

/// Publishes everything on the bus, at the rate. Messages say when they were due: one that is
/// published late is late.
pub(super) async fn publish(run: Steady, bus: EventBus, topic: String) {
    let begun = (Instant::now(), SystemTime::now());
    let one = |publisher| {
        let own = messages(&run).filter(move |(_, key)| key % PUBLISHERS == publisher);
        publish_some(own, run.rate, begun, bus.clone(), topic.clone())
    };
    (0..PUBLISHERS).map(one).collect::<JoinSet<()>>().join_all().await;
}

async fn publish_some(
    own: impl Iterator<Item = Numbered> + Send,
    rate: u64,
    begun: (Instant, SystemTime),
    bus: EventBus,
    topic: String,
) {
    let due = |number: u64| Duration::from_secs_f64(number as f64 / rate as f64);
    let (mut own, mut arena, mut ticks) = (own.peekable(), BytesMut::new(), interval(TICK));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while own.peek().is_some() {
        ticks.tick().await;
        let now = begun.0.elapsed();
        let mut batch = Vec::new();
        while let Some(message) = own.next_if(|(number, _)| due(*number) <= now) {
            batch.push(record(message, begun.1 + due(message.0), &mut arena));
        }
        let answers = bus.publish_batch(&topic, batch).await.expect("an open bus");
        answers.into_iter().for_each(|answer| drop(answer.expect("a receipt")));
    }
}
