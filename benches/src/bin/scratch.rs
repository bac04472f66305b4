//! scratch
use buslane_benches::*;
use buslane_core::Kind;
use buslane_keyed::*;
use std::env;
use std::sync::Arc;
fn worker_cpu() -> f64 {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .filter(|t| std::fs::read_to_string(t.path().join("comm")).unwrap().starts_with("tokio"))
        .map(|t| {
            std::fs::read_to_string(t.path().join("schedstat"))
                .unwrap()
                .split(' ')
                .next()
                .unwrap()
                .parse::<f64>()
                .unwrap()
        })
        .sum()
}
/// (cpu us a message, p50 us, p99 us)
fn paced(rt: &tokio::runtime::Runtime, every_us: u64, batch: usize, channels: bool) -> (f64, u64, u64) {
    use std::sync::{Mutex, atomic::*};
    use std::time::*;
    let n = (1_000_000 / every_us) as usize * batch;
    let epoch = Instant::now();
    let lat: Arc<Vec<AtomicU64>> = Arc::new((0..n).map(|_| AtomicU64::new(0)).collect());
    let log = Arc::clone(&lat);
    let done = Arc::new(AtomicUsize::new(0));
    let d2 = Arc::clone(&done);
    let sink: Arc<dyn buslane_core::Settle> = Arc::new(move |token: u64, _| {
        let now = epoch.elapsed().as_nanos() as u64;
        let s = log[token as usize].load(Ordering::Relaxed);
        log[token as usize].store(now - s, Ordering::Relaxed);
        d2.fetch_add(1, Ordering::Release);
    });
    let pool = {
        let _g = rt.enter();
        KeyedPool::new(KeyedPoolConfig { default_handler: Some(noop(Kind::Regular)), ..KeyedPoolConfig::default() })
    };
    let senders: Vec<_> = (0..256)
        .map(|_| {
            let (s, mut r) = tokio::sync::mpsc::channel::<buslane_core::Job>(1000);
            rt.spawn(async move {
                while let Some(job) = r.recv().await {
                    job.settlement.settle(buslane_core::Outcome::Ok);
                }
            });
            s
        })
        .collect();
    std::thread::sleep(Duration::from_millis(50));
    let mut jobs = Jobs::new(1000, 1);
    let before = worker_cpu();
    let start = Instant::now();
    let mut token = 0;
    let mut q = std::collections::VecDeque::new();
    let mut tick = 0;
    while token < n {
        while start.elapsed() < Duration::from_micros(tick * every_us) {
            std::hint::spin_loop();
        }
        tick += 1;
        for _ in 0..batch {
            let mut j = jobs.next().unwrap();
            j.settlement = buslane_core::Settlement::new(sink.clone(), token as u64);
            lat[token].store(epoch.elapsed().as_nanos() as u64, Ordering::Relaxed);
            token += 1;
            q.push_back(j);
        }
        if channels {
            for j in q.drain(..) {
                let s = (j.lane % 256) as usize;
                senders[s].try_send(j).ok().unwrap();
            }
        } else {
            use buslane_core::Pool;
            pool.try_submit(&mut q).unwrap();
        }
    }
    while done.load(Ordering::Acquire) < n {
        std::thread::sleep(Duration::from_millis(1));
    }
    let cpu = (worker_cpu() - before) / 1e3 / n as f64;
    let mut l: Vec<u64> = lat.iter().map(|x| x.load(Ordering::Relaxed) / 1000).collect();
    l.sort_unstable();
    let _ = Mutex::new(());
    {
        use buslane_core::Pool;
        rt.block_on(async { pool.stop(Duration::from_secs(1)).await });
    }
    (cpu, l[n / 2], l[n * 99 / 100])
}
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
    if is("paced") {
        for (every, batch) in [(10, 1), (50, 1), (20, 8), (1000, 100)] {
            for channels in [true, false] {
                let mut r: Vec<_> = (0..reps).map(|_| paced(&rt, every, batch, channels)).collect();
                r.sort_by(|a, b| a.0.total_cmp(&b.0));
                println!(
                    "paced every {every} us x {batch} {:<9} cpu {:.3} us  p50 {} p99 {}",
                    if channels { "channels" } else { "keyed" },
                    r[r.len() / 2].0,
                    median(r.iter().map(|x| x.1 as f64)),
                    median(r.iter().map(|x| x.2 as f64))
                );
            }
        }
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
