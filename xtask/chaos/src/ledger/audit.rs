//! The fate of every message: whether it is over, in which order it ran, and why it ran more than
//! once.
//!
//! Lines are judged in the order in which handlers began, so they wait until none that began
//! earlier can still come. What is kept does not grow with the number of messages.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

/// The process that handled a message is remembered for this time; every redelivery comes sooner.
const REMEMBERED_NS: u64 = 600_000_000_000;
/// Number of findings that are kept.
const FINDINGS: usize = 100;

/// A time span that explains redeliveries: of one process, or of all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Excuse {
    pub(crate) process: Option<u32>,
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
}

/// Counts of the messages' fates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) handled: u64,
    pub(crate) lost: u64,
    pub(crate) order_violations: u64,
    /// Handled again, explained by a crash or an outage.
    pub(crate) redelivered: u64,
    /// Handled again without a kill or an outage that explains it.
    pub(crate) duplicates: u64,
    /// Two handlers of one aggregate at once: the old owner had not ended when the new one began.
    pub(crate) stragglers: u64,
}

impl Verdict {
    /// A kill or an outage explains stragglers. Where members share topics, stragglers and another
    /// order are permitted.
    pub(crate) fn is_good(&self, has_excuses: bool, is_shared: bool) -> bool {
        self.lost + self.duplicates == 0
            && (is_shared || (self.order_violations == 0 && (has_excuses || self.stragglers == 0)))
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.handled += other.handled;
        self.lost += other.lost;
        self.order_violations += other.order_violations;
        self.redelivered += other.redelivered;
        self.duplicates += other.duplicates;
        self.stragglers += other.stragglers;
    }
}

/// How a broker counts messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// From 0, in each partition.
    OfPartitions,
    /// From 1, over all partitions of a topic.
    OfTopics,
}

impl Numbering {
    const fn first(self) -> u64 {
        match self {
            Self::OfPartitions => 0,
            Self::OfTopics => 1,
        }
    }

    /// A sequence of offsets.
    fn place(self, line: &Line) -> Place {
        let partition = if self == Self::OfPartitions { line.partition } else { 0 };
        (line.topic.clone(), partition)
    }
}

/// A topic and a partition of it.
type Place = (String, u32);
/// A topic and an aggregate: partitions of two topics may belong to two processes.
type Lane = (String, String);

/// Start and end of a line's handler; lines are judged in this order.
type Turn = (u64, u64, u64);

/// All handled messages.
pub(crate) struct Audit {
    numbering: Numbering,
    /// Offsets that are over, as soon as they are read.
    seen: BTreeMap<Place, Ranges>,
    waiting: BinaryHeap<Reverse<(Turn, usize)>>,
    lines: HashMap<usize, Line>,
    noted: usize,
    /// Offsets that are over, of judged lines.
    over: BTreeMap<Place, Ranges>,
    highest: HashMap<Lane, u64>,
    /// End and process of the last handler.
    running: HashMap<Lane, (u64, u32)>,
    done_by: HashMap<(Place, u64), Doer>,
    done: VecDeque<(u64, (Place, u64))>,
    judged_ns: u64,
    late: u64,
    verdict: Verdict,
    published: u64,
    attempts: HashMap<u32, u64>,
    panics: HashMap<u32, u64>,
    findings: Vec<String>,
}

/// What an audit knows of the messages that are over.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    over: Vec<(Place, Ranges)>,
    highest: Vec<(Lane, u64)>,
    published: u64,
}

#[derive(Debug, Clone, Copy)]
struct Doer {
    process: u32,
    end_ns: u64,
}

impl Audit {
    pub(crate) fn new(numbering: Numbering) -> Self {
        Self {
            numbering,
            seen: BTreeMap::new(),
            waiting: BinaryHeap::new(),
            lines: HashMap::new(),
            noted: 0,
            over: BTreeMap::new(),
            highest: HashMap::new(),
            running: HashMap::new(),
            done_by: HashMap::new(),
            done: VecDeque::new(),
            judged_ns: 0,
            late: 0,
            verdict: Verdict::default(),
            published: 0,
            attempts: HashMap::new(),
            panics: HashMap::new(),
            findings: Vec::new(),
        }
    }

