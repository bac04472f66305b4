//! What a run came to.

use crate::{
    audit::{Books, Sum, Verdict},
    options::Options,
};
use buslane::Backend;
use serde::Serialize;
use std::{fs::File, io::Write, path::Path};

/// So many findings are shown; the file has more.
const SHOWN: usize = 10;

/// Others read it: keys are never renamed.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    backend: String,
    seed: u64,
    seconds: u64,
    rate: u64,
    restarts: u64,
    healthy: Sum,
    hostile: Sum,
    #[serde(flatten)]
    verdict: Verdict,
    /// Why the run did not come to its end.
    pub(crate) problems: Vec<String>,
}

impl Report {
    pub(crate) fn new(backend: Backend, options: &Options, restarts: u64, books: &Books) -> Self {
        let verdict = books.judge();
        let (mut healthy, mut hostile) = (Sum::default(), Sum::default());
        for (kind, sum) in &verdict.kinds {
            let into = if kind == "healthy" { &mut healthy } else { &mut hostile };
            into.published += sum.published;
            into.handled += sum.handled;
            into.dead_letters += sum.dead_letters;
            into.skipped += sum.skipped;
            into.lost += sum.lost;
        }
        Self {
            backend: format!("{backend:?}").to_lowercase(),
            seed: options.seed,
            seconds: options.seconds,
            rate: options.rate,
            restarts,
            healthy,
            hostile,
            verdict,
            problems: Vec::new(),
        }
    }

    pub(crate) const fn is_good(&self) -> bool {
        self.verdict.is_good()
            && self.problems.is_empty()
            && self.healthy.published > 0
            && self.hostile.published > 0
    }

    #[allow(clippy::print_stdout, reason = "the table is what the program is for")]
    pub(crate) fn print(&self) {
        let outcome = if self.is_good() { "all accounted for" } else { "NOT all accounted for" };
        println!(
            "\nhostile input on {}, seed {}, {} s: {outcome}\n",
            self.backend, self.seed, self.seconds
        );
        println!(
            "  {:<10} {:>10} {:>10} {:>13} {:>10} {:>8}",
            "", "published", "handled", "dead letters", "skipped", "lost"
        );
        for (name, sum) in [("healthy", &self.healthy), ("hostile", &self.hostile)] {
            let Sum { published, handled, dead_letters, skipped, lost } = sum;
            println!(
                "  {name:<10} {published:>10} {handled:>10} {dead_letters:>13} {skipped:>10} {lost:>8}"
            );
        }
        let Verdict { order_violations, wrong_ends, altered, redelivered, .. } = &self.verdict;
        println!(
            "\n  order violations {order_violations}, wrong ends {wrong_ends}, altered {altered}"
        );
        println!("  handled again {redelivered}, restarts {}", self.restarts);
        for (reason, count) in &self.verdict.refused {
            println!("  not taken by the broker: {count} x {reason}");
        }
        self.problems.iter().for_each(|problem| println!("\n  {problem}"));
        self.verdict.findings.iter().take(SHOWN).for_each(|finding| println!("  {finding}"));
    }

    pub(crate) fn write(&self, file: &mut File) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        writeln!(file, "{text}").map_err(|error| format!("--report: not written: {error}"))
    }
}

pub(crate) fn create(path: &Path) -> Result<File, String> {
    File::create(path)
        .map_err(|error| format!("--report {}: cannot be written: {error}", path.display()))
}
