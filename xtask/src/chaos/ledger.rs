//! The ledgers of all processes of a round, merged and judged. Shares nothing with the program that wrote them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use crate::process::Result;

/// Messages of this topic are over after one attempt, however it ended.
const REGULAR: &str = "cache.invalidate";

/// One attempt, as its handler's process wrote it down.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    place: (String, u32),
    offset: u64,
    aggregate: String,
    outcome: String,
    start_ns: u64,
    end_ns: u64,
    process: u32,
}

/// A time in which redeliveries are to be expected: of one process, or of all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Excuse {
    pub(super) process: Option<u32>,
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
}

/// What became of the messages of a round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Verdict {
    pub(super) handled: u64,
    pub(super) lost: u64,
    pub(super) order_violations: u64,
    /// Handled again, as a crash or an outage explains.
    pub(super) redelivered: u64,
    /// Handled again without such a reason.
    pub(super) duplicates: u64,
    /// Two handlers of one aggregate at once: the old owner had not ended when the new one began.
    pub(super) stragglers: u64,
}

impl Verdict {
    /// Stragglers have a reason when something was killed or cut off.
    pub(super) fn is_good(&self, has_excuses: bool) -> bool {
        self.lost + self.order_violations + self.duplicates == 0 && (has_excuses || self.stragglers == 0)
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.handled += other.handled;
        self.lost += other.lost;
        self.order_violations += other.order_violations;
        self.redelivered += other.redelivered;
        self.duplicates += other.duplicates;
        self.stragglers += other.stragglers;
    }
}

/// Everything that was handled since the first round: which offsets of which partition are over.
#[derive(Default)]
pub(super) struct Books {
    over: BTreeMap<(String, u32), BTreeSet<u64>>,
    published: u64,
}

impl Books {
    /// Messages that are over, by the ledgers in `files` and those of earlier rounds.
    pub(super) fn over_with(&self, files: &[impl AsRef<Path>]) -> Result<u64> {
        let mut over: BTreeSet<((String, u32), u64)> = BTreeSet::new();
        for line in lines(files)? {
            if line.is_over() && !self.over.get(&line.place).is_some_and(|known| known.contains(&line.offset)) {
                over.insert((line.place, line.offset));
            }
        }
        Ok(self.over() + over.len() as u64)
    }

    /// Messages that are over, of all rounds.
    pub(super) fn over(&self) -> u64 {
        self.over.values().map(|offsets| offsets.len() as u64).sum()
    }

    /// Adds a round: what was published in it, and the ledgers of its processes.
    pub(super) fn judge(&mut self, published: u64, files: &[impl AsRef<Path>], excuses: &[Excuse]) -> Result<Verdict> {
        let mut lines = lines(files)?;
        lines.sort_by_key(|line| (line.start_ns, line.end_ns));
        self.published += published;
        let mut verdict = Verdict::default();
        // Per topic: partitions of two topics may belong to two processes.
        let mut highest: HashMap<(String, String), u64> = HashMap::new();
        let mut running: HashMap<(String, String), (u64, u32)> = HashMap::new();
        let mut done_by: HashMap<((String, u32), u64), Line> = HashMap::new();
        for line in lines {
            let lane = (line.place.0.clone(), line.aggregate.clone());
            if !line.aggregate.is_empty() {
                let last = running.entry(lane.clone()).or_insert((0, line.process));
                if line.start_ns < last.0 && line.process != last.1 {
                    verdict.stragglers += 1;
                }
                if line.end_ns > last.0 {
                    *last = (line.end_ns, line.process);
                }
            }
            if !line.is_over() {
                continue;
            }
            if !self.over.entry(line.place.clone()).or_default().insert(line.offset) {
                let first = done_by.get(&(line.place.clone(), line.offset));
                let is_excused = first.is_some_and(|first| excuses.iter().any(|excuse| excuse.covers(first)));
                *(if is_excused { &mut verdict.redelivered } else { &mut verdict.duplicates }) += 1;
                continue;
            }
            verdict.handled += 1;
            if !line.aggregate.is_empty() {
                let highest = highest.entry(lane).or_default();
                if line.offset < *highest {
                    verdict.order_violations += 1;
                }
                *highest = line.offset.max(*highest);
            }
            done_by.insert((line.place.clone(), line.offset), line);
        }
        verdict.lost = self.missing();
        Ok(verdict)
    }

    /// Gaps between offsets, and what is missing of the sum.
    fn missing(&self) -> u64 {
        let gaps: u64 =
            self.over.values().map(|offsets| offsets.last().map_or(0, |last| last + 1 - offsets.len() as u64)).sum();
        gaps.max(self.published.saturating_sub(self.over()))
    }
}

