//! The origin of measured figures: command, machine, date, commit and versions, as each JSON file
//! of results states them. Judges nothing.

use std::fs;

use serde::Serialize;

use xtask_base::process::{Result, capture, command};
use xtask_base::workspace::locked_version;
use xtask_brokers::Kind;

/// The origin of one run.
#[derive(Serialize)]
pub(crate) struct Provenance {
    /// The command line, as it was typed behind `cargo xtask`.
    command: String,
    /// Start of the run, in UTC.
    date: String,
    /// The commit that was measured; ends with `-dirty` where tracked files differ from it.
    commit: String,
    machine: Machine,
    /// Of rustc, of the libraries in `Cargo.lock`, and of the broker.
    versions: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Machine {
    processor: String,
    /// Those that this process may use.
    cores: usize,
    memory_mib: u64,
    system: String,
}

impl Provenance {
    /// Records machine and versions before a run; `broker` is the kind and version of the broker.
    pub(crate) fn new(broker: Option<(Kind, String)>) -> Result<Self> {
        let line = |program: &str, arguments: &[&str]| -> Result<String> {
            Ok(capture(command(program).args(arguments))?.trim().to_owned())
        };
        let mut versions = vec![("rustc".to_owned(), line("rustc", &["--version"])?)];
        for library in ["tokio", "ractor", "rdkafka", "async-nats"] {
            versions.push((library.to_owned(), locked_version(library)?));
        }
        versions.extend(broker.map(|(kind, version)| (kind.to_string(), version)));
        let is_dirty = !line("git", &["status", "--porcelain", "--untracked-files=no"])?.is_empty();
        Ok(Self {
            command: without_login(&std::env::args().skip(1).collect::<Vec<_>>().join(" ")),
            date: line("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"])?,
            commit: line("git", &["rev-parse", "HEAD"])? + if is_dirty { "-dirty" } else { "" },
            machine: Machine {
                processor: field("/proc/cpuinfo", "model name"),
                cores: std::thread::available_parallelism().map_or(0, usize::from),
                memory_mib: kib(&field("/proc/meminfo", "MemTotal")) / 1024,
                system: line("uname", &["-sr"])?,
            },
            versions,
        })
    }
}

/// The command line without the login of a URL.
fn without_login(text: &str) -> String {
    let hidden = |word: &str| match (word.split_once("://"), word.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => word.to_owned(),
    };
    text.split(' ').map(hidden).collect::<Vec<_>>().join(" ")
}

/// The first field of this name in a file of `/proc`; empty where there is none.
fn field(file: &str, name: &str) -> String {
    value_of(&fs::read_to_string(file).unwrap_or_default(), name)
}

fn value_of(text: &str, name: &str) -> String {
    let value = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    text.lines().find_map(value).unwrap_or_default()
}

/// `1024` of `1024 kB`; 0 where there is no number.
fn kib(text: &str) -> u64 {
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{kib, value_of, without_login};

    #[test]
    fn fields_of_proc_are_read() {
        let text = "processor\t: 0\nmodel name\t: Xeon: 2 GHz\nMemTotal:       2048 kB\n";
        assert_eq!(value_of(text, "model name"), "Xeon: 2 GHz");
        assert_eq!(kib(&value_of(text, "MemTotal")), 2048);
        assert_eq!(without_login("a --url nats://me:pw@h:1"), "a --url nats://h:1");
        assert_eq!((value_of(text, "none").as_str(), kib("")), ("", 0));
    }
}
