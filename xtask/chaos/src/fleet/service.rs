//! The processes of a fleet: order services that consume, and one that publishes.

use std::fs;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process};
use xtask_base::process::{Result, command, write_file};

use super::backend::Backend;

/// Time that a consumer has to drain and leave.
const LEAVING: Duration = Duration::from_secs(60);

/// The settings that all processes of a run share.
pub(crate) struct Site {
    pub(crate) program: PathBuf,
    folder: RunFolder,
    config: PathBuf,
    /// Whether the bus chooses its pool.
    has_defaults: bool,
    /// How long a handler waits, in milliseconds.
    handler_ms: u64,
    /// Bearer token for rollout changes over HTTP; `None` disables HTTP.
    token: Option<String>,
    started: u32,
}

pub(crate) struct Consumer {
    child: Child,
    /// Counted from 1, over all processes of the site.
    pub(crate) number: u32,
    /// The ledger of its attempts.
    pub(crate) ledger: PathBuf,
    pub(crate) log: PathBuf,
}

pub(crate) struct Publisher {
    child: Child,
    report: PathBuf,
    log: PathBuf,
}

impl Site {
    /// The files of these processes, which run `program`, go into `folder`.
    pub(crate) fn new(
        program: PathBuf,
        folder: RunFolder,
        backend: &Backend,
        address: &str,
        handler_ms: u64,
    ) -> Result<Self> {
        let config = folder.path().join("config.yaml");
        write_file(&config, &backend.config(address))?;
        let has_defaults = backend.has_defaults;
        Ok(Self { program, folder, config, has_defaults, handler_ms, token: None, started: 0 })
    }

    /// Lets the processes listen on HTTP and accept rollout changes with this token.
    pub(crate) fn watched(self, token: String) -> Self {
        Self { token: Some(token), ..self }
    }

    fn service(&mut self, what: &str) -> Result<(Command, PathBuf, PathBuf)> {
        self.started += 1;
        let name = format!("{:03}-{what}", self.started);
        let folder = self.folder.path();
        let (log, file) = (folder.join(format!("{name}.log")), folder.join(name));
        let output = File::create(&log)
            .map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        let mut service = command(&self.program);
        service.env("BUSLANE_CONFIG", &self.config).env_remove("BUSLANE_USE_ACTOR_POOL");
        if !self.has_defaults {
            // Both pools, in turns.
            let actors = if self.started.is_multiple_of(2) { "true" } else { "false" };
            service.env("BUSLANE_USE_ACTOR_POOL", actors);
        }
        // As in `deploy`.
        service.env("MALLOC_ARENA_MAX", "2").env("_RJEM_MALLOC_CONF", "narenas:2");
        service.envs(
            ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"].map(|name| (name, "131072")),
        );
        if let Some(token) = &self.token {
            service.args(["--http", "127.0.0.1:0"]).env("BUSLANE_ROLLOUT_TOKEN", token);
        }
        service.args(["--role", what, "--verbose"]).stdout(output.try_clone()?).stderr(output);
        Ok((service, file, log))
    }

    pub(crate) fn consumer(&mut self) -> Result<Consumer> {
        let (mut service, file, log) = self.service("consume")?;
        let ledger = file.with_extension("csv");
        service
            .args(["--idle", "600", "--handler-ms", &self.handler_ms.to_string(), "--ledger"])
            .arg(&ledger);
        Ok(Consumer { child: spawn(&mut service)?, number: self.started, ledger, log })
    }

    /// A publisher without a rate limit, or at a rate.
    pub(crate) fn publisher(
        &mut self,
        events: u64,
        aggregates: u64,
        seed: u64,
        rate: Option<u64>,
    ) -> Result<Publisher> {
        let [events, aggregates, seed] =
            [events, aggregates, seed].map(|number| number.to_string());
        self.publishing(rate, |service| {
            service.args([
                "--events",
                &events,
                "--aggregates",
                &aggregates,
                "--seed",
                &seed,
                "--poison",
                "0",
            ]);
        })
    }

    /// A publisher of a recorded log, at a rate in events a second.
    pub(crate) fn replayer(&mut self, log: &Path, rate: u64) -> Result<Publisher> {
        self.publishing(Some(rate), |service| {
            service.arg("--replay").arg(log);
        })
    }

    fn publishing(
        &mut self,
        rate: Option<u64>,
        what: impl FnOnce(&mut Command),
    ) -> Result<Publisher> {
        let (mut service, file, log) = self.service("publish")?;
        let report = file.with_extension("json");
        what(&mut service);
        service.arg("--report").arg(&report);
        if let Some(rate) = rate {
            service.args(["--rate", &rate.to_string()]);
        }
        Ok(Publisher { child: spawn(&mut service)?, report, log })
    }
}

impl Consumer {
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Whether it ended without a request.
    pub(crate) fn has_died(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Suspends it for a time: its connections stay open, and other members may take over.
    pub(crate) fn pause(&self, time: Duration) {
        stop(self.child.id());
        std::thread::sleep(time);
        go_on(self.child.id());
    }

    /// Asks it to end, as a deployment does.
    pub(crate) fn ask_to_end(&self) {
        interrupt(self.child.id());
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> Result<()> {
        match wait(&mut self.child)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                Err(format!("a consumer ended with {status}: {}", self.log.display()).into())
            }
            None => {
                self.child.kill()?;
                Err(format!("a consumer did not leave within {LEAVING:?}: {}", self.log.display())
                    .into())
            }
        }
    }
}

impl Publisher {
    /// The number of published messages, once it has ended.
    pub(crate) fn published(&mut self) -> Result<Option<u64>> {
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        if !status.success() {
            return Err(format!("the publisher ended with {status}: {}", self.log.display()).into());
        }
        let report: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&self.report)?)?;
        report["published"].as_u64().map(Some).ok_or_else(|| "the report lacks `published`".into())
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(service: &mut Command) -> Result<Child> {
    let program = service.get_program().to_owned();
    service
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", Path::new(&program).display()).into())
}

fn wait(child: &mut Child) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    while start.elapsed() < LEAVING {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(None)
}

/// Nanoseconds since the Unix epoch, as ledgers count.
pub(crate) fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// The file whose lock says that the run goes on; the system releases it with the process.
const LOCK: &str = "lock";

/// An empty folder that no other run uses.
pub(crate) struct RunFolder {
    path: PathBuf,
    /// Held for as long as the run goes on.
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
