//! Process groups: a broker has a group of its own, so that Ctrl-C at the terminal does not reach
//! it and one signal ends all of its processes.
//!
//! Unix only. Elsewhere starting a broker is refused; the other commands work.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use xtask_base::process::{Result, command};

/// A process that may outlive this one. The start time tells it from a later process that was given
/// the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// In ticks since boot; `None` where the system has no `/proc`.
    pub(super) started: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Signal {
    Terminate,
    Kill,
    Pause,
    Continue,
}

impl Process {
    pub(super) fn current() -> Self {
        Self::of(std::process::id())
    }

    fn of(pid: u32) -> Self {
        Self { pid, started: stat(pid).map(|(_, started)| started) }
    }

    /// Whether it runs. A zombie does not.
    pub(super) fn is_alive(self) -> bool {
        match (self.started, stat(self.pid)) {
            (Some(started), Some((state, now))) => started == now && !matches!(state, 'Z' | 'X'),
            (Some(_), None) => false,
            (None, _) => unix::exists(self.pid),
        }
    }

    /// Whether all its threads are stopped, which happens shortly after the signal.
    pub(super) fn is_stopped(self) -> bool {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", self.pid)) else {
            return true;
        };
        threads.flatten().all(|thread| {
            // A thread that ended in between counts as stopped.
            let state = std::fs::read_to_string(thread.path().join("stat"))
                .ok()
                .and_then(|text| parse_stat(&text));
            state.is_none_or(|(state, _)| matches!(state, 'T' | 't' | 'Z' | 'X'))
        })
    }

    /// Sends a signal to the group that this process leads. A group that is gone is no error.
    pub(super) fn signal_group(self, signal: Signal) {
        if self.is_alive() {
            unix::signal_group(self.pid, signal);
        }
    }
}

/// A command that leads a process group of its own and writes its output into `log`.
pub(super) fn leader(program: impl AsRef<std::ffi::OsStr>, log: &Path) -> Result<Command> {
    let output =
        File::create(log).map_err(|error| format!("cannot write {}: {error}", log.display()))?;
    let mut leader = command(program);
    leader.stdout(Stdio::from(output.try_clone()?)).stderr(Stdio::from(output));
    unix::own_group(&mut leader)?;
    Ok(leader)
}

pub(super) fn spawn(leader: &mut Command) -> Result<Process> {
    let program = leader.get_program().to_string_lossy().into_owned();
    let child = leader.spawn().map_err(|error| format!("cannot start {program}: {error}"))?;
    Ok(Process::of(child.id()))
}

/// State letter and start time of a process, from `/proc`.
fn stat(pid: u32) -> Option<(char, u64)> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name of the program stands in brackets and may hold anything, so fields are counted from the
/// last bracket.
fn parse_stat(text: &str) -> Option<(char, u64)> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(unix)]
mod unix {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use rustix::process::{Pid, kill_process_group, test_kill_process};

    use super::Signal;
    use xtask_base::process::Result;

    pub(super) fn own_group(command: &mut Command) -> Result<()> {
        command.process_group(0);
        Ok(())
    }

    pub(super) fn exists(pid: u32) -> bool {
        id(pid).is_some_and(|pid| test_kill_process(pid).is_ok())
    }

    pub(super) fn signal_group(pid: u32, signal: Signal) {
        let signal = match signal {
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Kill => rustix::process::Signal::KILL,
            Signal::Pause => rustix::process::Signal::STOP,
            Signal::Continue => rustix::process::Signal::CONT,
        };
        if let Some(pid) = id(pid) {
            // An error means that the group ended in between.
            let _ = kill_process_group(pid, signal);
        }
    }

    fn id(pid: u32) -> Option<Pid> {
        i32::try_from(pid).ok().and_then(Pid::from_raw)
    }
}

#[cfg(not(unix))]
mod unix {
    use std::process::Command;

    use super::Signal;
    use xtask_base::process::Result;

    pub(super) fn own_group(_: &mut Command) -> Result<()> {
        Err("brokers are started on Unix only: start one with deploy/compose.yaml and set KAFKA_BOOTSTRAP_SERVERS"
            .into())
    }

    pub(super) fn exists(_: u32) -> bool {
        false
    }

    pub(super) fn signal_group(_: u32, _: Signal) {}
}

#[cfg(test)]
mod tests {
    use super::{Process, Signal, leader, parse_stat};

    #[test]
    fn a_name_with_brackets_does_not_move_the_fields() {
        let text = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 10 0";
        assert_eq!(parse_stat(text), Some(('S', 98765)));
        assert_eq!(parse_stat("42 (cut) S 1 2"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_with_the_same_pid_is_not_the_same_process() {
        let this = Process::current();
        assert!(this.is_alive());
        assert!(!Process { started: this.started.map(|time| time + 1), ..this }.is_alive());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_is_stopped_once_it_stands_still() {
        let log = std::env::temp_dir().join(format!("buslane-stopped-{}", std::process::id()));
        let mut child = leader("sleep", &log).unwrap().arg("600").spawn().unwrap();
        let process = Process::of(child.id());
        assert!(!process.is_stopped());
        process.signal_group(Signal::Pause);
        while !process.is_stopped() {
            std::thread::yield_now();
        }
        process.signal_group(Signal::Kill);
        child.wait().unwrap();
        assert!(process.is_stopped());
        std::fs::remove_file(log).unwrap();
    }
}