    /// The audit after a close, for [`Audit::after`].
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            over: self.over.iter().map(|(place, ranges)| (place.clone(), ranges.clone())).collect(),
            highest: self.highest.iter().map(|(lane, offset)| (lane.clone(), *offset)).collect(),
            published: self.published,
        }
    }

    /// Continues after the messages of an earlier audit, none of which may be handled again.
    pub(crate) fn after(numbering: Numbering, earlier: Snapshot) -> Self {
        let over: BTreeMap<_, _> = earlier.over.into_iter().collect();
        let seen = over.clone();
        let (highest, published) = (earlier.highest.into_iter().collect(), earlier.published);
        Self { over, seen, highest, published, ..Self::new(numbering) }
    }

    /// Adds a line, to be judged later.
    pub(super) fn note(&mut self, line: Line) {
        if line.is_over() {
            self.seen.entry(self.numbering.place(&line)).or_default().insert(line.offset);
        }
        *self.attempts.entry(line.process).or_default() += 1;
        if line.costs_an_actor() {
            *self.panics.entry(line.process).or_default() += 1;
        }
        if line.start_ns < self.judged_ns {
            self.late += 1;
        }
        self.noted += 1;
        self.waiting.push(Reverse(((line.start_ns, line.end_ns, line.offset), self.noted)));
        self.lines.insert(self.noted, line);
    }

    /// Messages that are over, judged or not.
    pub(crate) fn over(&self) -> u64 {
        self.seen.values().map(Ranges::count).sum()
    }

    /// Messages that are not over, although later ones of their partition are.
    pub(crate) fn open(&self) -> u64 {
        missing(&self.seen, self.numbering.first())
    }

    /// Attempts of this process.
    pub(crate) fn attempts_of(&self, process: u32) -> u64 {
        self.attempts.get(&process).copied().unwrap_or(0)
    }

    /// Panics of this process after which an actor pool restarts an actor.
    pub(crate) fn panics_of(&self, process: u32) -> u64 {
        self.panics.get(&process).copied().unwrap_or(0)
    }

    /// Lines that came too late: lines of later handlers were judged before.
    pub(crate) const fn late(&self) -> u64 {
        self.late
    }

    /// The first findings.
    pub(crate) fn findings(&self) -> &[String] {
        &self.findings
    }

    /// Judges the lines of handlers that began before this time.
    pub(crate) fn judge_until(&mut self, until_ns: u64, excuses: &[Excuse]) {
        while self.waiting.peek().is_some_and(|Reverse((turn, _))| turn.0 < until_ns) {
            let Some(line) = self.waiting.pop().and_then(|Reverse((_, at))| self.lines.remove(&at))
            else {
                continue;
            };
            self.judge(&line, excuses);
        }
        self.judged_ns = self.judged_ns.max(until_ns);
        let forgotten = self.judged_ns.saturating_sub(REMEMBERED_NS);
        while self.done.front().is_some_and(|(end_ns, _)| *end_ns < forgotten) {
            if let Some((_, message)) = self.done.pop_front() {
                self.done_by.remove(&message);
            }
        }
    }

    /// The verdict on all lines judged since the last close. Losses are known only after the close.
    pub(crate) const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Judges all lines, given the number of messages published since the last close.
    pub(crate) fn close(&mut self, published: u64, excuses: &[Excuse]) -> Verdict {
        self.judge_until(u64::MAX, excuses);
        self.judged_ns = 0;
        self.published += published;
        let over = self.over.values().map(Ranges::count).sum();
        let lost =
            missing(&self.over, self.numbering.first()).max(self.published.saturating_sub(over));
        Verdict { lost, ..std::mem::take(&mut self.verdict) }
    }

    fn judge(&mut self, line: &Line, excuses: &[Excuse]) {
        let lane = (line.topic.clone(), line.aggregate.clone());
        if !line.aggregate.is_empty() {
            let last = self.running.entry(lane.clone()).or_insert((0, line.process));
            let is_straggler = line.start_ns < last.0 && line.process != last.1;
            if line.end_ns > last.0 {
                *last = (line.end_ns, line.process);
            }
            if is_straggler {
                self.verdict.stragglers += 1;
            }
        }
        if !line.is_over() {
            return;
        }
        let place = self.numbering.place(line);
        let message = (place.clone(), line.offset);
        if !self.over.entry(place).or_default().insert(line.offset) {
            let first = self.done_by.get(&message).copied();
            if first
                .is_some_and(|first| excuses.iter().any(|excuse| excuse.covers(first, line.doer())))
            {
                self.verdict.redelivered += 1;
            } else {
                self.verdict.duplicates += 1;
                self.find(format!("done again: {line:?}, first by {first:?}"));
            }
            return;
        }
        self.verdict.handled += 1;
        if !line.aggregate.is_empty() {
            let highest = self.highest.entry(lane).or_default();
            let is_behind = line.offset < *highest;
            *highest = line.offset.max(*highest);
            if is_behind {
                self.verdict.order_violations += 1;
                self.find(format!("after a later message of its aggregate: {line:?}"));
            }
        }
        self.done.push_back((line.end_ns, message.clone()));
        self.done_by.insert(message, line.doer());
    }

    fn find(&mut self, finding: String) {
        if self.findings.len() < FINDINGS {
            self.findings.push(finding);
        }
    }
}

