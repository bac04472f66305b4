//! Starts the order service and waits for it, never for ever.

use std::{
    fmt,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

const DEADLINE: Duration = Duration::from_secs(240);
const PAUSE: Duration = Duration::from_millis(20);

/// A file of these tests.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("order-service-{name}"))
}

/// The order service with arguments, away from the settings of whoever runs the tests.
pub(crate) struct Program {
    command: Command,
    out: PathBuf,
    err: PathBuf,
}

/// What it came to.
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
