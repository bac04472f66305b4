//! `cargo xtask brokers serve`: a broker for a single test, which may break it. The test says what
//! is to be done, a word a line, and hears `done` when it is; the broker ends with its input.

use std::io::Write;

use super::hold::{self, Held};
use super::{Folder, Only, ServeArgs, kafka, nats};
use xtask_base::process::{PROGRAM, Result};

/// The variable that names this program to tests.
pub fn variable() -> Result<(&'static str, String)> {
    Ok(("BUSLANE_TEST_XTASK", PROGRAM.as_ref().map_err(String::as_str)?.display().to_string()))
}

pub(super) fn run(folder: &Folder, args: &ServeArgs) -> Result<()> {
    hold::stop_when_interrupted(folder)?;
    hold::sweep(folder)?;
    let extra = match &args.nats_config {
        Some(file) => {
            std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?
        }
        None => String::new(),
    };
    let mut held = match args.only {
        Only::Kafka => kafka::start(folder, 1, kafka::Purpose::Tests)?,
        Only::Nats => nats::start(folder, &args.nats_version, 1, &extra)?,
    };
    say(&held.run.address())?;
    for line in std::io::stdin().lines() {
        obey(&mut held, &line?)?;
        say("done")?;
    }
    Ok(())
}

fn obey(held: &mut Held, word: &str) -> Result<()> {
    match word {
        "pause" => held.pause(0)?,
        "continue" => held.go_on(0),
        "kill" => held.kill(0)?,
        "start" => held.start_again(0)?,
        other => return Err(format!("`{other}` is none of pause, continue, kill, start").into()),
    }
    Ok(())
}

fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
