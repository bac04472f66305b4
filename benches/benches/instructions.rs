//! Instructions of 1,000 messages, counted by valgrind: exact on a noisy machine, blind to waiting,
//! locks and caches.
//!
//! `cargo xtask instructions` compares them with the counts in `instructions.json`.
#![allow(missing_docs, reason = "gungraun's macros make undocumented items")]

use buslane::EventBus;
use buslane_benches::{
    BATCH, Batches, Body, BusLoad, Jobs, Keys, MakePool, Small, actor_pool, keyed_pool, noop_bus,
};
use buslane_core::{Envelope, Job, Outcome, Pool, RawJson, Settle, Settlement};
use buslane_keyed::Mode;
use buslane_lanes::{Bounds, LaneKind, LaneRef, Lanes};
use bytes::{Bytes, BytesMut};
use gungraun::prelude::*;
use std::{
    collections::VecDeque,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::Notify,
};

const MESSAGES: u64 = 1_000;

/// Warmed-up lanes, and messages of this many keys.
fn lanes(keys: u64) -> (Lanes<Small>, Vec<Small>) {
    let messages = (0..MESSAGES).map(|number| Small { lane: number % keys, number }).collect();
    let mut lanes = Lanes::new(Bounds::default());
    admit_take_finish(&mut lanes, &messages);
    (lanes, messages)
}

fn admit_take_finish(lanes: &mut Lanes<Small>, messages: &Vec<Small>) {
    for small in messages {
        let _ = lanes.admit(small.lane, LaneKind::Keyed, 16, || *small);
    }
    let mut ended: Vec<(LaneRef, usize)> = Vec::with_capacity(messages.len());
    while lanes.take(16, |lane, small| {
        black_box(small);
        match ended.last_mut() {
            Some((last, count)) if *last == lane => *count += 1,
            _ => ended.push((lane, 1)),
        }
    }) {
        for (lane, count) in ended.drain(..) {
            lanes.finish(lane, count, 16 * count);
        }
    }
}

#[library_benchmark]
#[bench::one_key(lanes(1))]
#[bench::hundred_keys(lanes(100))]
#[bench::thousand_keys(lanes(1_000))]
fn admit_take_finish_1000(input: (Lanes<Small>, Vec<Small>)) -> Lanes<Small> {
    let (mut lanes, messages) = input;
    admit_take_finish(&mut lanes, black_box(&messages));
    lanes
}

/// A warmed-up pool on one thread, and jobs for it. Time is paused, because workers yield by the
/// clock.
struct PoolInput {
    runtime: Runtime,
    pool: Arc<dyn Pool>,
    done: Arc<Done>,
    batch: VecDeque<Job>,
}

/// Says when all jobs of a batch are done. Asking the pool in a loop would count the questions.
#[derive(Default)]
struct Done {
    count: AtomicU64,
    all: Notify,
}

impl Settle for Done {
    fn settle(&self, _: u64, _: Outcome) {
        if (self.count.fetch_add(1, Relaxed) + 1).is_multiple_of(MESSAGES) {
            self.all.notify_one();
        }
    }
}

fn pool(make: &MakePool, mode: Mode) -> PoolInput {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    let pool = {
        let _inside = runtime.enter();
        make(mode)
    };
    let (mut jobs, done) = (Jobs::new(Keys::InTurn(100), 1), Arc::new(Done::default()));
    let mut batch = || {
        let settled = |mut job: Job| {
            job.settlement = Settlement::new(Arc::clone(&done) as Arc<dyn Settle>, 0);
            job
        };
        (0..MESSAGES).map(|_| settled(jobs.job())).collect::<VecDeque<Job>>()
    };
    let (first, second) = (batch(), batch());
    let mut input = PoolInput { runtime, pool, done, batch: first };
    submit_and_run(&mut input);
    input.batch = second;
    input
}

fn submit_and_run(input: &mut PoolInput) {
    let PoolInput { runtime, pool, done, batch } = input;
    pool.try_submit(batch).expect("room for the batch");
    runtime.block_on(done.all.notified());
}

#[library_benchmark]
#[bench::keyed_exclusive(pool(&keyed_pool, Mode::Exclusive))]
#[bench::keyed_fixed(pool(&keyed_pool, Mode::Fixed(256)))]
#[bench::actor_exclusive(pool(&actor_pool, Mode::Exclusive))]
#[bench::actor_fixed(pool(&actor_pool, Mode::Fixed(256)))]
fn jobs_1000(mut input: PoolInput) -> PoolInput {
    submit_and_run(&mut input);
    input
}

/// A warmed-up bus on one thread, and the messages that it publishes.
fn bus(body: Body) -> (Runtime, EventBus, Batches) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    let bus = noop_bus(&runtime, false, body);
    let batches = Batches::new(BusLoad { messages: BATCH, keys: 100, body });
    for _ in 0..4 {
        publish_and_run(&runtime, &bus, &batches);
    }
    (runtime, bus, batches)
}

fn publish_and_run(runtime: &Runtime, bus: &EventBus, batches: &Batches) {
    runtime.block_on(async {
        let end = bus.pool_stats().ok + BATCH;
        batches.publish(bus, 0).await;
        while bus.pool_stats().ok < end {
            tokio::task::yield_now().await;
        }
    });
}

#[library_benchmark]
#[bench::raw(bus(Body::Raw))]
#[bench::envelopes(bus(Body::Envelope))]
fn publish_to_settled_256(input: (Runtime, EventBus, Batches)) -> (Runtime, EventBus, Batches) {
    let (runtime, bus, batches) = input;
    publish_and_run(&runtime, &bus, &batches);
    (runtime, bus, batches)
}

fn envelope() -> Envelope {
    let payload = RawJson::encode(&["the", "payload", "of", "an", "order", "of", "usual", "size"])
        .expect("JSON");
    let mut envelope = Envelope::with_payload("order-42", "OrderPlaced", payload);
    // An id and a time of fixed lengths.
    envelope.event_id = "01890a5d-ac96-774b-bcce-b302099a8057".into();
    envelope.timestamp =
        envelope.timestamp.replace_nanosecond(123_456_789).expect("below a second");
    envelope
}

fn arena() -> (Envelope, BytesMut) {
    (envelope(), BytesMut::with_capacity(1 << 20))
}

fn body() -> Bytes {
    envelope().encode().expect("a good envelope")
}

#[library_benchmark]
#[bench::usual(arena())]
fn encode_1000(input: (Envelope, BytesMut)) -> BytesMut {
    let (envelope, mut arena) = input;
    for _ in 0..MESSAGES {
        black_box(&envelope).encode_into(&mut arena).expect("a good envelope");
    }
    arena
}

#[library_benchmark]
#[bench::usual(body())]
fn decode_1000(body: Bytes) {
    for _ in 0..MESSAGES {
        black_box(Envelope::decode(black_box(&body)).expect("a good envelope"));
    }
}

library_benchmark_group!(name = lanes_group, benchmarks = admit_take_finish_1000);
library_benchmark_group!(name = pools_group, benchmarks = jobs_1000);
library_benchmark_group!(name = flow_group, benchmarks = publish_to_settled_256);
library_benchmark_group!(name = envelope_group, benchmarks = [encode_1000, decode_1000]);
main!(library_benchmark_groups = [lanes_group, pools_group, flow_group, envelope_group]);
