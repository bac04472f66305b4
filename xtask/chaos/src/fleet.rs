//! Order services in processes of their own on a real broker, and the faults that hit them and the
//! broker. Does not judge the fate of the messages: that is `ledger`.

mod backend;
mod faults;
mod service;

use std::fs;
use std::fs::{File, TryLockError};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process};
use xtask_base::process::Result;
use xtask_brokers::BrokerGuard;

use super::ledger::Excuse;

pub(crate) use self::backend::Backend;
pub(crate) use self::faults::{Deck, Dice, Fault};
pub(crate) use self::service::{Consumer, Publisher, Site, now_ns};

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

/// The file whose lock says that the run goes on; the system releases it with the process.
const LOCK: &str = "lock";

/// An empty folder that no other run uses.
pub(crate) struct RunFolder {
    path: PathBuf,
    /// Held while the run goes on.
    _lock: File,
}

impl RunFolder {
    /// Creates a folder below `base`, beside those of the other runs, and prints its path.
    pub(crate) fn create(base: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(base)?;
        // The lock keeps one run from removing the folder that another is about to lock.
        let entry = File::create(base.join(LOCK))?;
        entry.lock()?;
        for entry in fs::read_dir(base)? {
            let path = entry?.path();
            if path.is_dir() && has_ended(&path) {
                fs::remove_dir_all(&path)?;
            }
        }
        let path = (1_u32..)
            .map(|number| base.join(format!("{name}-{}-{number}", std::process::id())))
            .find(|path| !path.exists())
            .ok_or("too many runs")?;
        fs::create_dir(&path)?;
        let lock = File::create(path.join(LOCK))?;
        lock.lock()?;
        eprintln!("ledgers and logs: {}", path.display());
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether the lock is free. A folder without a lock file comes from an earlier version.
fn has_ended(folder: &Path) -> bool {
    match File::open(folder.join(LOCK)) {
        Ok(lock) => !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
        Err(_) => true,
    }
}

pub(crate) fn interrupt(pid: u32) {
    #[cfg(unix)]
    send(pid, Signal::INT);
    #[cfg(not(unix))]
    let _ = pid;
}

pub(crate) fn stop(pid: u32) {
    #[cfg(unix)]
    send(pid, Signal::STOP);
    #[cfg(not(unix))]
    let _ = pid;
}

pub(crate) fn go_on(pid: u32) {
    #[cfg(unix)]
    send(pid, Signal::CONT);
    #[cfg(not(unix))]
    let _ = pid;
}

#[cfg(unix)]
fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // A process that ended in between needs no signal.
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::RunFolder;

    #[test]
    fn two_runs_at_once_have_folders_of_their_own() {
        let base = std::env::temp_dir().join(format!("xtask-runs-{}", std::process::id()));
        let first = RunFolder::create(&base, "kafka").expect("a folder");
        let ledger = first.path().join("001-consume.csv");
        fs::write(&ledger, "a line").expect("written");
        let second = RunFolder::create(&base, "kafka").expect("another one");
        assert_ne!(first.path(), second.path());
        assert_eq!(fs::read_to_string(&ledger).expect("still there"), "a line");

        let ended = second.path().to_path_buf();
        drop(second);
        assert!(ended.exists(), "the ledgers of a run outlive it");
        let third = RunFolder::create(&base, "kafka").expect("a third one");
        assert!(ledger.exists(), "a run that goes on keeps its files");
        assert!(!third.path().join("config.yaml").exists());
        let left = fs::read_dir(&base).expect("it is there").flatten();
        assert_eq!(left.filter(|entry| entry.path().is_dir()).count(), 2);
        drop((first, third));
        fs::remove_dir_all(&base).expect("removed");
    }
}
