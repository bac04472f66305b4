//! Records of running brokers: one folder a run, with a file `state.json` that names pids and
//! ports.
//!
//! Records only: [`Process`] tells whether a recorded process is still the one that was started,
//! and `guard` ends it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::group::Process;
use super::probe::is_open;
use xtask_base::process::{Result, write_file};
use xtask_base::workspace::Metadata;

const FILE: &str = "state.json";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Kafka,
    Nats,
}

impl Kind {
    /// The variable that names a broker of this kind to the tests, and to `up` one that is there
    /// already.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Kafka => "KAFKA_BOOTSTRAP_SERVERS",
            Self::Nats => "NATS_URL",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kafka => "kafka",
            Self::Nats => "nats",
        })
    }
}

/// Where the brokers of this workspace live.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn of_workspace() -> Result<Self> {
        Ok(Self(Metadata::of_workspace()?.target_directory.join("brokers")))
    }

    /// Programs that are fetched once and kept, whatever `down` removes.
    pub(super) fn programs(&self) -> PathBuf {
        self.0.join("programs")
    }

    pub(super) fn runs(&self) -> PathBuf {
        self.0.join("runs")
    }

    /// The logs of brokers whose data is gone.
    pub(super) fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

/// One process of a broker. The port named `client` is the one that plain clients use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) process: Process,
    pub(super) ports: BTreeMap<String, u16>,
}

impl Node {
    pub(super) fn is_up(&self) -> bool {
        self.process.is_alive() && self.ports.get("client").is_some_and(|&port| is_open(port))
    }
}

/// One broker of one or several nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) kind: Kind,
    /// The process whose end is the end of this run. `None` once `up` has finished: then it runs
    /// until `down`.
    pub(super) held_by: Option<Process>,
    pub(super) nodes: Vec<Node>,
    /// Of its programs, where not every run has the same.
    #[serde(default)]
    pub(super) version: String,
    /// Where the state file was read; not part of it, so that the folder may be moved.
    #[serde(skip)]
    pub(super) folder: PathBuf,
}

impl Run {
    /// A run without nodes, in a folder of its own that no other run has had.
    pub(super) fn create(runs: &Path, kind: Kind) -> Result<Self> {
        let holder = Process::current();
        let folder = (1..)
            .map(|number| runs.join(format!("{kind}-{}-{number}", holder.pid)))
            .find(|folder| !folder.exists())
            .ok_or("no free folder name")?;
        let run =
            Self { kind, held_by: Some(holder), nodes: Vec::new(), version: String::new(), folder };
        run.store()?;
        Ok(run)
    }

    pub(super) fn store(&self) -> Result<()> {
        // Renamed into place: another process never reads half a file.
        let new = self.folder.join("state.json.new");
        write_file(&new, &(serde_json::to_string_pretty(self)? + "\n"))?;
        std::fs::rename(&new, self.folder.join(FILE)).map_err(|error| {
            format!("cannot write {}: {error}", self.folder.join(FILE).display()).into()
        })
    }

