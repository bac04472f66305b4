//! One round: a publisher, some consumers, and faults at random times until everything is handled.

use std::time::{Duration, Instant};

use super::Args;
use crate::fleet::{Fault, Fleet};
use crate::ledger::{Books, Ledgers, Verdict};
use xtask_base::process::Result;

/// Nothing new is handled for so long: what is missing is lost.
const STALLED: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);

pub(super) struct Outcome {
    pub(super) faults: Vec<Fault>,
    pub(super) verdict: Verdict,
    pub(super) has_excuses: bool,
    pub(super) seconds: f64,
}

/// Runs a round on a fleet without consumers, and leaves it without.
pub(super) fn run(
    args: &Args,
    fleet: &mut Fleet,
    books: &mut Books,
    seed: u64,
    show: &mut dyn FnMut(u64, &str),
) -> Result<Outcome> {
    let start = Instant::now();
    let mut ledgers = Ledgers::default();
    for _ in 0..args.processes {
        fleet.start_consumer()?;
    }
    let mut publisher = fleet.site.publisher(args.events, args.aggregates, seed, None)?;
    let before = books.over();
    let (mut published, mut faults, mut over) = (None, Vec::new(), before);
    let mut progress = Instant::now();
    let mut next_fault = Instant::now() + pause(fleet);
    loop {
        std::thread::sleep(LOOK);
        if published.is_none() {
            published = publisher.published()?;
        }
        fleet.new_ledgers().iter().for_each(|file| ledgers.watch(file));
        ledgers.read(books)?;
        let now = books.over();
        if now > over {
            (over, progress) = (now, Instant::now());
        }
        show(over - before, &faults.last().map_or_else(String::new, |fault: &Fault| fault.name()));
        if let Some(log) = fleet.find_dead()? {
            return Err(format!("a consumer ended by itself: {}", log.display()).into());
        }
        let has_all = published.is_some_and(|published| over - before >= published);
        let is_over = faults.len() as u64 >= args.faults_per_round;
        if has_all || (published.is_some() && progress.elapsed() > STALLED) {
            break;
        }
        if !is_over && Instant::now() >= next_fault {
            if let Some(fault) = fleet.dice.one_of(&args.faults) {
                fleet.inject(fault)?;
                faults.push(fault);
            }
            next_fault = Instant::now() + pause(fleet);
        }
    }
    fleet.dismiss()?;
    fleet.new_ledgers().iter().for_each(|file| ledgers.watch(file));
    ledgers.read(books)?;
    let excuses = fleet.take_excuses();
    let verdict = books.close(published.unwrap_or(0), &excuses);
    Ok(Outcome {
        faults,
        verdict,
        has_excuses: !excuses.is_empty(),
        seconds: start.elapsed().as_secs_f64(),
    })
}

fn pause(fleet: &mut Fleet) -> Duration {
    Duration::from_millis(300 + fleet.dice.below(2_000))
}
