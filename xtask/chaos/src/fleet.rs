//! Order services in processes of their own on a real broker, and the faults that hit them and the
//! broker. Does not judge the fate of the messages: that is `ledger`.

mod backend;
mod faults;
mod service;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use backend::Backend;
pub(crate) use faults::{Deck, Dice, Fault};
pub(crate) use service::RunFolder;
pub(crate) use service::{Consumer, Publisher, Site, now_ns};

use crate::ledger::Excuse;
use xtask_base::process::Result;
use xtask_brokers::BrokerGuard;

/// Time after a fault within which its effects may still show.
const NOTICE: Duration = Duration::from_millis(200);

/// The consumers of a group, their broker, and the faults that hit them.
pub(crate) struct Fleet {
    pub(crate) site: Site,
    pub(crate) dice: Dice,
    backend: Backend,
    broker: BrokerGuard,
    consumers: Vec<Consumer>,
    /// Number of first consumers that are never removed; they may be paused.
    kept: usize,
    /// Permitted number of consumers.
    sizes: RangeInclusive<usize>,
    ledgers: Vec<PathBuf>,
    ended: Vec<Consumer>,
    excuses: Vec<Excuse>,
}

impl Fleet {
    pub(crate) fn new(site: Site, backend: Backend, broker: BrokerGuard, seed: u64) -> Self {
        Self {
            site,
            dice: Dice::new(seed),
            backend,
            broker,
            consumers: Vec::new(),
            kept: 0,
            sizes: 1..=usize::MAX,
            ledgers: Vec::new(),
            ended: Vec::new(),
            excuses: Vec::new(),
        }
    }

    /// The first `kept` consumers stay for ever, and there are never fewer or more than `sizes`.
    pub(crate) fn keep(self, kept: usize, sizes: RangeInclusive<usize>) -> Self {
        Self { kept, sizes, ..self }
    }

    pub(crate) fn consumers(&self) -> &[Consumer] {
        &self.consumers
    }

    /// Consumers that ended since the last call, killed or on request.
    pub(crate) fn take_ended(&mut self) -> Vec<Consumer> {
        std::mem::take(&mut self.ended)
    }

    /// The ledgers of consumers that were started since the last call.
    pub(crate) fn new_ledgers(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.ledgers)
    }

    pub(crate) fn excuses(&self) -> &[Excuse] {
        &self.excuses
    }

    pub(crate) fn take_excuses(&mut self) -> Vec<Excuse> {
        std::mem::take(&mut self.excuses)
    }

    /// Drops the excuses of messages handled before this time.
    pub(crate) fn forget_excuses(&mut self, before_ns: u64) {
        self.excuses.retain(|excuse| excuse.to_ns >= before_ns);
    }

    pub(crate) fn start_consumer(&mut self) -> Result<()> {
        let consumer = self.site.consumer()?;
        self.ledgers.push(consumer.ledger.clone());
        self.consumers.push(consumer);
        Ok(())
    }

    /// The log of a consumer that ended without a request. It counts as ended from then on.
    pub(crate) fn find_dead(&mut self) -> Result<Option<PathBuf>> {
        for at in 0..self.consumers.len() {
            if self.consumers[at].has_died()? {
                let dead = self.consumers.remove(at);
                let log = dead.log.clone();
                self.ended.push(dead);
                return Ok(Some(log));
            }
        }
        Ok(None)
    }

    /// Asks all consumers to end, and waits until they have.
    pub(crate) fn dismiss(&mut self) -> Result<()> {
        self.consumers.iter().for_each(Consumer::ask_to_end);
        let leaving: Vec<Consumer> = self.consumers.drain(..).collect();
        leaving.into_iter().map(|consumer| self.left(consumer)).fold(Ok(()), Result::and)
    }

    /// Injects a fault, and waits until it is over.
    pub(crate) fn inject(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill => {
                let Some(mut victim) = self.any_consumer() else { return Ok(()) };
                self.excuse(Some(victim.process()), now_ns(), Duration::ZERO);
                victim.kill()?;
                self.ended.push(victim);
                self.start_consumer()
            }
            Fault::Restart => {
                let Some(leaving) = self.any_consumer() else { return Ok(()) };
                leaving.ask_to_end();
                self.start_consumer()?;
                self.left(leaving)
            }
            Fault::Pause => {
                let at = self.dice.below(self.consumers.len() as u64);
                // Up to twice the silence after which other members take over.
                let most = u64::try_from(self.backend.silence.as_millis() * 2).unwrap_or(1);
                let (time, from) = (Duration::from_millis(500 + self.dice.below(most)), now_ns());
                let Some(sleeper) = self.consumers.get(usize::try_from(at).unwrap_or(0)) else {
                    return Ok(());
                };
                sleeper.pause(time);
                // Handlers that ended during the pause may have run again elsewhere.
                self.excuse(Some(sleeper.process()), from, Duration::from_secs(2));
                Ok(())
            }
            Fault::ScaleOut if self.consumers.len() < *self.sizes.end() => self.start_consumer(),
            Fault::ScaleIn if self.consumers.len() > *self.sizes.start() => {
                let Some(leaving) = self.any_consumer() else { return Ok(()) };
                leaving.ask_to_end();
                self.left(leaving)
            }
            Fault::ScaleOut | Fault::ScaleIn => Ok(()),
            Fault::BrokerPause => {
                let (node, time) =
                    (self.any_node(), Duration::from_millis(500 + self.dice.below(8_000)));
                let from = now_ns();
                self.broker.pause(node)?;
                std::thread::sleep(time);
                self.broker.go_on(node);
                self.excuse(None, from, self.backend.regrouping);
                Ok(())
            }
            Fault::BrokerRestart => {
                let (node, from) = (self.any_node(), now_ns());
                self.broker.kill(node)?;
                self.broker.start_again(node)?;
                self.excuse(None, from, self.backend.regrouping);
                Ok(())
            }
        }
    }

    /// Kills every node of the broker. Its data stay if the broker keeps them.
    pub(crate) fn kill_broker(&self) -> Result<()> {
        (0..self.broker.nodes()).try_for_each(|node| self.broker.kill(node))
    }

    /// A consumer that may be removed; `None` when all must stay.
    fn any_consumer(&mut self) -> Option<Consumer> {
        let others = self.consumers.len().checked_sub(self.kept).filter(|others| *others > 0)?;
        let at = self.kept + usize::try_from(self.dice.below(others as u64)).unwrap_or(0);
        Some(self.consumers.swap_remove(at))
    }

    fn left(&mut self, mut leaving: Consumer) -> Result<()> {
        let ended = leaving.ended();
        self.ended.push(leaving);
        ended
    }

    fn any_node(&mut self) -> usize {
        usize::try_from(self.dice.below(self.broker.nodes() as u64)).unwrap_or(0)
    }

    /// Excuses repeated handling of messages from shortly before `from_ns` until `after` from now.
    fn excuse(&mut self, process: Option<u32>, from_ns: u64, after: Duration) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (from_ns, to_ns) = (
            from_ns.saturating_sub(nanos(self.backend.unsettled)),
            now_ns() + nanos(after) + nanos(NOTICE),
        );
        self.excuses.push(Excuse { process, from_ns, to_ns });
    }
}
