//! Starts the order service and waits for it, never for ever.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fmt, fs};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

const DEADLINE: Duration = Duration::from_secs(240);
const PAUSE: Duration = Duration::from_millis(20);

/// A file of these tests.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("order-service-{name}"))
}

/// The order service with arguments, apart from the settings of the environment.
pub(crate) struct Program {
    command: Command,
    out: PathBuf,
    err: PathBuf,
}

/// The outcome of a run.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Program {
    /// `name` names its output files.
    pub(crate) fn new(name: &str, arguments: &[&str]) -> Self {
        let (out, err) = (file(&format!("{name}.out")), file(&format!("{name}.err")));
        let mut command = Command::new(env!("CARGO_BIN_EXE_order-service"));
        command.args(arguments).stdin(Stdio::null());
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        for variable in buslane::Config::variables() {
            command.env_remove(variable.name);
        }
        Self { command, out, err }
    }

    pub(crate) fn env(mut self, (name, value): (&str, &str)) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn run(self) -> Run {
        self.start().wait()
    }

    pub(crate) fn start(mut self) -> Running {
        Running { child: self.command.spawn().unwrap(), out: self.out, err: self.err }
    }
}

pub(crate) struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// Waits until it has ended.
    pub(crate) fn wait(mut self) -> Run {
        let child = &mut self.child;
        let code = until("the program has ended", || child.try_wait().unwrap()).code();
        let read = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        Run { code, out: read(&self.out), err: read(&self.err) }
    }

    /// Waits until it has said `text` on stderr.
    #[cfg(unix)]
    pub(crate) fn until_it_says(&self, text: &str) {
        until(text, || std::fs::read_to_string(&self.err).unwrap().contains(text).then_some(()));
    }

    #[cfg(unix)]
    pub(crate) fn interrupt(&self) {
        let status =
            Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing but a failed test leaves it running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} until: {what}");
        sleep(PAUSE);
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.out, self.err)
    }
}

/// Events of the made-up log.
pub(crate) const EVENTS: u64 = 600;
/// Time from its first to its last event.
pub(crate) const SECONDS: f64 = 29.95;

/// The log that the variable `BUSLANE_REPLAY_LOG` names, or the one beside the repository, or a
/// made-up one.
pub(crate) fn recorded() -> PathBuf {
    if let Some(named) = std::env::var_os("BUSLANE_REPLAY_LOG") {
        return named.into();
    }
    let beside =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/incidents-2013.csv.gz");
    if beside.exists() { beside } else { gzip("instead.csv.gz") }
}

/// The numbers of each case as a log has them.
pub(crate) fn cases(log: &Path) -> BTreeMap<String, Vec<u64>> {
    let bytes = fs::read(log).unwrap();
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        MultiGzDecoder::new(&*bytes).read_to_string(&mut text).unwrap();
    } else {
        text = String::from_utf8(bytes).unwrap();
    }
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let mut cases: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for row in reader.deserialize() {
        let row: BTreeMap<String, String> = row.unwrap();
        cases.entry(row["case_id"].clone()).or_default().push(row["seq"].parse().unwrap());
    }
    cases
}

/// Cases of very different lengths, interleaved, 20 events a second.
pub(crate) fn text() -> String {
    let mut lengths = BTreeMap::new();
    let mut text = "timestamp,case_id,seq,activity,transition,group\n".to_owned();
    for event in 0..EVENTS {
        let case = (event * event + event / 7) % 40 % (event % 40 + 1);
        let seq = lengths.entry(case).and_modify(|seq| *seq += 1).or_insert(1);
        let (second, millisecond) = (event / 20, event % 20 * 50);
        writeln!(
            text,
            "2010-03-31T16:59:{second:02}.{millisecond:03}+02:00,1-{case},{seq},Accepted,\"In Progress, \"\"new\"\"\",V5 3rd"
        )
        .unwrap();
    }
    text
}

pub(crate) fn plain(name: &str, text: &str) -> PathBuf {
    let path = file(name);
    fs::write(&path, text).unwrap();
    path
}

/// The made-up log, packed.
pub(crate) fn gzip(name: &str) -> PathBuf {
    let path = file(name);
    let mut packed = GzEncoder::new(File::create(&path).unwrap(), Compression::default());
    packed.write_all(text().as_bytes()).unwrap();
    packed.finish().unwrap();
    path
}
