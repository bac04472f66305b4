//! The processes of a round: order services that consume, and one that publishes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::process::{Result, command, write_file};

/// What a consumer is given to drain and leave.
const LEAVING: Duration = Duration::from_secs(60);

/// What all processes of a run have in common.
pub(super) struct Site {
    pub(super) program: PathBuf,
    pub(super) folder: PathBuf,
    config: PathBuf,
    started: u32,
}

pub(super) struct Consumer {
    child: Child,
    /// What it has done.
    pub(super) ledger: PathBuf,
    log: PathBuf,
}

pub(super) struct Publisher {
    child: Child,
    report: PathBuf,
    log: PathBuf,
}

impl Site {
    pub(super) fn new(program: PathBuf, folder: PathBuf, brokers: &str) -> Result<Self> {
        let config = folder.join("config.yaml");
        // Short sessions, so that a killed member is missed soon; publishers outlive a broker's restart.
        let text = format!(
            "url: kafka://{brokers}\ngroup: chaos\npublish_timeout: 3m\nkafka:\n  consumer:\n    session_timeout: 6s\n    \
             heartbeat_interval: 1s\n"
        );
        write_file(&config, &text)?;
        Ok(Self { program, folder, config, started: 0 })
    }

    fn service(&mut self, what: &str) -> Result<(Command, PathBuf, PathBuf)> {
        self.started += 1;
        let name = format!("{:03}-{what}", self.started);
        let (log, file) = (self.folder.join(format!("{name}.log")), self.folder.join(name));
        let output = File::create(&log).map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        let mut service = command(&self.program);
        // Both pools, in turns.
        let actors = if self.started.is_multiple_of(2) { "true" } else { "false" };
        service.env("BUSLANE_CONFIG", &self.config).env("BUSLANE_USE_ACTOR_POOL", actors);
        service.args(["--role", what, "--verbose"]).stdout(output.try_clone()?).stderr(output);
        Ok((service, file, log))
    }

    pub(super) fn consumer(&mut self, handler_ms: u64) -> Result<Consumer> {
        let (mut service, file, log) = self.service("consume")?;
        let ledger = file.with_extension("csv");
        service.args(["--idle", "600", "--handler-ms", &handler_ms.to_string(), "--ledger"]).arg(&ledger);
        Ok(Consumer { child: spawn(&mut service)?, ledger, log })
    }

    pub(super) fn publisher(&mut self, events: u64, aggregates: u64, seed: u64) -> Result<Publisher> {
        let (mut service, file, log) = self.service("publish")?;
        let report = file.with_extension("json");
        let [events, aggregates, seed] = [events, aggregates, seed].map(|number| number.to_string());
        service.args(["--events", &events, "--aggregates", &aggregates, "--seed", &seed, "--poison", "0", "--report"]);
        Ok(Publisher { child: spawn(service.arg(&report))?, report, log })
    }
}

impl Consumer {
    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Whether it ended by itself, which nobody has asked for.
    pub(super) fn has_died(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    pub(super) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end, as a deployment does.
    pub(super) fn ask_to_end(&self) {
        super::signal::interrupt(self.child.id());
    }

    /// Waits for its end.
    pub(super) fn ended(mut self) -> Result<()> {
        match wait(&mut self.child)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("a consumer ended with {status}: {}", self.log.display()).into()),
            None => {
                self.child.kill()?;
                Err(format!("a consumer did not leave within {LEAVING:?}: {}", self.log.display()).into())
            }
        }
    }
}

impl Publisher {
    /// How many messages were published, once it has ended.
    pub(super) fn published(&mut self) -> Result<Option<u64>> {
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        if !status.success() {
            return Err(format!("the publisher ended with {status}: {}", self.log.display()).into());
        }
        let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&self.report)?)?;
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
    service.spawn().map_err(|error| format!("cannot start {}: {error}", Path::new(&program).display()).into())
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
pub(super) fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