/// Gaps between offsets.
fn missing(places: &BTreeMap<Place, Ranges>, first: u64) -> u64 {
    places.values().map(|offsets| offsets.missing_from(first)).sum()
}

impl Line {
    const fn doer(&self) -> Doer {
        Doer { process: self.process, end_ns: self.end_ns }
    }
}

impl Excuse {
    /// Whether this excuse explains that a message of process `first` ran again: the first run was
    /// not settled, or the process that repeats it does not know yet that it lost the partition.
    fn covers(&self, first: Doer, again: Doer) -> bool {
        [first, again].into_iter().any(|doer| {
            self.process.is_none_or(|process| process == doer.process)
                && (self.from_ns..=self.to_ns).contains(&doer.end_ns)
        })
    }
}

/// Messages of this topic are over after one attempt, however it ended.
const REGULAR: &str = "cache.invalidate";

/// One attempt, as its handler's process wrote it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) aggregate: String,
    pub(super) outcome: String,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) process: u32,
}

impl Line {
    /// Whether no attempt follows.
    pub(super) fn is_over(&self) -> bool {
        self.outcome == "done" || self.topic == REGULAR
    }

    /// Whether an actor pool restarts the actor after this attempt.
    pub(super) fn costs_an_actor(&self) -> bool {
        self.outcome == "panicked" && self.topic == REGULAR
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split(',').collect();
        let [
            topic,
            partition,
            offset,
            aggregate,
            _seq,
            _attempt,
            outcome,
            start_ns,
            end_ns,
            process,
        ] = fields[..]
        else {
            return None;
        };
        Some(Self {
            topic: topic.to_owned(),
            partition: partition.parse().ok()?,
            offset: offset.parse().ok()?,
            aggregate: aggregate.to_owned(),
            outcome: outcome.to_owned(),
            start_ns: start_ns.parse().ok()?,
            end_ns: end_ns.parse().ok()?,
            process: process.parse().ok()?,
        })
    }
}

/// Ranges, both ends included, in order; neighbours never touch.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Ranges {
    ranges: Vec<(u64, u64)>,
    count: u64,
}

