//! The processes of a fleet: order services that consume, and one that publishes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::RunFolder;
use super::backend::Backend;
use crate::fleet;
use xtask_base::process::{Result, command, write_file};

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
        fleet::stop(self.child.id());
        std::thread::sleep(time);
        fleet::go_on(self.child.id());
    }

    /// Asks it to end, as a deployment does.
    pub(crate) fn ask_to_end(&self) {
        fleet::interrupt(self.child.id());
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
