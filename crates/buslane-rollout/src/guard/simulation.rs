//! A simulated service, second by second: rates, bursts, stalls, busy keys, errors, memory, and a
//! fault of the actor pool. It draws counts of latency buckets, not single messages.

#![cfg(test)]
#![allow(clippy::cast_possible_truncation, reason = "a test")]

use super::{Sample, SideFigures};
use buslane_core::Latencies;
use std::{
    f64::consts::PI,
    time::{Duration, Instant},
};

pub(super) const SECOND: Duration = Duration::from_secs(1);
const DAY: f64 = 86_400.0;
const GIBIBYTE: f64 = (1_u64 << 30) as f64;

/// A fault of the actor pool, in addition to what happens to both.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    pub(super) slower: f64,
    pub(super) errors: f64,
    pub(super) restarts: f64,
    pub(super) memory: f64,
}

impl Fault {
    pub(super) const NONE: Self = Self { slower: 1.0, errors: 0.0, restarts: 0.000_5, memory: 1.0 };
}

/// The conditions of a day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weather {
    /// Messages a second; `None`: 0 at night, 5,000 at noon.
    pub(super) rate: Option<f64>,
    /// Spread of the latencies: sigma of their logarithm.
    pub(super) spread: f64,
    /// How far the p99 of both pools drifts, and how far load raises it.
    pub(super) drift: f64,
    /// Share of the attempts that fail on both pools.
    pub(super) errors: f64,
    /// Bursts, stalls, failing dependencies, a busy key.
    pub(super) is_rough: bool,
}

impl Weather {
    pub(super) const FAIR: Self =
        Self { rate: Some(4_000.0), spread: 0.5, drift: 0.0, errors: 0.002, is_rough: false };
    pub(super) const ROUGH: Self =
        Self { rate: None, spread: 0.8, drift: 0.15, errors: 0.005, is_rough: true };
}

/// A random walk around 0 with a standard deviation of 1. Its correlation time is `memory` seconds.
struct Wander {
    value: f64,
    memory: f64,
}

impl Wander {
    fn step(&mut self, random: &mut Random) -> f64 {
        let kept = (-1.0 / self.memory).exp();
        self.value = self.value * kept + random.normal() * (1.0 - kept * kept).sqrt();
        self.value
    }
}

struct Side {
    figures: SideFigures,
    counts: Box<[u64; Latencies::BUCKETS]>,
    load: Wander,
    errors: Wander,
}

pub(super) struct World {
    pub(super) weather: Weather,
    pub(super) percent: u8,
    pub(super) fault: Fault,
    random: Random,
    atoms: Vec<(f64, f64)>,
    start: Instant,
    second: u64,
    sides: [Side; 2],
    drift: Wander,
    errors: Wander,
    burst: u32,
    /// The remaining seconds of a stall.
    stall: f64,
    outage: u32,
    cache: u32,
}

impl World {
    pub(super) fn new(weather: Weather, seed: u64) -> Self {
        let wander = |memory| Wander { value: 0.0, memory };
        let side = || Side {
            figures: SideFigures::default(),
            counts: Box::new([0; Latencies::BUCKETS]),
            load: wander(300.0),
            errors: wander(200.0),
        };
        Self {
            weather,
            percent: 0,
            fault: Fault::NONE,
            random: Random(seed),
            atoms: atoms(weather.spread),
            start: Instant::now(),
            second: 0,
            sides: [side(), side()],
            drift: wander(600.0),
            errors: wander(600.0),
            burst: 0,
            stall: 0.0,
            outage: 0,
            cache: 0,
        }
    }

    /// Simulates the next second, and returns the sample at its end.
    pub(super) fn sample(&mut self) -> Sample {
        self.second += 1;
        // The day begins at six in the morning.
        let day = self.second as f64 / DAY * 2.0 * PI + PI / 2.0;
        let mut rate = self.weather.rate.unwrap_or(2_500.0 * (1.0 - day.cos()));
        self.disturb();
        if self.burst > 0 {
            rate = (rate * 2.0).min(5_000.0);
        }
        let drift = self.weather.drift * self.drift.step(&mut self.random);
        let scale = 0.010 * drift.exp() * (1.0 + self.weather.drift * rate / 5_000.0);
        let rough = if self.weather.is_rough { 1.0 } else { 0.0 };
        let errors = self.weather.errors * (0.3 * rough * self.errors.step(&mut self.random)).exp();
        let share = f64::from(self.percent) / 100.0;
        for (side, share) in [(0, 1.0 - share), (1, share)] {
            self.serve(side, rate * share, scale, errors);
        }
        self.stall = (self.stall - 1.0).max(0.0);
        let at = self.start + SECOND * u32::try_from(self.second).unwrap();
        let [keyed, actor] = [0, 1].map(|side| self.figures(side));
        Sample { at, percent: self.percent, keyed, actor, resident_bytes: Some(self.memory()) }
    }

    /// Replaces the pool of a side, whose counters begin at 0.
    pub(super) fn restart(&mut self, side: usize) {
        self.sides[side].figures = SideFigures::default();
        self.sides[side].counts.fill(0);
    }

    fn figures(&self, side: usize) -> SideFigures {
        let Side { figures, counts, .. } = &self.sides[side];
        SideFigures { latencies: Latencies::from_counts(counts.clone()), ..figures.clone() }
    }

