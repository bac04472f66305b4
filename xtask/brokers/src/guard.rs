//! The lifetime of a started broker, from the wait until it answers to its end.
//!
//! A broker ends when its [`BrokerGuard`] is dropped, also on an error, a panic and Ctrl-C. If the
//! process that owned the guard was killed, the next command finds the run by the owner's pid and
//! ends it. `up` releases the guard once the broker runs.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use xtask_base::process::Result;

use super::group::{Process, Signal, spawn};
use super::state::Folder;
use super::state::{Kind, Node, Run};

/// Time that a broker has to end on request; Kafka takes less than two seconds on a quiet machine.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
const KILL_DEADLINE: Duration = Duration::from_secs(5);

/// Locked while a node is started and recorded. The Ctrl-C handler locks it and keeps it, so that
/// no node starts afterwards, and no broker that is being stopped is reported as broken.
static STARTING: Mutex<()> = Mutex::new(());

/// A broker that ends when this value does.
pub struct BrokerGuard {
    pub(super) run: Run,
    logs: PathBuf,
    is_kept: bool,
}

impl BrokerGuard {
    pub(super) fn create(folder: &Folder, kind: Kind) -> Result<Self> {
        Ok(Self { run: Run::create(&folder.runs(), kind)?, logs: folder.logs(), is_kept: false })
    }

    /// Starts a process of this broker and records it.
    pub(super) fn spawn(&mut self, leader: &mut Command, ports: &[(&str, u16)]) -> Result<()> {
        let _starting = unless_interrupted();
        let ports: BTreeMap<String, u16> =
            ports.iter().map(|&(name, port)| (name.to_owned(), port)).collect();
        self.run.nodes.push(Node { process: spawn(leader)?, ports });
        self.run.store()
    }

    /// Starts the process of node `at` again, after its end.
    pub(super) fn spawn_again(&mut self, at: usize, leader: &mut Command) -> Result<()> {
        let _starting = unless_interrupted();
        self.run.nodes[at].process = spawn(leader)?;
        self.run.store()
    }

    /// Suspends node `at`, and waits until all its threads are stopped: its connections stay open,
    /// and nothing answers.
    pub fn pause(&self, at: usize) -> Result<()> {
        let process = self.run.nodes[at].process;
        process.signal_group(Signal::Pause);
        if gone(KILL_DEADLINE, || process.is_stopped()) {
            Ok(())
        } else {
            Err("it does not stand still".into())
        }
    }

    /// Resumes a paused node.
    pub fn go_on(&self, at: usize) {
        self.run.nodes[at].process.signal_group(Signal::Continue);
    }

    /// Kills node `at`, and waits until it is gone. Its data stays.
    pub fn kill(&self, at: usize) -> Result<()> {
        let process = self.run.nodes[at].process;
        process.signal_group(Signal::Kill);
        if gone(KILL_DEADLINE, || !process.is_alive()) {
            Ok(())
        } else {
            Err("it does not end".into())
        }
    }

    /// The address for clients.
    pub fn address(&self) -> String {
        self.run.address()
    }

    pub fn nodes(&self) -> usize {
        self.run.nodes.len()
    }

    /// Releases the broker, which then runs until `down`.
    pub(super) fn keep_running(mut self) -> Result<Run> {
        self.run.held_by = None;
        self.run.store()?;
        self.is_kept = true;
        Ok(self.run.clone())
    }

    /// Keeps the last logs when the data is removed, because they may explain a failed test.
    fn keep_logs(&self) {
        for at in 0..self.run.nodes.len() {
            // A missing log is no reason to fail.
            let _ = std::fs::create_dir_all(&self.logs);
            let _ = std::fs::copy(
                self.run.log(at),
                self.logs.join(format!("{}-{}.log", self.run.kind, at + 1)),
            );
        }
    }

    /// The variables that tell a test process the broker's addresses.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        self.run.exports()
    }
}

impl Drop for BrokerGuard {
    fn drop(&mut self) {
        let _starting = unless_interrupted();
        if self.is_kept {
            return;
        }
        self.keep_logs();
        if let Err(error) = stop(&self.run) {
            eprintln!("{}: {error}", self.run.kind);
        }
    }
}

/// From now on Ctrl-C (and SIGTERM, SIGHUP) ends the brokers of this process, then the process.
pub(super) fn stop_when_interrupted(folder: &Folder) -> Result<()> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    let runs = folder.runs();
    ONCE.call_once(|| {
        result = ctrlc::set_handler(move || {
            let _kept = unless_interrupted();
            let this = Process::current();
            let broker = Run::all(&runs)
                .unwrap_or_default()
                .into_iter()
                .filter(|run| run.held_by == Some(this));
            for run in broker {
                eprintln!("interrupted: stopping {}", run.kind);
                if let Err(error) = stop(&run) {
                    eprintln!("{}: {error}", run.kind);
                }
            }
            std::process::exit(130);
        });
    });
    Ok(result?)
}

