//! The figures of every broker, measured in turns, each side in a process of its own.
#![allow(clippy::print_stderr, reason = "says how far it is")]

use super::{BrokerKind, FilledTopic, Floor, Load, Measured, Program};
use crate::{Figures, Target, two_threads};
use std::path::PathBuf;
use tokio::runtime::Runtime;

/// Turns a figure; its value is the median.
const TURNS: usize = 3;
/// Turns of a figure that varies.
const MANY_TURNS: usize = 9;

/// Messages of the bus, and as many of the bare client, one each 50 ms.
const IDLE_MESSAGES: usize = 300;

/// The pools, by their names.
pub const POOLS: [&str; 2] = ["keyed", "actor"];

/// The sides of the figures of one broker.
#[derive(Debug)]
pub struct Bench<'a> {
    /// What has been measured.
    pub figures: Figures,
    /// The client alone.
    pub floor: &'a dyn Floor,
    runtime: &'a Runtime,
    this: Program,
    peer: Option<Program>,
}

impl<'a> Bench<'a> {
    /// Measures the figures whose names begin with one of `chosen`, beside those of the program of
    /// benches/peers, if there is one. Whether all are good.
    ///
    /// # Panics
    /// When a side fails; it has said why.
    pub fn run(
        chosen: Vec<String>,
        broker: BrokerKind,
        peer: Option<PathBuf>,
        measure: impl FnOnce(&mut Bench<'_>),
    ) -> bool {
        let (runtime, floor, peer) = (two_threads(), broker.floor(), peer.map(Program::at));
        let this = Program::this(broker);
        let mut bench =
            Bench { figures: Figures::new(chosen), floor: &*floor, runtime: &runtime, this, peer };
        measure(&mut bench);
        bench.figures.all_good()
    }

    /// A topic with this load.
    #[must_use]
    pub fn filled(&self, load: Load) -> FilledTopic<'a> {
        FilledTopic::new(self.runtime, self.floor, load)
    }

