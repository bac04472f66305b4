//! The run of a soak: messages at a steady rate, one fault after the other, and ledgers that are
//! read meanwhile.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Args;
use super::observer::{Observer, Seat, Seen};
use super::record::Series;
use crate::fleet::{Consumer, Deck, Fleet, Publisher, now_ns};
use crate::ledger::{Audit, Ledgers, Snapshot, Verdict};
use xtask_base::process::Result;

const LOOK: Duration = Duration::from_millis(200);
/// Age after which a handler has ended and its line is written, even across a pause of its process.
const SETTLED: Duration = Duration::from_secs(60);
/// Excuses are kept as long as the audit remembers which process handled a message.
const EXCUSED: Duration = Duration::from_secs(660);
/// Time without progress, after the publisher's end, after which missing messages count as lost.
const STALLED: Duration = Duration::from_secs(60);
/// Time by which the publisher may be late at the end, because outages delay it.
const PATIENCE: Duration = Duration::from_secs(600);
const RATE_OVER: Duration = Duration::from_secs(3);
const RATES: usize = 4_096;
/// Number of failures that are kept.
const FAILURES: usize = 20;

/// A fault and its time.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Mark {
    pub(super) at: f64,
    pub(super) fault: String,
}

/// The state of the run.
pub(super) struct State {
    pub(super) seconds: f64,
    pub(super) published: Option<u64>,
    pub(super) verdict: Verdict,
    /// Messages that are not over, although later ones are.
    pub(super) open: u64,
    pub(super) late: u64,
    pub(super) findings: Vec<String>,
    pub(super) marks: Vec<Mark>,
    pub(super) rates: Series,
    pub(super) seen: Seen,
    /// Restarts of actors beyond the injected panics, and processes that ended without a request.
    pub(super) unexplained: u64,
    pub(super) explained: u64,
    /// Other failures.
    pub(super) failures: Vec<String>,
    pub(super) has_excuses: bool,
}

/// Called repeatedly with the state and the last fault.
pub(super) type Show<'a> = dyn FnMut(&dyn Fn() -> State, &str) -> Result<()> + 'a;

pub(super) struct Soak<'a> {
    args: &'a Args,
    fleet: Fleet,
    faults: Deck,
    audit: Audit,
    /// Messages that were over before this run.
    earlier: u64,
    ledgers: Ledgers,
    observer: Observer,
    begun: Instant,
    marks: Vec<Mark>,
    rates: Series,
    rated: (Instant, u64),
    ended_by_themselves: u64,
    failures: Vec<String>,
}

impl<'a> Soak<'a> {
    pub(super) fn new(
        args: &'a Args,
        audit: Audit,
        fleet: Fleet,
        observer: Observer,
        begun: Instant,
    ) -> Self {
        Self {
            args,
            fleet,
            faults: Deck::new(&args.faults),
            earlier: audit.over(),
            audit,
            ledgers: Ledgers::default(),
            observer,
            begun,
            marks: Vec::new(),
            rates: Series::new(RATES),
            rated: (begun, 0),
            ended_by_themselves: 0,
            failures: Vec::new(),
        }
    }

    /// Runs the soak to its end. Returns its state, and the messages that are over.
    pub(super) fn run(mut self, show: &mut Show<'_>) -> Result<(State, Snapshot)> {
        for _ in 0..self.args.processes {
            self.fleet.start_consumer()?;
        }
        let mut publisher = self.publisher()?;
        let mut published = None;
        let mut progress = (Instant::now(), 0);
        let mut next_fault = Instant::now() + self.pause();
        loop {
            std::thread::sleep(LOOK);
            published = match published {
                None => publisher.published()?,
                known => known,
            };
            self.look()?;
            let over = self.over();
            if over > progress.1 {
                progress = (Instant::now(), over);
            }
            let last = self.marks.last().map_or("", |mark| &mark.fault).to_owned();
            show(&|| self.state(published), &last)?;
            let has_all = published.is_some_and(|published| over >= published);
            if has_all || (published.is_some() && progress.0.elapsed() > STALLED) {
                break;
            }
            if self.begun.elapsed() > self.args.length.time() + PATIENCE {
                self.fail("the publisher did not come to its end".to_owned());
                break;
            }
            if published.is_none() && Instant::now() >= next_fault {
                self.inject();
                next_fault = Instant::now() + self.pause();
            }
        }
        if let Err(error) = self.fleet.dismiss() {
            self.fail(error.to_string());
        }
        self.look()?;
        // The broker is killed before a later run continues with its data.
        if let Err(error) = self.fleet.kill_broker() {
            self.fail(error.to_string());
        }
        let verdict = self.audit.close(published.unwrap_or(0), self.fleet.excuses());
        Ok((State { verdict, ..self.state(published) }, self.audit.snapshot()))
    }

