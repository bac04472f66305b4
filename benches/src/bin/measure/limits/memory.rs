//! Lanes, pools and the bus on the embedded broker.

use crate::pools::resident_mib;
use buslane_benches::{
    Body, BusLoad, Cost, Figures, Keys, LaneLoad, MakePool, PacedLoad, PoolLoad, Target,
    WaitingLoad, actor_pool, handler_alone, keyed_pool, noop, noop_bus, two_threads, waiting,
};
use buslane_core::{Envelope, Kind, Record, Topic};
use buslane_keyed::Mode;
use bytes::BytesMut;
use serde_json::json;
use std::{collections::HashMap, hint::black_box, sync::Arc, time::Duration};
use tokio::{runtime::Runtime, task::JoinSet};

/// Turns a figure; its value is the median.
const TURNS: usize = 9;
/// Turns of a figure that varies.
const MANY_TURNS: usize = 25;

const POOLS: [(&str, &MakePool); 2] = [("keyed", &keyed_pool), ("actor", &actor_pool)];

/// Whether all figures are good.
pub(super) fn measure(chosen: Vec<String>) -> bool {
    let mut figures = Figures::new(chosen);
    let runtime = two_threads();
    lanes(&mut figures, &runtime);
    for (pool, make) in POOLS {
        hops(&mut figures, &runtime, pool, make);
        hot_key(&mut figures, &runtime, pool, make);
        waiting_handlers(&mut figures, &runtime, pool, make);
        slow_key(&mut figures, &runtime, pool, make);
        pool_for_each_topic(&mut figures, &runtime, pool, make);
    }
    look_up(&mut figures, &runtime);
    many_publishers(&mut figures, &runtime);
    for (pool, actors) in [("keyed", false), ("actor", true)] {
        whole_bus(&mut figures, &runtime, pool, actors);
        recorded_bus(&mut figures, &runtime, pool, actors);
        for keys in [1_000, 4_000] {
            recovery(&mut figures, &runtime, pool, actors, keys);
        }
    }
    figures.all_good()
}

/// The limit of raw messages is the pool alone, that of envelopes the codec alone on two threads.
fn whole_bus(figures: &mut Figures, runtime: &Runtime, pool: &str, actors: bool) {
    let load = |body| BusLoad { messages: 1_000_000, keys: 1_000, body };
    figures.figure(
        TURNS,
        &format!("{pool} bus: raw messages a second"),
        Target::ValueAtLeast(3e6),
        || {
            let alone =
                PoolLoad { messages: 1_000_000, keys: Keys::Random(1_000), batch: 256, seed: 1 };
            let make: &MakePool = if actors { &actor_pool } else { &keyed_pool };
            (
                load(Body::Raw).run(runtime, actors).rate(),
                alone.run(runtime, make, Mode::Exclusive).rate(),
            )
        },
    );
    figures.figure(
        TURNS,
        &format!("{pool} bus: envelopes a second"),
        Target::ValueAtLeast(1.5e6),
        || (load(Body::Envelope).run(runtime, actors).rate(), 2.0 * codec_alone(200_000).rate()),
    );
}

/// Turns of two sides that differ by less than the machine's noise.
const PAIRS: usize = 61;

/// The limit is the same load without a recorder.
fn recorded_bus(figures: &mut Figures, runtime: &Runtime, pool: &str, actors: bool) {
    for (what, body) in [("raw messages", Body::Raw), ("envelopes", Body::Envelope)] {
        let load = BusLoad { messages: 500_000, keys: 1_000, body };
        let name = format!("{pool} bus: {what} a second, metrics kept");
        let mut recorded_first = false;
        figures.figure(PAIRS, &name, Target::RatioAtLeast(0.95), || {
            recorded_first = !recorded_first;
            let recorded = || load.run_recorded(runtime, actors).rate();
            let silent = || load.run(runtime, actors).rate();
            if recorded_first {
                (recorded(), silent())
            } else {
                let limit = silent();
                (recorded(), limit)
            }
        });
    }
}