    /// `None` for a folder without a state file: another process may be removing it right now.
    fn load(folder: &Path) -> Result<Option<Self>> {
        let file = folder.join(FILE);
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(format!("cannot read {}: {error}", file.display()).into()),
        };
        let mut run: Self = serde_json::from_str(&text).map_err(|error| {
            format!(
                "{}: {error}: end the processes it names by hand, then remove the folder {}",
                file.display(),
                folder.display()
            )
        })?;
        run.folder = folder.to_path_buf();
        Ok(Some(run))
    }

    /// Every run that has a folder, oldest name first.
    pub(super) fn all(runs: &Path) -> Result<Vec<Self>> {
        let Ok(entries) = std::fs::read_dir(runs) else {
            return Ok(Vec::new());
        };
        let mut folders: Vec<PathBuf> =
            entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        folders.sort();
        folders.iter().filter_map(|folder| Self::load(folder).transpose()).collect()
    }

    /// What node `at` writes.
    pub(super) fn log(&self, at: usize) -> PathBuf {
        self.home(at).join("broker.log")
    }

    /// The folder of node `at`.
    pub(super) fn home(&self, at: usize) -> PathBuf {
        self.folder.join(format!("{}-{}", self.kind, at + 1))
    }

    /// Lets node `at` write its data below `kept`, which outlives the run. Without it the data lie
    /// in the folder of the run and go with it.
    pub(super) fn keep_data(&self, at: usize, kept: Option<&Path>) -> Result<()> {
        let Some(kept) = kept else { return Ok(()) };
        let (data, link) =
            (kept.join(format!("{}-{}", self.kind, at + 1)), self.home(at).join("data"));
        std::fs::create_dir_all(&data)
            .and_then(|()| std::os::unix::fs::symlink(data.canonicalize()?, &link))
            .map_err(|error| format!("cannot keep data in {}: {error}", data.display()).into())
    }

    /// The address for clients: `host:port` of each node for Kafka, a URL of each for NATS.
    pub(super) fn address(&self) -> String {
        let scheme = match self.kind {
            Kind::Kafka => "",
            Kind::Nats => "nats://",
        };
        let ports = self.nodes.iter().filter_map(|node| node.ports.get("client"));
        ports.map(|port| format!("{scheme}127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    }

    /// Variables for the shell and for test processes, in the order they are printed.
    pub(super) fn exports(&self) -> Vec<(&'static str, String)> {
        let mut exports = vec![(self.kind.variable(), self.address())];
        for (name, variable, scheme) in [
            ("tls", "BUSLANE_TEST_KAFKA_TLS", ""),
            ("ssl", "BUSLANE_TEST_KAFKA_SSL", ""),
            ("sasl_ssl", "BUSLANE_TEST_KAFKA_SASL_SSL", ""),
            ("monitor", "NATS_MONITOR_URL", "http://"),
        ] {
            // The first node that has it: one page of figures, one secure listener.
            if let Some(port) = self.nodes.iter().find_map(|node| node.ports.get(name)) {
                exports.push((variable, format!("{scheme}127.0.0.1:{port}")));
            }
        }
        if self.certs().exists() {
            exports.push(("BUSLANE_TEST_KAFKA_CERTS", self.certs().display().to_string()));
        }
        exports
    }

    pub(super) fn certs(&self) -> PathBuf {
        self.folder.join("certs")
    }
}

/// Waits until no other process of this workspace does the same; the lock goes with the value and
/// with the process.
pub(super) fn lock(folder: &Path, name: &str) -> Result<File> {
    let path = folder.join(format!("{name}.lock"));
    std::fs::create_dir_all(folder)?;
    let file =
        File::create(&path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("waiting for another `cargo xtask` that holds {}", path.display());
            file.lock()?;
        }
        Err(TryLockError::Error(error)) => {
            return Err(format!("cannot lock {}: {error}", path.display()).into());
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::{Kind, Node, Process, Run};

    fn node(ports: &[(&str, u16)]) -> Node {
        Node {
            process: Process { pid: 4_000_000, started: Some(17) },
            ports: ports.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect(),
        }
    }

    #[test]
    fn a_run_is_read_back_as_it_was_stored() {
        let runs = std::env::temp_dir().join(format!("buslane-xtask-state-{}", std::process::id()));
        let mut run = Run::create(&runs, Kind::Kafka).expect("stored");
        run.nodes.push(node(&[("client", 9092), ("ssl", 9093)]));
        run.store().expect("stored");
        let other = Run::create(&runs, Kind::Kafka).expect("stored");
        std::fs::create_dir_all(runs.join("no-run")).expect("created");
        let found = Run::all(&runs);
        std::fs::remove_dir_all(&runs).expect("removed");
        assert_eq!(found.expect("read"), [run, other]);
        assert!(Run::all(&runs).expect("no folder is no run").is_empty());
    }

    #[test]
    fn exports_name_every_node_and_only_what_is_there() {
        let mut run = Run {
            kind: Kind::Kafka,
            held_by: None,
            nodes: Vec::new(),
            folder: "none".into(),
            version: String::new(),
        };
        run.nodes = vec![node(&[("client", 1)]), node(&[("client", 2)])];
        assert_eq!(
            run.exports(),
            [("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1,127.0.0.1:2".to_owned())]
        );
        run.nodes = vec![node(&[("client", 1), ("ssl", 3), ("sasl_ssl", 4)])];
        let names: Vec<&str> = run.exports().into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["KAFKA_BOOTSTRAP_SERVERS", "BUSLANE_TEST_KAFKA_SSL", "BUSLANE_TEST_KAFKA_SASL_SSL"]
        );
        run.kind = Kind::Nats;
        run.nodes =
            vec![node(&[("client", 5), ("monitor", 6)]), node(&[("client", 7), ("monitor", 8)])];
        assert_eq!(
            run.exports(),
            [
                ("NATS_URL", "nats://127.0.0.1:5,nats://127.0.0.1:7".to_owned()),
                ("NATS_MONITOR_URL", "http://127.0.0.1:6".to_owned())
            ]
        );
    }
}
