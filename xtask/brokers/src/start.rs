//! What starting any broker has in common: waiting with a word now and then, reading its log when
//! it dies, and beginning again when somebody else was quicker to take a port.

use std::error::Error;
use std::time::{Duration, Instant};

use super::hold::{Held, unless_interrupted};
use xtask_base::process::Result;

/// Long, because the brokers start beside a build that keeps every core busy.
const START_DEADLINE: Duration = Duration::from_secs(120);
const PROGRESS_EVERY: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 3;
const LOG_LINES: usize = 15;

/// Why a broker has not come up.
pub(super) enum Failure {
    /// Other ports may do.
    PortTaken(String),
    Other(Box<dyn Error>),
}

impl<E: Into<Box<dyn Error>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Starts it, with new ports each time, until no port is taken.
pub(super) fn with_new_ports(
    mut start: impl FnMut() -> std::result::Result<Held, Failure>,
) -> Result<Held> {
    for attempt in 1.. {
        match start() {
            Ok(held) => return Ok(held),
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::PortTaken(text)) if attempt == ATTEMPTS => return Err(text.into()),
            Err(Failure::PortTaken(_)) => {
                eprintln!("a port was taken by someone else: beginning again with others")
            }
        }
    }
    Err("not started".into())
}

/// Waits until node `at` answers. The end of its log is shown when it ends or does not answer in
/// time.
pub(super) fn wait_for(
    held: &Held,
    at: usize,
    answers: impl Fn() -> bool,
) -> std::result::Result<(), Failure> {
    let name = format!("{}-{}", held.run.kind, at + 1);
    let process = held.run.nodes[at].process;
    let start = Instant::now();
    let mut told = start;
    while !answers() {
        let is_alive = process.is_alive();
        if !is_alive || start.elapsed() > START_DEADLINE {
            drop(unless_interrupted());
            let text =
                String::from_utf8_lossy(&std::fs::read(held.run.log(at)).unwrap_or_default())
                    .into_owned();
            let what = if is_alive {
                "does not answer after two minutes"
            } else {
                "has ended instead of becoming ready"
            };
            let message =
                format!("{name} {what}; the last lines of its log:\n{}", last_lines(&text));
            let is_port = text.to_lowercase().contains("address already in use");
            return Err(if is_port {
                Failure::PortTaken(message)
            } else {
                Failure::Other(message.into())
            });
        }
        if told.elapsed() > PROGRESS_EVERY {
            told = Instant::now();
            eprintln!("waiting for {name}, {} s", start.elapsed().as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
    last.iter().map(|line| format!("{line:.300}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{ATTEMPTS, Failure, last_lines, with_new_ports};

    #[test]
    fn a_taken_port_is_tried_again_and_another_failure_is_not() {
        let error_after = |failure: fn() -> Failure| {
            let mut attempts = 0;
            let result = with_new_ports(|| {
                attempts += 1;
                Err(failure())
            });
            (attempts, result.err().map(|error| error.to_string()))
        };
        assert_eq!(
            error_after(|| Failure::PortTaken("taken".to_owned())),
            (ATTEMPTS, Some("taken".to_owned()))
        );
        assert_eq!(error_after(|| Failure::Other("broken".into())), (1, Some("broken".to_owned())));
    }

    #[test]
    fn a_long_log_is_cut_to_its_end() {
        let text: String = (0..100).map(|number| format!("line {number}\n")).collect();
        assert!(
            last_lines(&text).starts_with("line 85\n") && last_lines(&text).ends_with("line 99")
        );
        assert_eq!(last_lines("one\ntwo"), "one\ntwo");
        assert_eq!(last_lines(""), "");
    }
}
