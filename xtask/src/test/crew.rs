//! Runs test programs beside each other: most tests of a real broker wait for it, and leave the
//! processor to others.

use std::collections::VecDeque;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::programs::Program;
use xtask_base::process::command;

/// Programs at once. Each runs several tests at once already.
const BESIDE: usize = 3;

/// What came of one program.
pub(super) struct Ended {
    pub(super) name: String,
    pub(super) has_passed: bool,
    pub(super) time: Duration,
    /// All that it said.
    pub(super) output: String,
}

/// Runs each of them once, and hands over what came of it; `arrange` adds what they all are to be
/// given.
pub(super) fn run(
    programs: Vec<Program>,
    arrange: &(dyn Fn(&mut Command) + Sync),
    mut look: impl FnMut(Ended),
) {
    let waiting = Mutex::new(VecDeque::from(programs));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let (ended, all) = mpsc::sync_channel(BESIDE);
    std::thread::scope(|scope| {
        for _ in 0..BESIDE {
            let ended = ended.clone();
            let next = &next;
            scope.spawn(move || {
                while let Some(program) = next() {
                    // The receiver is there until the last one is done.
                    let _ = ended.send(run_one(&program, arrange));
                }
            });
        }
        drop(ended);
        all.iter().for_each(&mut look);
    });
}

fn run_one(program: &Program, arrange: &(dyn Fn(&mut Command) + Sync)) -> Ended {
    println!("begins: {}", program.name);
    let start = Instant::now();
    let mut test = command(&program.executable);
    test.current_dir(&program.folder).stdout(Stdio::piped()).stderr(Stdio::piped());
    arrange(&mut test);
    let (has_passed, output) = match test.output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr]
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            (output.status.success(), text.concat())
        }
        Err(error) => (false, format!("{}: {error}\n", program.executable.display())),
    };
    Ended { name: program.name.clone(), has_passed, time: start.elapsed(), output }
}
