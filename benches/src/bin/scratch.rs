//! scratch
use buslane_benches::*;
use buslane_core::Kind;
use buslane_keyed::*;
use std::env;
use std::sync::Arc;
fn main() {
    let args: Vec<String> = env::args().collect();
    let what = args.get(1).map_or("all", |s| s.as_str());
    let reps: usize = args.get(2).map_or(5, |s| s.parse().unwrap());
    let rt = two_threads();
    let show = |name: &str, costs: &[Cost]| {
        println!(
            "{name:<28} cpu {:.3} us  min {:.3}  rate {:.2} M/s",
            median(costs.iter().map(Cost::cpu_us)),
            costs.iter().map(Cost::cpu_us).fold(9e9, f64::min),
            median(costs.iter().map(Cost::rate)) / 1e6
        );
    };
    let is = |n: &str| what == "all" || n.starts_with(what);
    for (name, messages, keys, batch, mode) in [
        ("lanes 1k", 2_000_000, 1000, 256, Mode::Exclusive),
        ("lanes 1m", 2_000_000, 1_000_000, 256, Mode::Exclusive),
        ("lanes fixed", 2_000_000, 1000, 256, Mode::Fixed(256)),
        ("lanes hot", 2_000_000, 1, 256, Mode::Exclusive),
        ("lanes b1", 500_000, 1000, 1, Mode::Exclusive),
        ("lanes b8", 1_000_000, 1000, 8, Mode::Exclusive),
    ] {
        if !is(name) {
            continue;
        }
        let load = LaneLoad { messages, keys, batch, mode };
        show(name, &(0..reps).map(|_| load.run(&rt)).collect::<Vec<_>>());
    }
    let keyed = |mode, bounds| {
        move || -> Arc<dyn buslane_core::Pool> {
            Arc::new(KeyedPool::new(KeyedPoolConfig {
                mode,
                bounds,
                default_handler: Some(noop(Kind::Regular)),
                ..KeyedPoolConfig::default()
            }))
        }
    };
    println!("job {} message {}", size_of::<buslane_core::Job>(), size_of::<buslane_core::Message>());
    for (name, keys, batch, mode, lane) in [
        ("keyed ex 1k", 1000, 256, Mode::Exclusive, 1000),
        ("keyed ex 300", 300, 256, Mode::Exclusive, 1000),
        ("keyed fixed", 1000, 256, Mode::Fixed(256), 1000),
        ("keyed hot", 1, 256, Mode::Exclusive, 1000),
        ("keyed hot wide", 1, 256, Mode::Exclusive, 256_000),
        ("keyed b1", 1000, 1, Mode::Exclusive, 1000),
        ("keyed b8", 1000, 8, Mode::Exclusive, 1000),
        ("keyed 1m", 1000_000, 256, Mode::Exclusive, 1000),
    ] {
        if !is(name) {
            continue;
        }
        let load = PoolLoad { messages: if batch < 8 { 300_000 } else { 1_000_000 }, keys, batch };
        show(
            name,
            &(0..reps)
                .map(|_| load.run(&rt, keyed(mode, Bounds { lane_messages: lane, ..Bounds::default() })))
                .collect::<Vec<_>>(),
        );
    }
    if is("pool") {
        let load = PoolLoad { messages: 1_000_000, keys: 1000, batch: 256 };
        let hot = PoolLoad { messages: 1_000_000, keys: 1, batch: 256 };
        let (mut a, mut b, mut c, mut d, mut e) = (vec![], vec![], vec![], vec![], vec![]);
        let wide = Bounds { lane_messages: 256_000, ..Bounds::default() };
        for _ in 0..reps {
            a.push(load.run_channels(&rt));
            b.push(load.run(&rt, keyed(Mode::Exclusive, Bounds::default())));
            c.push(load.run(&rt, keyed(Mode::Fixed(256), Bounds::default())));
            d.push(hot.run(&rt, keyed(Mode::Exclusive, wide)));
            e.push(load.run_making());
        }
        show("pool channels", &a);
        show("pool exclusive", &b);
        show("pool fixed", &c);
        show("pool hot", &d);
        show("pool making", &e);
        let r = |x: &[Cost], f: fn(&Cost) -> f64| median(x.iter().zip(&a).map(|(x, a)| f(x) / f(a)));
        println!(
            "cpu ratios exclusive {:.2} fixed {:.2}; wall exclusive {:.2} fixed {:.2}",
            r(&b, Cost::cpu_us),
            r(&c, Cost::cpu_us),
            1.0 / r(&b, Cost::rate),
            1.0 / r(&c, Cost::rate)
        );
    }
}