impl Ranges {
    /// Returns whether the number is new.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= number);
        if after > 0 && number <= self.ranges[after - 1].1 {
            return false;
        }
        self.count += 1;
        let joins_before = after > 0 && self.ranges[after - 1].1 + 1 == number;
        let joins_after = self.ranges.get(after).is_some_and(|(first, _)| number + 1 == *first);
        match (joins_before, joins_after) {
            (true, true) => self.ranges[after - 1].1 = self.ranges.remove(after).1,
            (true, false) => self.ranges[after - 1].1 = number,
            (false, true) => self.ranges[after].0 = number,
            (false, false) => self.ranges.insert(after, (number, number)),
        }
        true
    }

    /// The count of its numbers.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// The count of missing numbers from `first` to the highest.
    pub(super) fn missing_from(&self, first: u64) -> u64 {
        self.ranges.last().map_or(0, |(_, last)| (last + 1 - first).saturating_sub(self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::{Audit, Excuse, Line, Numbering, Ranges, Verdict};

    fn audit(numbering: Numbering, lines: &[&str]) -> Audit {
        let mut audit = Audit::new(numbering);
        lines.iter().for_each(|line| audit.note(Line::parse(line).expect("a line")));
        audit
    }

    fn judge(published: u64, lines: &[&str], excuses: &[Excuse]) -> Verdict {
        audit(Numbering::OfPartitions, lines).close(published, excuses)
    }

    #[test]
    fn in_order_and_complete_is_good() {
        let lines = [
            "orders,0,0,a,1,1,failed,1,2,7",
            "orders,0,0,a,1,2,done,3,4,7",
            "orders,0,1,a,2,1,done,5,6,8",
        ];
        let verdict = judge(2, &lines, &[]);
        assert_eq!(verdict, Verdict { handled: 2, ..Verdict::default() });
        assert!(verdict.is_good(false, false));
    }

    #[test]
    fn a_gap_and_a_missing_end_are_lost() {
        assert_eq!(judge(2, &["orders,0,1,a,2,1,done,5,6,8"], &[]).lost, 1);
        assert_eq!(judge(3, &["orders,0,0,a,1,1,done,5,6,8"], &[]).lost, 2);
    }

    #[test]
    fn a_later_audit_knows_the_messages_of_an_earlier_one() {
        let mut first = audit(Numbering::OfPartitions, &["orders,0,0,a,1,1,done,1,2,7"]);
        assert_eq!(first.close(1, &[]).lost, 0);
        let snapshot = serde_json::to_string(&first.snapshot()).expect("JSON");
        let mut second = Audit::after(
            Numbering::OfPartitions,
            serde_json::from_str(&snapshot).expect("the same snapshot"),
        );
        let lines = ["orders,0,0,a,1,1,done,3,4,8", "orders,0,1,a,2,1,done,5,6,8"];
        lines.iter().for_each(|line| second.note(Line::parse(line).expect("a line")));
        let verdict = second.close(2, &[]);
        assert_eq!((verdict.handled, verdict.duplicates, verdict.lost), (1, 1, 1));
    }

    #[test]
    fn a_topic_numbers_its_messages_over_all_partitions() {
        let lines = [
            "orders,0,1,a,1,1,done,1,2,7",
            "orders,5,2,b,1,1,done,3,4,7",
            "orders,0,4,a,2,1,done,5,6,7",
        ];
        let verdict = audit(Numbering::OfTopics, &lines).close(3, &[]);
        assert_eq!((verdict.handled, verdict.lost), (3, 1));
    }

    #[test]
    fn a_later_message_done_first_is_a_violation() {
        let lines = ["orders,0,1,a,2,1,done,1,2,7", "orders,0,0,a,1,1,done,3,4,7"];
        let verdict = judge(2, &lines, &[]);
        assert_eq!((verdict.order_violations, verdict.lost), (1, 0));
        assert!(!verdict.is_good(true, false) && verdict.is_good(true, true));
    }

    #[test]
    fn a_second_time_needs_an_excuse() {
        let lines = ["orders,0,0,a,1,1,done,1,2,7", "orders,0,0,a,1,1,done,30,40,8"];
        assert_eq!(judge(1, &lines, &[]).duplicates, 1);
        let excuse = |process, to_ns| [Excuse { process, from_ns: 0, to_ns }];
        assert_eq!(judge(1, &lines, &excuse(Some(7), 10)).redelivered, 1);
        assert_eq!(judge(1, &lines, &excuse(None, 10)).redelivered, 1);
        assert_eq!(judge(1, &lines, &excuse(Some(8), 10)).duplicates, 1);
        assert_eq!(judge(1, &lines, &excuse(Some(7), 1)).duplicates, 1);
    }

    #[test]
    fn two_processes_at_once_are_a_straggler() {
        let lines = ["orders,0,0,a,1,1,done,1,9,7", "orders,0,1,a,2,1,done,5,10,8"];
        let verdict = judge(2, &lines, &[]);
        assert_eq!(verdict.stragglers, 1);
        assert!(!verdict.is_good(false, false) && verdict.is_good(true, false));
    }

    #[test]
    fn lines_wait_for_those_that_began_earlier() {
        let mut audit = audit(Numbering::OfPartitions, &["orders,0,1,a,2,1,done,30,40,7"]);
        audit.judge_until(20, &[]);
        audit.note(Line::parse("orders,0,0,a,1,1,done,25,50,8").expect("a line"));
        assert_eq!(
            (audit.over(), audit.open(), audit.late(), audit.verdict().handled),
            (2, 0, 0, 0)
        );
        let verdict = audit.close(2, &[]);
        assert_eq!((verdict.handled, verdict.order_violations, verdict.stragglers), (2, 0, 1));
    }

    #[test]
    fn a_long_run_needs_no_more_memory_than_a_short_one() {
        let mut audit = Audit::new(Numbering::OfPartitions);
        for number in 0..10_000_u64 {
            let ns = number * 1_000_000_000;
            audit.note(
                Line::parse(&format!("orders,0,{number},a,1,1,done,{ns},{},7", ns + 1))
                    .expect("a line"),
            );
            audit.judge_until(ns, &[]);
        }
        assert!(
            audit.done_by.len() < 700 && audit.done.len() < 700 && audit.lines.len() < 2,
            "{}",
            audit.done.len()
        );
        assert_eq!(audit.close(10_000, &[]).lost, 0);
    }

    #[test]
    fn what_broke_a_promise_is_shown() {
        let again = "orders,0,0,a,1,1,done,30,40,8";
        let mut audit = audit(Numbering::OfPartitions, &["orders,0,0,a,1,1,done,1,2,7", again]);
        audit.close(1, &[]);
        assert!(
            matches!(audit.findings(), [finding] if finding.contains("done again")),
            "{:?}",
            audit.findings()
        );
    }

    #[test]
    fn panics_that_cost_an_actor_are_counted_for_each_process() {
        let lines = ["cache.invalidate,0,0,,1,1,panicked,1,2,7", "orders,0,0,a,1,1,panicked,1,2,7"];
        let audit = audit(Numbering::OfPartitions, &lines);
        assert_eq!((audit.panics_of(7), audit.panics_of(8)), (1, 0));
        assert_eq!((audit.attempts_of(7), audit.attempts_of(8)), (2, 0));
    }

    #[test]
    fn numbers_in_any_order_are_one_range_in_the_end() {
        let mut ranges = Ranges::default();
        for number in [5, 3, 9, 4, 1, 2, 8] {
            assert!(ranges.insert(number) && !ranges.insert(number), "{number}");
        }
        assert_eq!((ranges.count(), ranges.missing_from(0), ranges.missing_from(1)), (7, 3, 2));
        for number in [0, 6, 7] {
            assert!(ranges.insert(number));
        }
        assert_eq!((ranges.ranges.as_slice(), ranges.missing_from(0)), (&[(0, 9)][..], 0));
    }
}