    /// Messages of this run that are over.
    fn over(&self) -> u64 {
        self.audit.over() - self.earlier
    }

    fn publisher(&mut self) -> Result<Publisher> {
        // One regular message comes with every ten envelopes.
        let events = self.args.rate * self.args.length.time().as_secs() * 10 / 11;
        self.fleet.site.publisher(
            events.max(1),
            self.args.aggregates,
            self.args.seed,
            Some(self.args.rate),
        )
    }

    /// Between half and one and a half times the requested mean.
    fn pause(&mut self) -> Duration {
        let every = self.args.fault_seconds * 1_000;
        Duration::from_millis(every / 2 + self.fleet.dice.below(every.max(1)))
    }

    fn inject(&mut self) {
        let Some(fault) = self.faults.draw(&mut self.fleet.dice) else { return };
        self.marks.push(Mark { at: self.begun.elapsed().as_secs_f64(), fault: fault.name() });
        if let Err(error) = self.fleet.inject(fault) {
            self.fail(format!("{}: {error}", fault.name()));
        }
    }

    /// Reads new lines, judges those that are old enough, and drops finished ledgers.
    fn look(&mut self) -> Result<()> {
        while let Some(log) = self.fleet.find_dead()? {
            self.ended_by_themselves += 1;
            self.fail(format!("a consumer ended by itself: {}", log.display()));
            self.fleet.start_consumer()?;
        }
        self.observer.look_at(self.fleet.consumers().iter().map(seat).collect());
        self.fleet.new_ledgers().iter().for_each(|file| self.ledgers.watch(file));
        self.ledgers.read(&mut self.audit)?;
        for gone in self.fleet.take_ended() {
            self.ledgers.finish(&gone.ledger, &mut self.audit)?;
            remove(&gone.ledger)?;
        }
        let settled = now_ns().saturating_sub(nanos(SETTLED));
        self.audit.judge_until(settled, self.fleet.excuses());
        self.fleet.forget_excuses(settled.saturating_sub(nanos(EXCUSED)));
        let since = self.rated.0.elapsed();
        if since >= RATE_OVER {
            let over = self.over();
            let rate = (over - self.rated.1) as f64 / since.as_secs_f64();
            self.rates.push(self.begun.elapsed().as_secs_f64(), rate);
            self.rated = (Instant::now(), over);
        }
        Ok(())
    }

    fn state(&self, published: Option<u64>) -> State {
        let seen = self.observer.seen().clone();
        let (mut explained, mut unexplained) = (0, self.ended_by_themselves);
        for record in seen.records.values() {
            let panics = self.audit.panics_of(record.process);
            explained += record.restarts.min(panics);
            unexplained += record.restarts.saturating_sub(panics);
        }
        State {
            seconds: self.begun.elapsed().as_secs_f64(),
            published,
            verdict: self.audit.verdict(),
            open: self.audit.open(),
            late: self.audit.late(),
            findings: self.audit.findings().to_vec(),
            marks: self.marks.clone(),
            rates: self.rates.clone(),
            seen,
            unexplained,
            explained,
            failures: self.failures.clone(),
            has_excuses: !self.marks.is_empty(),
        }
    }

    fn fail(&mut self, failure: String) {
        eprintln!("{failure}");
        if self.failures.len() < FAILURES {
            self.failures.push(failure);
        }
    }
}

fn seat(consumer: &Consumer) -> Seat {
    Seat { number: consumer.number, process: consumer.process(), log: consumer.log.clone() }
}

fn remove(ledger: &Path) -> Result<()> {
    let ledger: PathBuf = ledger.to_owned();
    match std::fs::remove_file(&ledger) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", ledger.display()).into())
        }
        _ => Ok(()),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