    /// Begins bursts, stalls and outages of both pools now and then.
    fn disturb(&mut self) {
        for left in [&mut self.burst, &mut self.outage, &mut self.cache] {
            *left = left.saturating_sub(1);
        }
        if !self.weather.is_rough {
            return;
        }
        if self.random.is(1.0 / 300.0) {
            self.burst = 5 + self.random.below(15);
        }
        if self.random.is(1.0 / 120.0) {
            self.stall = 0.05 + 3.0 * self.random.uniform().powi(3);
        }
        if self.random.is(1.0 / 1_200.0) {
            self.outage = 1 + self.random.below(5);
        }
        if self.second.is_multiple_of(7_200) {
            self.cache = 20 * 60;
        }
    }

    fn serve(&mut self, side: usize, rate: f64, scale: f64, errors: f64) {
        let is_actor = side == 1;
        let (slower, more_errors) =
            if is_actor { (self.fault.slower, self.fault.errors) } else { (1.0, 0.0) };
        let Side { load, errors: own, .. } = &mut self.sides[side];
        let (load, own) = (load.step(&mut self.random), own.step(&mut self.random));
        let rough = if self.weather.is_rough { 1.0 } else { 0.0 };
        let rate = rate * (0.05 * rough * load).exp();
        let before = self.sides[side].counts.iter().sum::<u64>();
        // A stall hits the pools to slightly different shares.
        let stalled =
            rate * self.stall.min(1.0) * (0.1 * rough * self.random.normal()).exp().min(1.0);
        self.queue(side, stalled, scale * slower);
        // One pool at a time has a busy key that queues behind itself, for half an hour.
        let is_hot = self.weather.is_rough && (self.second / 1_800).is_multiple_of(2) == is_actor;
        let hot = if is_hot { 0.05 * (rate - stalled) } else { 0.0 };
        let queueing = 1.0 + 0.6 * self.random.exponential();
        self.spread(side, hot, scale * slower * queueing);
        self.spread(side, rate - stalled - hot, scale * slower);
        let new = self.sides[side].counts.iter().sum::<u64>() - before;
        let outage = if self.outage > 0 { 0.1 * (0.1 * self.random.normal()).exp() } else { 0.0 };
        let errors = errors * (0.1 * rough * own).exp() + outage + more_errors;
        let failed = self.random.poisson(new as f64 * errors).min(new);
        let restarts = if is_actor {
            self.random.poisson(new as f64 * self.fault.restarts).min(new)
        } else {
            0
        };
        let figures = &mut self.sides[side].figures;
        figures.attempts += new;
        figures.ended += new;
        figures.errors += failed;
        figures.restarts += restarts;
    }

    fn spread(&mut self, side: usize, rate: f64, scale: f64) {
        for place in 0..if rate > 0.0 { self.atoms.len() } else { 0 } {
            let (factor, share) = self.atoms[place];
            let count = self.random.poisson(rate * share);
            if count > 0 {
                let near = 1.0 + 0.02 * (self.random.uniform() - 0.5);
                self.count(side, scale * factor * near, count);
            }
        }
    }

    /// Messages that arrive during a stall wait for its end.
    fn queue(&mut self, side: usize, rate: f64, scale: f64) {
        for part in 0..if rate > 0.0 { 32 } else { 0 } {
            let wait = self.stall * (f64::from(part) + self.random.uniform()) / 32.0;
            let count = self.random.poisson(rate / 32.0);
            self.count(side, scale + wait, count);
        }
    }

    fn count(&mut self, side: usize, seconds: f64, count: u64) {
        self.sides[side].counts[Latencies::bucket(Duration::from_secs_f64(seconds))] += count;
    }

    fn memory(&self) -> u64 {
        let tide =
            if self.weather.is_rough { 0.3 * (self.second as f64 / 3_600.0).sin() } else { 0.0 };
        let cache = if self.cache > 0 { 1.4 } else { 1.0 };
        (GIBIBYTE * (1.0 + tide) * cache * self.fault.memory) as u64
    }
}

/// A log-normal distribution as factors of its median with their probabilities, finer around p99.
/// Two of a thousand messages take about eight times the median.
fn atoms(spread: f64) -> Vec<(f64, f64)> {
    let (mut atoms, mut z) = (Vec::new(), -3.5);
    while z < 5.0 {
        let step = if z < 1.2 { 0.2 } else { 0.02 / spread.max(0.2) };
        let middle: f64 = z + step / 2.0;
        let share = (-middle * middle / 2.0).exp() * step / (2.0 * PI).sqrt();
        atoms.push(((spread * middle).exp(), share * 0.998));
        z += step;
    }
    let slow = [6.0, 7.0, 8.0, 9.0, 10.0].map(|factor| (factor, 0.000_4));
    atoms.extend(slow);
    atoms
}

/// Splitmix64.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn is(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    fn below(&mut self, limit: u32) -> u32 {
        (self.uniform() * f64::from(limit)) as u32
    }

    fn exponential(&mut self) -> f64 {
        -(1.0 - self.uniform()).ln()
    }

    fn normal(&mut self) -> f64 {
        (2.0 * self.exponential()).sqrt() * (2.0 * PI * self.uniform()).cos()
    }

    fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 12.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.uniform(), 0);
        while product > limit {
            product *= self.uniform();
            count += 1;
        }
        count
    }
}
