//! A recorded event log with default settings: one process publishes it, two consume it, and one of
//! the two is killed and restarted repeatedly.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::fleet::{Backend, Consumer, Fault, Fleet};
use crate::ledger::{Audit, Ledgers, Verdict};
use xtask_base::process::{Result, write_file};
use xtask_base::programs::Profile;

/// Time without progress after which missing messages count as lost; longer than the session of a
/// dead member.
const STALLED: Duration = Duration::from_secs(180);
/// Number of findings that are printed.
const SHOWN: usize = 10;
const LOOK: Duration = Duration::from_millis(200);

#[derive(clap::Args, Clone)]
pub(crate) struct Replay {
    /// Replay a recorded event log instead of rounds, with default settings: CSV, plain or gzip, as
    /// the order service reads it
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["rounds", "events", "aggregates", "processes", "faults_per_round", "faults"]
    )]
    pub(crate) replay: Option<PathBuf>,
    /// Number of kills of one of the two consumers; the log is replayed until all of them have
    /// happened
    #[arg(long, default_value_t = 10, requires = "replay")]
    kills: u64,
    /// Events a second
    #[arg(long, default_value_t = 500, requires = "replay", value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
}

impl Replay {
    /// No replay.
    pub(super) const fn none() -> Self {
        Self { replay: None, kills: 0, rate: 0 }
    }
}

/// The outcome of a run.
#[derive(Debug, Serialize)]
struct Report {
    backend: String,
    seed: u64,
    kills: u64,
    /// Number of times that the log was published, one after the other.
    replays: u64,
    published: u64,
    handled: u64,
    lost: u64,
    out_of_order: u64,
    /// Two processes ran handlers of one aggregate at the same time.
    overlaps: u64,
    /// Handled again, because a process was killed before the broker knew that it had handled them.
    redelivered: u64,
    /// Handled again without a kill or an outage that explains it.
    duplicates: u64,
    seconds: f64,
}

impl Report {
    const fn is_good(&self) -> bool {
        self.lost + self.out_of_order + self.overlaps + self.duplicates == 0
    }
}

/// Runs until the consumer was killed as often as requested and every message is handled. Fails
/// when a promise was broken.
pub(super) fn run(
    backend: &Backend,
    args: &super::Args,
    log: &Path,
    profile: Profile,
) -> Result<()> {
    if backend.is_shared {
        return Err(
            "--shared: cannot be used with --replay, whose topics are as they are by default"
                .into(),
        );
    }
    let backend = backend.with_defaults();
    let log = std::path::absolute(log)?;
    let mut fleet = super::fleet(&backend, args, profile)?.keep(1, 2..=2);
    let mut audit = Audit::new(backend.numbering);
    let start = Instant::now();
    let mut run = Run {
        fleet: &mut fleet,
        audit: &mut audit,
        ledgers: Ledgers::default(),
        kills: 0,
        replays: 0,
    };
    let published = run.until_over(args, &log)?;
    let (kills, replays) = (run.kills, run.replays);
    let Verdict { handled, lost, order_violations, redelivered, duplicates, stragglers } =
        audit.close(published, &fleet.take_excuses());
    let report = Report {
        backend: backend.kind.to_string(),
        seed: args.seed,
        kills,
        replays,
        published,
        handled,
        lost,
        out_of_order: order_violations,
        overlaps: stragglers,
        redelivered,
        duplicates,
        seconds: start.elapsed().as_secs_f64(),
    };
    let text = serde_json::to_string_pretty(&report)?;
    audit.findings().iter().take(SHOWN).for_each(|finding| println!("{finding}"));
    println!("{text}");
    if let Some(file) = &args.report {
        write_file(file, &(text + "\n"))?;
    }
    if report.is_good() { Ok(()) } else { Err("the replay broke a promise".into()) }
}

struct Run<'a> {
    fleet: &'a mut Fleet,
    audit: &'a mut Audit,
    ledgers: Ledgers,
    kills: u64,
    replays: u64,
}

impl Run<'_> {
    /// Returns how many messages were published.
    fn until_over(&mut self, args: &super::Args, log: &Path) -> Result<u64> {
        let bar = ProgressBar::no_length();
        bar.set_style(ProgressStyle::with_template("{elapsed_precise} {spinner} {msg}")?);
        self.fleet.start_consumer()?;
        self.fleet.start_consumer()?;
        let mut publisher = self.replay(args, log)?;
        let (mut published, mut over, mut progress) = (0, 0, Instant::now());
        let (mut is_published, mut next_kill) = (false, None);
        loop {
            std::thread::sleep(LOOK);
            if !is_published && let Some(more) = publisher.published()? {
                published += more;
                is_published = self.kills >= args.replay.kills;
                if !is_published {
                    publisher = self.replay(args, log)?;
                }
            }
            self.read()?;
            if self.audit.over() > over {
                (over, progress) = (self.audit.over(), Instant::now());
            }
            let (kills, replays) = (self.kills, self.replays);
            bar.set_message(format!(
                "{over} handled, {kills} of {} kills, replay {replays}",
                args.replay.kills
            ));
            if let Some(log) = self.fleet.find_dead()? {
                return Err(format!("a consumer ended by itself: {}", log.display()).into());
            }
            if (is_published && over >= published) || progress.elapsed() > STALLED {
                break;
            }
            if !is_published && self.kills < args.replay.kills {
                next_kill = self.kill_when_due(next_kill)?;
            }
        }
        bar.finish_and_clear();
        self.fleet.dismiss()?;
        self.read()?;
        Ok(published)
    }

    fn replay(&mut self, args: &super::Args, log: &Path) -> Result<crate::fleet::Publisher> {
        self.replays += 1;
        self.fleet.site.replayer(log, args.replay.rate)
    }

    fn read(&mut self) -> Result<()> {
        self.fleet.new_ledgers().iter().for_each(|file| self.ledgers.watch(file));
        self.ledgers.read(self.audit)
    }

    /// Kills the second consumer some time after it has begun to handle messages.
    fn kill_when_due(&mut self, due: Option<Instant>) -> Result<Option<Instant>> {
        let Some(due) = due else {
            let victim = self.fleet.consumers().last().map(Consumer::process);
            let has_begun = victim.is_some_and(|victim| self.audit.attempts_of(victim) > 0);
            let pause = Duration::from_millis(300 + self.fleet.dice.below(4_000));
            return Ok(has_begun.then(|| Instant::now() + pause));
        };
        if Instant::now() < due {
            return Ok(Some(due));
        }
        self.fleet.inject(Fault::Kill)?;
        self.kills += 1;
        Ok(None)
    }
}