/// Ends the brokers of processes that are gone.
pub(super) fn sweep(folder: &Folder) -> Result<()> {
    for run in Run::all(&folder.runs())? {
        if run.held_by.is_some_and(|holder| !holder.is_alive()) {
            eprintln!("{}: left behind by a process that was killed: stopping it", run.kind);
            stop(&run)?;
        }
    }
    Ok(())
}

/// Ends every process of a run, with SIGKILL after a deadline, and removes its folder.
pub(super) fn stop(run: &Run) -> Result<()> {
    for (signal, deadline) in [(Signal::Terminate, STOP_DEADLINE), (Signal::Kill, KILL_DEADLINE)] {
        for node in &run.nodes {
            node.process.signal_group(signal);
            // A paused process handles no other signal.
            node.process.signal_group(Signal::Continue);
        }
        if all_gone(run, deadline) {
            break;
        }
    }
    if let Some(node) = run.nodes.iter().find(|node| node.process.is_alive()) {
        let pid = node.process.pid;
        return Err(format!("process {pid} does not end: look at it with `ps -fp {pid}`").into());
    }
    match std::fs::remove_dir_all(&run.folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", run.folder.display()).into())
        }
        _ => Ok(()),
    }
}

fn all_gone(run: &Run, deadline: Duration) -> bool {
    gone(deadline, || run.nodes.iter().all(|node| !node.process.is_alive()))
}

fn gone(deadline: Duration, is_gone: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if is_gone() {
            return true;
        }
        if start.elapsed() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Blocks for ever after Ctrl-C: the process ends when everything is stopped.
pub(super) fn unless_interrupted() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Long, because the brokers start beside a build that keeps every core busy.
const START_DEADLINE: Duration = Duration::from_secs(120);
const PROGRESS_EVERY: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 3;
const LOG_LINES: usize = 15;

/// The reason why a broker did not start.
pub(super) enum Failure {
    /// Other ports may do.
    PortTaken(String),
    Other(Box<dyn Error>),
}

impl<E: Into<Box<dyn Error>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Retries a start with new ports while one of them is taken.
pub(super) fn with_new_ports(
    mut start: impl FnMut() -> std::result::Result<BrokerGuard, Failure>,
) -> Result<BrokerGuard> {
    for attempt in 1.. {
        match start() {
            Ok(broker) => return Ok(broker),
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::PortTaken(text)) if attempt == ATTEMPTS => return Err(text.into()),
            Err(Failure::PortTaken(_)) => {
                eprintln!("a port was taken by someone else: beginning again with others")
            }
        }
    }
    Err("not started".into())
}

/// Waits until node `at` answers. The end of its log is shown when it ends or does not answer in
/// time.
pub(super) fn wait_for(
    broker: &BrokerGuard,
    at: usize,
    answers: impl Fn() -> bool,
) -> std::result::Result<(), Failure> {
    let name = format!("{}-{}", broker.run.kind, at + 1);
    let process = broker.run.nodes[at].process;
    let start = Instant::now();
    let mut told = start;
    while !answers() {
        let is_alive = process.is_alive();
        if !is_alive || start.elapsed() > START_DEADLINE {
            drop(unless_interrupted());
            let text =
                String::from_utf8_lossy(&std::fs::read(broker.run.log(at)).unwrap_or_default())
                    .into_owned();
            let what = if is_alive {
                "does not answer after two minutes"
            } else {
                "has ended instead of becoming ready"
            };
            let message =
                format!("{name} {what}; the last lines of its log:\n{}", last_lines(&text));
            let is_port = text.to_lowercase().contains("address already in use");
            return Err(if is_port {
                Failure::PortTaken(message)
            } else {
                Failure::Other(message.into())
            });
        }
        if told.elapsed() > PROGRESS_EVERY {
            told = Instant::now();
            eprintln!("waiting for {name}, {} s", start.elapsed().as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
    last.iter().map(|line| format!("{line:.300}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{ATTEMPTS, Failure, last_lines, with_new_ports};

    #[test]
    fn a_taken_port_is_tried_again_and_another_failure_is_not() {
        let error_after = |failure: fn() -> Failure| {
            let mut attempts = 0;
            let result = with_new_ports(|| {
                attempts += 1;
                Err(failure())
            });
            (attempts, result.err().map(|error| error.to_string()))
        };
        assert_eq!(
            error_after(|| Failure::PortTaken("taken".to_owned())),
            (ATTEMPTS, Some("taken".to_owned()))
        );
        assert_eq!(error_after(|| Failure::Other("broken".into())), (1, Some("broken".to_owned())));
    }

    #[test]
    fn a_long_log_is_cut_to_its_end() {
        let text: String = (0..100).map(|number| format!("line {number}\n")).collect();
        assert!(
            last_lines(&text).starts_with("line 85\n") && last_lines(&text).ends_with("line 99")
        );
        assert_eq!(last_lines("one\ntwo"), "one\ntwo");
        assert_eq!(last_lines(""), "");
    }
}
