//! One round: a publisher, some consumers, and faults at random times until everything is handled.

use std::time::{Duration, Instant};

use super::Args;
use super::faults::{Dice, Fault};
use super::ledger::{Books, Excuse, Verdict};
use super::service::{Consumer, Site, now_ns};
use crate::brokers::Held;
use crate::process::Result;

/// How far back a killed process may not have committed what it has done: the commit interval of a second, and a
/// session of six, for which a rebalance may wait for another member that has died; commits wait behind it.
const UNCOMMITTED: Duration = Duration::from_millis(7_500);
/// How long members may be without their group after an outage: the session, and a rebalance.
const REGROUPING: Duration = Duration::from_secs(20);
/// Nothing new is handled for so long: what is missing is lost.
const STALLED: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);

pub(super) struct Outcome {
    pub(super) faults: Vec<Fault>,
    pub(super) verdict: Verdict,
    pub(super) has_excuses: bool,
    pub(super) seconds: f64,
}

pub(super) struct Round<'a> {
    pub(super) args: &'a Args,
    pub(super) site: &'a mut Site,
    pub(super) broker: &'a mut Held,
    pub(super) dice: &'a mut Dice,
    consumers: Vec<Consumer>,
    /// Ledgers of all that have ever consumed in this round.
    ledgers: Vec<std::path::PathBuf>,
    excuses: Vec<Excuse>,
}

impl<'a> Round<'a> {
    pub(super) fn new(args: &'a Args, site: &'a mut Site, broker: &'a mut Held, dice: &'a mut Dice) -> Self {
        Self { args, site, broker, dice, consumers: Vec::new(), ledgers: Vec::new(), excuses: Vec::new() }
    }

    pub(super) fn run(mut self, books: &mut Books, seed: u64, show: &mut dyn FnMut(u64, &str)) -> Result<Outcome> {
        let start = Instant::now();
        for _ in 0..self.args.processes {
            self.start_consumer()?;
        }
        let mut publisher = self.site.publisher(self.args.events, self.args.aggregates, seed)?;
        let before = books.over();
        let (mut published, mut faults, mut over) = (None, Vec::new(), before);
        let mut progress = Instant::now();
        let mut next_fault = Instant::now() + self.pause();
        loop {
            std::thread::sleep(LOOK);
            if published.is_none() {
                published = publisher.published()?;
            }
            let now = books.over_with(&self.ledgers)?;
            if now > over {
                (over, progress) = (now, Instant::now());
            }
            show(over - before, &faults.last().map_or_else(String::new, |fault: &Fault| fault.name()));
            for consumer in &mut self.consumers {
                if consumer.has_died()? {
                    return Err("a consumer ended by itself".into());
                }
            }
            let has_all = published.is_some_and(|published| over - before >= published);
            let is_over = faults.len() as u64 >= self.args.faults_per_round;
            if has_all || (published.is_some() && progress.elapsed() > STALLED) {
                break;
            }
            if !is_over && Instant::now() >= next_fault {
                if let Some(fault) = self.dice.one_of(&self.args.faults) {
                    self.inject(fault)?;
                    faults.push(fault);
                }
                next_fault = Instant::now() + self.pause();
            }
        }
        for consumer in &self.consumers {
            consumer.ask_to_end();
        }
        for consumer in self.consumers.drain(..) {
            consumer.ended()?;
        }
        let verdict = books.judge(published.unwrap_or(0), &self.ledgers, &self.excuses)?;
        let has_excuses = !self.excuses.is_empty();
        Ok(Outcome { faults, verdict, has_excuses, seconds: start.elapsed().as_secs_f64() })
    }

    fn pause(&mut self) -> Duration {
        Duration::from_millis(300 + self.dice.below(2_000))
    }

    fn start_consumer(&mut self) -> Result<()> {
        let consumer = self.site.consumer(self.args.handler_ms)?;
        self.ledgers.push(consumer.ledger.clone());
        self.consumers.push(consumer);
        Ok(())
    }

    fn any_consumer(&mut self) -> Consumer {
        let at = self.dice.below(self.consumers.len() as u64);
        self.consumers.swap_remove(usize::try_from(at).unwrap_or(0))
    }

    fn inject(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill => {
                let victim = self.any_consumer();
                self.excuse(Some(victim.process()), now_ns(), Duration::ZERO);
                victim.kill()?;
                self.start_consumer()
            }
            Fault::Restart => {
                let leaving = self.any_consumer();
                leaving.ask_to_end();
                self.start_consumer()?;
                leaving.ended()
            }
            Fault::ScaleOut => self.start_consumer(),
            Fault::ScaleIn if self.consumers.len() > 1 => {
                let leaving = self.any_consumer();
                leaving.ask_to_end();
                leaving.ended()
            }
            Fault::ScaleIn => Ok(()),
            Fault::BrokerPause => {
                let (node, time) = (self.any_node(), Duration::from_millis(500 + self.dice.below(8_000)));
                let from = now_ns();
                self.broker.pause(node);
                std::thread::sleep(time);
                self.broker.go_on(node);
                self.excuse(None, from, REGROUPING);
                Ok(())
            }
            Fault::BrokerRestart => {
                let (node, from) = (self.any_node(), now_ns());
                self.broker.kill(node)?;
                self.broker.start_again(node)?;
                self.excuse(None, from, REGROUPING);
                Ok(())
            }
        }
    }

    fn any_node(&mut self) -> usize {
        usize::try_from(self.dice.below(self.broker.nodes() as u64)).unwrap_or(0)
    }

    /// What was done from a little before `from_ns` until `after` from now may be done again.
    fn excuse(&mut self, process: Option<u32>, from_ns: u64, after: Duration) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (from_ns, to_ns) = (from_ns.saturating_sub(nanos(UNCOMMITTED)), now_ns() + nanos(after) + nanos(LOOK));
        self.excuses.push(Excuse { process, from_ns, to_ns });
    }
}
