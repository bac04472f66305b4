//! The processes under observation: an order service with each pool, buses with faults, and a
//! Prometheus that scrapes all of them. They end when the [`Testbed`] is dropped.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::prometheus::Prometheus;
use super::rules;
use super::rules::without_waiting;
use xtask_base::process::{Result, command, write_file};
use xtask_brokers::free_ports;

/// The services that are well, by the value of the pool switch.
const SERVICES: [(&str, &str); 2] =
    [("order-service-keyed", "false"), ("order-service-actor", "true")];

/// Slow enough for a build without optimization, quick enough to see something; looked at as often
/// as it is scraped.
const SERVICE_CONFIG: &str =
    "limits: { publish: { per_second: 400, burst: 40 } }\nbacklog: { check_interval: 1s }\n";

pub(super) struct Testbed {
    processes: Vec<Process>,
    pub(super) prometheus: Prometheus,
}

struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Testbed {
    /// Starts everything; `programs` is the folder of the programs, `rules` are those of the
    /// project.
    pub(super) fn start(programs: &Path, folder: &Path, rules: &str) -> Result<Self> {
        let mut ports = free_ports(SERVICES.len() + rules::ALL.len() + 1)?.into_iter();
        let mut port = || ports.next().ok_or("too few ports");
        let mut testbed = Self { processes: Vec::new(), prometheus: Prometheus { port: port()? } };
        let program =
            |name: &str| command(programs.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)));
        let config = folder.join("order-service.yaml");
        write_file(&config, SERVICE_CONFIG)?;
        let mut targets = String::new();
        for (name, use_actor_pool) in SERVICES {
            let address = format!("127.0.0.1:{}", port()?);
            let mut service = program("order-service");
            service.env("BUSLANE_CONFIG", &config).env("BUSLANE_USE_ACTOR_POOL", use_actor_pool);
            service.args([
                "--events",
                "200000",
                "--aggregates",
                "200",
                "--poison",
                "2000",
                "--http",
                &address,
            ]);
            testbed.spawn(name, &mut service, folder)?;
            targets += &target(name, &address)?;
        }
        for rules::Scenario { name, .. } in rules::ALL {
            let address = format!("127.0.0.1:{}", port()?);
            testbed.spawn(
                name,
                program("fault-scenario").args([name, "--http", &address]),
                folder,
            )?;
            targets += &target(name, &address)?;
        }
        write_file(&folder.join("rules.yaml"), &without_waiting(rules))?;
        let config = folder.join("prometheus.yaml");
        write_file(&config, &format!("{HEAD}{targets}"))?;
        let mut server = command("prometheus");
        server.arg("--config.file").arg(config).arg("--storage.tsdb.path").arg(folder.join("data"));
        server.arg(format!("--web.listen-address=127.0.0.1:{}", testbed.prometheus.port));
        testbed.spawn("prometheus", &mut server, folder)?;
        Ok(testbed)
    }

    fn spawn(&mut self, name: &str, command: &mut Command, folder: &Path) -> Result<()> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let child = command.stdout(output.try_clone()?).stderr(output).spawn();
        let child = child.map_err(|error| format!("cannot start {name}: {error}"))?;
        self.processes.push(Process { name: name.to_owned(), child, log });
        Ok(())
    }

    /// An error when one of them has ended, which none does by itself.
    pub(super) fn check_alive(&mut self) -> Result<()> {
        for process in &mut self.processes {
            if let Some(status) = process.child.try_wait()? {
                let log = std::fs::read_to_string(&process.log).unwrap_or_default();
                let end = log.lines().last().unwrap_or_default();
                return Err(format!(
                    "{} ended with {status}: {end} ({})",
                    process.name,
                    process.log.display()
                )
                .into());
            }
        }
        Ok(())
    }

    /// Kills one, and looks after it no more.
    pub(super) fn kill(&mut self, name: &str) {
        self.processes.retain_mut(|process| {
            let is_it = process.name == name;
            if is_it {
                process.end();
            }
            !is_it
        });
    }
}

impl Process {
    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        self.processes.iter_mut().for_each(Process::end);
    }
}

const HEAD: &str = "\
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [rules.yaml]
scrape_configs:
  - job_name: buslane
    static_configs:
";

fn target(scenario: &str, address: &str) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "      - {{ targets: [\"{address}\"], labels: {{ scenario: {scenario} }} }}")?;
    Ok(text)
}