    /// A topic with nothing in it.
    #[must_use]
    pub fn empty(&self, load: Load) -> FilledTopic<'a> {
        FilledTopic::empty(self.runtime, self.floor, load)
    }

    /// Reading and publishing on topics that `other` makes; the limit is the same on those of
    /// [`Bench::floor`]. `what` names the difference.
    pub fn beside(&mut self, what: &str, other: &dyn Floor, load: Load) {
        let name = format!("W1 keyed: messages a second, {what}");
        if self.figures.wants(&name) {
            let topics =
                [other, self.floor].map(|floor| FilledTopic::new(self.runtime, floor, load));
            let turns = self.in_turns(&name, || {
                let [one, two] = [0, 1].map(|at| {
                    let topic = topics[at].name();
                    let side = format!("read --pool keyed --reader parsed --topic {topic}");
                    self.measure(&format!("{side} --messages {}", load.messages)).get("rate")
                });
                (one, two)
            });
            self.figures.judge(&name, Target::RatioAtLeast(0.9), &turns);
        }
        let name = format!("publish: 1,000 in flight, records a second, {what}");
        if self.figures.wants(&name) {
            let turns = self.in_turns(&name, || {
                let [one, two] = [other, self.floor].map(|floor| {
                    let topic = FilledTopic::empty(self.runtime, floor, load);
                    let side =
                        format!("publish --form flight --topic {} --pool keyed", topic.name());
                    self.measure(&format!("{side} --messages {}", load.messages)).get("rate")
                });
                (one, two)
            });
            self.figures.judge(&name, Target::RatioAtLeast(0.9), &turns);
        }
    }

    /// Measures a side, given as words.
    #[must_use]
    pub fn measure(&self, words: &str) -> Measured {
        self.this.measure(words)
    }

    /// The same work, done by the peer.
    #[must_use]
    pub fn measure_peer(&self, words: &str) -> Option<Measured> {
        self.peer.as_ref().map(|peer| peer.measure(words))
    }

    /// Runs a measurement in turns, and says which it is at.
    pub fn in_turns<T>(&self, group: &str, turn: impl FnMut() -> T) -> Vec<T> {
        turns(TURNS, group, turn)
    }

    /// The bus beside the peer, when there is one.
    pub fn judge_peer<'m>(
        &mut self,
        name: &str,
        target: Target,
        turns: impl Iterator<Item = (f64, Option<&'m Measured>)>,
        value: &str,
    ) {
        let pairs: Option<Vec<(f64, f64)>> =
            turns.map(|(ours, peer)| Some((ours, peer?.get(value)))).collect();
        if let Some(pairs) = pairs {
            self.figures.judge(&format!("{name}, beside RustStream"), target, &pairs);
        }
    }

    /// One message now and then; the limit is the bare client, message by message beside the bus.
    /// The peer has a process and a topic of its own.
    pub fn idle(&mut self, values: &[(&str, f64)]) {
        let load = Load { messages: 0, keys: 1, partitions: 1 };
        for pool in POOLS {
            let group = format!("W3 {pool}");
            if !self.figures.wants_some_of(&group) {
                continue;
            }
            let turns = self.in_turns(&group, || {
                let (ours, theirs, peers) = (self.empty(load), self.empty(load), self.empty(load));
                let bus = self.measure(&format!(
                    "idle --pool {pool} --ours {} --theirs {} --messages {IDLE_MESSAGES}",
                    ours.name(),
                    theirs.name()
                ));
                (
                    bus,
                    self.measure_peer(&format!(
                        "idle --topic {} --messages {IDLE_MESSAGES}",
                        peers.name()
                    )),
                )
            });
            for &(value, most) in values {
                let name = format!("{group}: {} us, idle", &value[..3]);
                let pairs: Vec<(f64, f64)> = turns
                    .iter()
                    .map(|(bus, _)| (bus.get(value), bus.get(&format!("bare_{value}"))))
                    .collect();
                self.figures.judge(&name, Target::RatioAtMost(most), &pairs);
                let beside_peer = turns.iter().map(|(bus, peer)| (bus.get(value), peer.as_ref()));
                self.judge_peer(&name, Target::RatioAtMost(1.1), beside_peer, value);
            }
        }
    }

    /// A topic that waits, handled with recovery mode as it is by default; the limit is the same
    /// with the mode off. They differ by less than the machine's noise, so each begins every other
    /// turn.
    pub fn recovery(&mut self, load: Load) {
        for pool in POOLS {
            let name = format!("recovery {pool}: messages a second, {} keys", load.keys);
            if !self.figures.wants(&name) {
                continue;
            }
            let topic = self.filled(load);
            let side = format!(
                "read --pool {pool} --reader raw --topic {} --messages {}",
                topic.name(),
                load.messages
            );
            let rate = |mode: &str| self.measure(&format!("{side}{mode}")).get("rate");
            let mut on_first = false;
            let turns = turns(MANY_TURNS, &name, || {
                on_first = !on_first;
                let first = on_first.then(|| rate(" --recovery"));
                let off = rate("");
                (first.unwrap_or_else(|| rate(" --recovery")), off)
            });
            self.figures.judge(&name, Target::RatioAtLeast(0.95), &turns);
        }
    }

    /// Publishing in these forms, each with its words, its number of records and its target; the
    /// limit is the bare client as it fits the form. No pool is concerned.
    pub fn publishing(&mut self, load: Load, forms: &[(&str, &str, u64, Target)]) {
        for &(form, what, messages, target) in forms {
            let is_time = matches!(target, Target::RatioAtMost(_));
            let name =
                format!("publish: {what}, {}", if is_time { "us" } else { "records a second" });
            if !self.figures.wants(&name) {
                continue;
            }
            let side = format!("publish --form {form} --messages {messages}");
            let turns = turns(MANY_TURNS, &name, || {
                // A topic for each: the first publish to a new topic also waits for its files.
                let rates = [" --pool keyed", ""].map(|pool| {
                    let topic = self.empty(load);
                    self.measure(&format!("{side} --topic {}{pool}", topic.name())).get("rate")
                });
                let [ours, bare] = if is_time { rates.map(|rate| 1e6 / rate) } else { rates };
                (ours, bare)
            });
            self.figures.judge(&name, target, &turns);
        }
    }
}

fn turns<T>(count: usize, group: &str, mut turn: impl FnMut() -> T) -> Vec<T> {
    let run = |number| {
        eprintln!("{group}: {number} of {count}");
        turn()
    };
    (1..=count).map(run).collect()
}