/// The limit is the same load with recovery mode off. They differ by less than the machine's noise,
/// so each begins every other turn.
fn recovery(figures: &mut Figures, runtime: &Runtime, pool: &str, actors: bool, keys: u64) {
    let load = WaitingLoad { messages: 1_000_000, keys };
    let mut on_first = false;
    let name = format!("recovery {pool}: messages a second, {keys} keys");
    figures.figure(TURNS, &name, Target::RatioAtLeast(0.95), || {
        on_first = !on_first;
        let rate = |recovery| load.run(runtime, actors, recovery).rate();
        let first = on_first.then(|| rate(true));
        let off = rate(false);
        (first.unwrap_or_else(|| rate(true)), off)
    });
}

/// Writing and reading envelopes on one thread, and nothing else.
fn codec_alone(messages: u64) -> Cost {
    let payload = json!({ "total": 1990, "currency": "EUR", "sku": "sku-7" });
    let envelope = Envelope::new("order-42", "OrderPlaced", &payload).expect("JSON");
    let mut arena = BytesMut::new();
    let run = || {
        for _ in 0..messages {
            let record = Record::from_envelope(&envelope, &mut arena).expect("a valid envelope");
            black_box(Envelope::decode(&record.payload).expect("a valid envelope"));
        }
    };
    Cost::of(messages, run).0
}

/// The limit is a map of queues on one thread, which hands nothing over.
fn lanes(figures: &mut Figures, runtime: &Runtime) {
    for (name, keys) in [("1,000 keys", 1_000), ("1,000,000 keys", 1_000_000)] {
        let load = LaneLoad { messages: 2_000_000, keys, batch: 256, mode: Mode::Exclusive };
        figures.figure(
            TURNS,
            &format!("lanes: CPU us a message, {name}"),
            Target::ValueAtMost(0.2),
            || (load.run(runtime).cpu_us(), load.run_map_of_queues().cpu_us()),
        );
    }
}

/// The limit is a bare bounded channel for each of 256 tasks.
fn hops(figures: &mut Figures, runtime: &Runtime, pool: &str, make: &MakePool) {
    let load = PoolLoad { messages: 1_000_000, keys: Keys::Random(1_000), batch: 256, seed: 1 };
    for (name, mode, most) in
        [("exclusive lanes", Mode::Exclusive, 2.0), ("fixed slots", Mode::Fixed(256), 1.2)]
    {
        type Measure = fn(&Cost) -> f64;
        let measures: [(&str, Measure); 2] =
            [("CPU us", Cost::cpu_us), ("time in us", |cost| 1e6 / cost.rate())];
        for (what, measure) in measures {
            figures.figure(
                TURNS,
                &format!("{pool} pool: {what} a job, {name}"),
                Target::RatioAtMost(most),
                || {
                    let channels = load.run_channels(runtime);
                    (measure(&load.run(runtime, make, mode)), measure(&channels))
                },
            );
        }
    }
}

/// The limit is the handler alone in a loop, on the jobs of one thread.
fn hot_key(figures: &mut Figures, runtime: &Runtime, pool: &str, make: &MakePool) {
    let load = PoolLoad { messages: 1_000_000, keys: Keys::InTurn(1), batch: 256, seed: 1 };
    figures.figure(
        TURNS,
        &format!("{pool} pool: jobs a second, one hot key"),
        Target::ValueAtLeast(3e6),
        || (load.run(runtime, make, Mode::Exclusive).rate(), handler_alone(load.messages).rate()),
    );
}

/// The limit is 256 workers / the time that handlers were measured to take.
fn waiting_handlers(figures: &mut Figures, runtime: &Runtime, pool: &str, make: &MakePool) {
    let load = PoolLoad { messages: 100_000, keys: Keys::InTurn(1_000), batch: 256, seed: 1 };
    figures.figure(
        TURNS,
        &format!("{pool} pool: jobs a second, 5 ms handlers"),
        Target::RatioAtLeast(0.95),
        || {
            let (handler, clock) = waiting(Duration::from_millis(5));
            let rate = load.run_with(runtime, make, Mode::Exclusive, Some(handler)).rate();
            (rate, 256.0 / clock.mean().as_secs_f64())
        },
    );
}

