//! Addresses and unique names for tests that share a real server.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// The address of a server, from an environment variable.
///
/// # Panics
/// When the variable is not set: a missing server must not skip a test.
#[must_use]
#[allow(
    clippy::disallowed_methods,
    reason = "only the environment knows the address of a test server"
)]
pub fn address(variable: &str) -> String {
    let Ok(address) = std::env::var(variable) else {
        panic!(
            "{variable} names no server; `cargo xtask test` starts one, `cargo xtask brokers up` too"
        );
    };
    address
}

/// A name that is unique on the server.
///
/// # Panics
/// When the clock is before 1970.
#[must_use]
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("a clock that goes")
        .as_nanos();
    format!("{what}-{now:x}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A Kafka or NATS server that ends when this value is dropped.
///
/// # Panics
/// Every call panics when the server does not carry out the command.
pub struct OwnServer {
    /// The server's address, which survives a restart.
    pub address: String,
    child: Child,
    words: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl OwnServer {
    /// Starts a Kafka server, and waits until it answers.
    #[must_use]
    pub fn start() -> Self {
        Self::serve(Command::new(address("BUSLANE_TEST_XTASK")).args(["brokers", "serve"]))
    }

    /// Starts a NATS server, and waits until it answers. `config` is added to its configuration.
    #[must_use]
    pub fn nats(config: &str) -> Self {
        Self::nats_with(config, &[])
    }

    /// As [`OwnServer::nats`], with a version other than that of the shared server.
    #[must_use]
    pub fn nats_of(version: &str) -> Self {
        Self::nats_with("", &["--nats-version", version])
    }

    fn nats_with(config: &str, more: &[&str]) -> Self {
        let file = std::env::temp_dir().join(format!("{}.conf", unique("buslane-nats")));
        std::fs::write(&file, config).expect("a file of settings");
        let mut program = Command::new(address("BUSLANE_TEST_XTASK"));
        program.args(["brokers", "serve", "--only", "nats", "--nats-config"]).arg(&file);
        let server = Self::serve(program.args(more));
        let _ = std::fs::remove_file(file);
        server
    }

    fn serve(program: &mut Command) -> Self {
        let mut child = program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program that starts servers");
        let words = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = answers.next().expect("a server that starts").expect("its address");
        Self { address, child, words, answers }
    }

    /// Pauses the server: connections stay open, and requests get no answer.
    pub fn pause(&mut self) {
        self.tell("pause");
    }

    /// Resumes the server.
    pub fn resume(&mut self) {
        self.tell("continue");
    }

    /// Kills the server, which flushes nothing to its disk.
    pub fn kill(&mut self) {
        self.tell("kill");
    }

    /// Starts the server again, with the same address and data.
    pub fn start_again(&mut self) {
        self.tell("start");
    }

    fn tell(&mut self, word: &str) {
        writeln!(self.words.as_mut().expect("open until the end"), "{word}")
            .expect("a program that listens");
        let answer = self.answers.next().expect("a program that answers").expect("text");
        assert_eq!(answer, "done", "after {word}");
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // The end of its input stops the program, which stops the server.
        self.words = None;
        let _ = self.child.wait();
    }
}