impl Excuse {
    fn covers(&self, first: &Line) -> bool {
        self.process.is_none_or(|process| process == first.process)
            && (self.from_ns..=self.to_ns).contains(&first.end_ns)
    }
}

impl Line {
    fn is_over(&self) -> bool {
        self.outcome == "done" || self.place.0 == REGULAR
    }

    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split(',').collect();
        let [topic, partition, offset, aggregate, _seq, _attempt, outcome, start_ns, end_ns, process] = fields[..]
        else {
            return None;
        };
        Some(Self {
            place: (topic.to_owned(), partition.parse().ok()?),
            offset: offset.parse().ok()?,
            aggregate: aggregate.to_owned(),
            outcome: outcome.to_owned(),
            start_ns: start_ns.parse().ok()?,
            end_ns: end_ns.parse().ok()?,
            process: process.parse().ok()?,
        })
    }
}

/// All lines of these files. A process that was killed may have left half of its last one, which says nothing: that
/// handler had not ended.
fn lines(files: &[impl AsRef<Path>]) -> Result<Vec<Line>> {
    let mut all = Vec::new();
    for file in files {
        let file = file.as_ref();
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("cannot read {}: {error}", file.display()).into()),
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines().skip(1) {
            all.push(Line::parse(line).ok_or_else(|| format!("{}: not a line of a ledger: {line}", file.display()))?);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::{Books, Excuse, Verdict};
    use std::path::PathBuf;

    fn file(name: &str, lines: &[&str]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ledger-{}-{name}.csv", std::process::id()));
        let header = "topic,partition,offset,aggregate_id,seq,attempt,outcome,start_ns,end_ns,process_id\n";
        std::fs::write(&path, header.to_owned() + &lines.join("\n") + "\n").expect("a file");
        path
    }

    fn judge(name: &str, published: u64, lines: &[&str], excuses: &[Excuse]) -> Verdict {
        let path = file(name, lines);
        let verdict = Books::default().judge(published, &[&path], excuses).expect("a verdict");
        std::fs::remove_file(path).expect("it is there");
        verdict
    }

    #[test]
    fn in_order_and_complete_is_good() {
        let lines = ["orders,0,0,a,1,1,failed,1,2,7", "orders,0,0,a,1,2,done,3,4,7", "orders,0,1,a,2,1,done,5,6,8"];
        let verdict = judge("good", 2, &lines, &[]);
        assert_eq!(verdict, Verdict { handled: 2, ..Verdict::default() });
        assert!(verdict.is_good(false));
    }

    #[test]
    fn a_gap_and_a_missing_end_are_lost() {
        assert_eq!(judge("gap", 2, &["orders,0,1,a,2,1,done,5,6,8"], &[]).lost, 1);
        assert_eq!(judge("end", 3, &["orders,0,0,a,1,1,done,5,6,8"], &[]).lost, 2);
    }

    #[test]
    fn a_later_message_done_first_is_a_violation() {
        let lines = ["orders,0,1,a,2,1,done,1,2,7", "orders,0,0,a,1,1,done,3,4,7"];
        let verdict = judge("order", 2, &lines, &[]);
        assert_eq!((verdict.order_violations, verdict.lost), (1, 0));
        assert!(!verdict.is_good(true));
    }

    #[test]
    fn a_second_time_needs_an_excuse() {
        let lines = ["orders,0,0,a,1,1,done,1,2,7", "orders,0,0,a,1,1,done,30,40,8"];
        assert_eq!(judge("again", 1, &lines, &[]).duplicates, 1);
        let excuse = |process, to_ns| [Excuse { process, from_ns: 0, to_ns }];
        assert_eq!(judge("killed", 1, &lines, &excuse(Some(7), 10)).redelivered, 1);
        assert_eq!(judge("outage", 1, &lines, &excuse(None, 10)).redelivered, 1);
        assert_eq!(judge("other", 1, &lines, &excuse(Some(8), 10)).duplicates, 1);
        assert_eq!(judge("before", 1, &lines, &excuse(Some(7), 1)).duplicates, 1);
    }

    #[test]
    fn two_processes_at_once_are_a_straggler() {
        let lines = ["orders,0,0,a,1,1,done,1,9,7", "orders,0,1,a,2,1,done,5,10,8"];
        let verdict = judge("twice", 2, &lines, &[]);
        assert_eq!(verdict.stragglers, 1);
        assert!(!verdict.is_good(false) && verdict.is_good(true));
    }
}