/// The limit is the same load without the slow key.
fn slow_key(figures: &mut Figures, runtime: &Runtime, pool: &str, make: &MakePool) {
    let p99_us = |slow| {
        let load = PacedLoad {
            every: Duration::from_millis(1),
            bursts: 600,
            burst: 20,
            keys: 1_000,
            handlers: vec![noop(Kind::Regular)],
            slow,
            seed: 1,
        };
        let pool = {
            let _inside = runtime.enter();
            make(Mode::Exclusive)
        };
        let run = Arc::clone(&pool);
        let mut times = runtime
            .block_on(runtime.spawn(async move { load.run(&*run).await }))
            .expect("the load ends");
        runtime.block_on(async { pool.stop(Duration::ZERO).await });
        times.sort_unstable();
        Duration::from_nanos(times[times.len() * 99 / 100]).as_secs_f64() * 1e6
    };
    let name = format!("{pool} pool: p99 us beside a key of 2 s a message");
    let mut slow_first = false;
    figures.figure(MANY_TURNS, &name, Target::RatioAtMost(1.2), || {
        let slow = || Some(waiting(Duration::from_secs(2)).0);
        slow_first = !slow_first;
        if slow_first {
            (p99_us(slow()), p99_us(None))
        } else {
            let limit = p99_us(None);
            (p99_us(slow()), limit)
        }
    });
}

/// Topics that share a pool, or have one each.
const TOPICS: u64 = 32;

/// The limit is a pool for each topic.
fn pool_for_each_topic(figures: &mut Figures, runtime: &Runtime, pool: &str, make: &MakePool) {
    let load = PoolLoad { messages: 1_000_000, keys: Keys::Random(1_000), batch: 256, seed: 1 };
    let name = format!("{pool} pool: jobs a second, one pool for {TOPICS} topics");
    figures.figure(TURNS, &name, Target::RatioAtLeast(0.9), || {
        let one = load.run(runtime, make, Mode::Exclusive).rate();
        (one, load.run_apart(runtime, make, TOPICS).rate())
    });
    let name = format!("{pool} pool: MiB, one idle pool for {TOPICS} topics");
    figures.figure(TURNS, &name, Target::RatioAtMost(1.0), || {
        let actors = pool == "actor";
        (resident_mib(actors, 1), resident_mib(actors, TOPICS))
    });
}

/// Look-ups a turn.
const LOOK_UPS: u64 = 1_000_000;

/// The limit is a map without a bus around it.
fn look_up(figures: &mut Figures, runtime: &Runtime) {
    let name = "look-up: ns, whether a topic has a handler";
    if !figures.wants(name) {
        return;
    }
    let bus = noop_bus(runtime, false, Body::Raw);
    let map = HashMap::from([(Topic::new("orders").expect("a name"), 1)]);
    let ns = |look: &dyn Fn() -> bool| {
        let run = || (0..LOOK_UPS).for_each(|_| assert!(black_box(look())));
        1e9 / Cost::of(LOOK_UPS, run).0.rate()
    };
    figures.figure(TURNS, name, Target::RatioAtMost(3.0), || {
        let ours = ns(&|| bus.topics().is_subscribed(black_box("orders")));
        (ours, ns(&|| map.contains_key(black_box("orders"))))
    });
    runtime.block_on(bus.shutdown(Duration::from_secs(5))).expect("a bus shuts down");
}

/// Calls of one publisher task a turn.
const CALLS: u64 = 20_000;

/// Each call publishes one record. The limit is one task: what more tasks lose, they lose to each
/// other's locks, because the machine has two cores.
fn many_publishers(figures: &mut Figures, runtime: &Runtime) {
    for tasks in [2, 4, 8] {
        let name = format!("memory bus: publish calls a second, {tasks} tasks");
        figures.figure(TURNS, &name, Target::RatioAtLeast(0.9), || {
            (calls_a_second(runtime, tasks), calls_a_second(runtime, 1))
        });
    }
}

fn calls_a_second(runtime: &Runtime, tasks: u64) -> f64 {
    let bus = noop_bus(runtime, false, Body::Raw);
    let publishers = (0..tasks).map(|_| {
        let bus = bus.clone();
        async move {
            for _ in 0..CALLS {
                bus.publish("orders", "sku-7").await.expect("it is stored");
            }
        }
    });
    let publishers: Vec<_> = publishers.collect();
    let work = async move { publishers.into_iter().collect::<JoinSet<()>>().join_all().await };
    let (cost, ended) = Cost::of(tasks * CALLS, || runtime.block_on(runtime.spawn(work)));
    ended.expect("the publishers end");
    runtime.block_on(bus.shutdown(Duration::from_secs(5))).expect("a bus shuts down");
    cost.rate()
}
