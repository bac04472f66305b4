//! What is published: made-up orders with regular messages between them, or a recorded log.

use super::faults::{Defect, Fault, Faults, Stream, mix};
use super::options::Options;
use super::replay::{Log, ReplayError, Row};
use buslane::stable_hash;
use serde_json::{Map, Value};
use std::{collections::HashMap, sync::Arc};
use time::OffsetDateTime;

/// Topic of the regular messages.
pub(crate) const CACHE: &str = "cache.invalidate";
/// One regular message for this many envelopes, and where their panics are to be seen.
const REGULAR_EVERY: u64 = 10;
const REGULAR_OFTEN: u64 = 2;
const NAMES: [&str; 5] = ["orders", "payments", "stock", "shipping", "invoices"];
const TYPES: [&str; 4] = ["Placed", "Changed", "Confirmed", "Closed"];

/// One message that is to be published. `seq` counts 1, 2, 3 ... per topic and aggregate, or topic
/// and key.
#[derive(Debug)]
pub(crate) enum Planned {
    Envelope {
        topic: usize,
        aggregate: String,
        event_type: String,
        /// When it was recorded; made-up events happen when they are published.
        timestamp: Option<OffsetDateTime>,
        seq: u64,
        fault: Option<Fault>,
        fields: Map<String, Value>,
    },
    Regular {
        key: Option<String>,
        seq: u64,
        fault: Option<Fault>,
    },
}

/// The messages of a run.
#[derive(Debug)]
pub(crate) enum Plan {
    Orders(Orders),
    Replay { log: Log, topics: u64, faults: Faults },
}

/// The part of a plan that one publisher owns. An aggregate has one owner, so its order is kept.
pub(crate) type Share = Box<dyn Iterator<Item = Result<Planned, ReplayError>> + Send>;

/// The topics of envelopes.
pub(crate) fn topics(count: u64) -> Vec<String> {
    let named = NAMES.iter().map(|name| (*name).to_owned());
    let numbered = (NAMES.len() as u64 + 1..=count).map(|number| format!("events-{number}"));
    named.take(usize::try_from(count).unwrap_or(usize::MAX)).chain(numbered).collect()
}

impl Plan {
    /// Reads a log once, so that its errors are reported before the first publish.
    pub(crate) fn new(options: &Options) -> Result<Self, String> {
        let log = options
            .replay
            .as_deref()
            .map(Log::open)
            .transpose()
            .map_err(|error| error.to_string())?;
        let events = log.as_ref().map_or(options.events, Log::events);
        let is_calm = log.is_some() || options.rollout.is_some();
        let usual = if is_calm { 0 } else { 1 };
        let none_asked =
            options.rollout.is_some() && options.fail_once.is_none() && options.poison.is_none();
        let faults = if options.no_faults || none_asked {
            Faults { events, ..Faults::default() }
        } else {
            Faults {
                seed: options.seed,
                events,
                poison: options.poison.unwrap_or(usual * 20.min(events / 100)),
                fail_once: options.fail_once.unwrap_or(if is_calm { 0.0 } else { 1.0 }),
                ..Faults::default()
            }
        };
        if faults.poison > events {
            return Err(format!(
                "--poison: must be at most the number of events ({events}), found {}",
                faults.poison
            ));
        }
        match log {
            None => Ok(Self::Orders(Orders::new(options, faults))),
            Some(log) => {
                let mut faults = faults;
                faults.spared = log
                    .cases_of(|event| faults.is_poison(event))
                    .map_err(|error| error.to_string())?;
                Ok(Self::Replay { log, topics: options.topics, faults })
            }
        }
    }

    /// How many messages it has.
    pub(crate) fn messages(&self) -> u64 {
        match self {
            Self::Orders(orders) => orders.messages(),
            Self::Replay { log, .. } => log.events(),
        }
    }

    /// The part of publisher `index` of `publishers`.
    pub(crate) fn share(
        self: &Arc<Self>,
        index: u64,
        publishers: u64,
    ) -> Result<Share, ReplayError> {
        let plan = Arc::clone(self);
        match &**self {
            Self::Orders(orders) => {
                let mut sequences = HashMap::new();
                let messages = orders.messages();
                Ok(Box::new((0..messages).filter_map(move |number| match &*plan {
                    Self::Orders(orders) => {
                        orders.message(number, index, publishers, &mut sequences).map(Ok)
                    }
                    Self::Replay { .. } => None,
                })))
            }
            Self::Replay { log, .. } => {
                let rows = log.rows(move |case| stable_hash(case) % publishers == index)?;
                Ok(Box::new(rows.map(move |row| row.map(|row| plan.recorded(row)))))
            }
        }
    }

    fn recorded(&self, row: Row) -> Planned {
        let (topics, fault) = match self {
            Self::Replay { topics, faults, .. } => (*topics, faults.of(row.event, &row.case)),
            Self::Orders(_) => (1, None),
        };
        let topic =
            usize::try_from(stable_hash(row.case.as_bytes()).rotate_left(32) % topics).unwrap_or(0);
        let Row { timestamp, case, seq, activity, fields, .. } = row;
        let timestamp = Some(timestamp);
        Planned::Envelope {
            topic,
            aggregate: case,
            event_type: activity,
            timestamp,
            seq,
            fault,
            fields,
        }
    }
}

/// The made-up orders, as a pure function of seed and number.
#[derive(Debug)]
pub(crate) struct Orders {
    seed: u64,
    events: u64,
    aggregates: u64,
    topics: u64,
    regular_every: u64,
    faults: Faults,
    /// The regular message whose handler panics.
    panic_at: Option<u64>,
}

/// The last `seq` of each topic and aggregate that a publisher owns.
type Sequences = HashMap<(u64, u64), u64>;

impl Orders {
    fn new(options: &Options, faults: Faults) -> Self {
        let Options { seed, events, aggregates, topics, .. } = *options;
        let has_panics = options.inject.is_some_and(|inject| inject.defect == Defect::Restart);
        let regular_every = if has_panics { REGULAR_OFTEN } else { REGULAR_EVERY };
        let mut orders =
            Self { seed, events, aggregates, topics, regular_every, faults, panic_at: None };
        if !options.no_faults && options.rollout.is_none() {
            let poisoned = orders.faults.poisonous().map(|event| name(orders.aggregate(event)));
            orders.faults.spared = poisoned.collect();
            let may_panic =
                |event: &u64| !orders.faults.spared.contains(&name(orders.aggregate(*event)));
            orders.faults.panic_at = (events / 2..events).find(may_panic);
            orders.panic_at = (orders.regular() > 0).then_some(orders.regular() / 2);
        }
        orders
    }

    const fn regular(&self) -> u64 {
        self.events / self.regular_every
    }

    const fn messages(&self) -> u64 {
        self.events + self.regular()
    }

    fn aggregate(&self, event: u64) -> u64 {
        mix(self.seed, Stream::Aggregate, event) % self.aggregates
    }

    /// Message `number`, when publisher `index` of `publishers` owns it: the last of each round is
    /// a regular one.
    fn message(
        &self,
        number: u64,
        index: u64,
        publishers: u64,
        sequences: &mut Sequences,
    ) -> Option<Planned> {
        let (round, place) = (number / (self.regular_every + 1), number % (self.regular_every + 1));
        if place == self.regular_every {
            return self.invalidation(round, index, publishers, sequences);
        }
        let event = number - round;
        let owner = self.aggregate(event);
        if owner % publishers != index {
            return None;
        }
        let topic = mix(self.seed, Stream::Topic, event) % self.topics;
        let aggregate = name(owner);
        let kind = mix(self.seed, Stream::Kind, event) % TYPES.len() as u64;
        let total = mix(self.seed, Stream::Total, event) % 100_000;
        let topic = usize::try_from(topic).unwrap_or(0);
        Some(Planned::Envelope {
            topic,
            event_type: TYPES[usize::try_from(kind).unwrap_or(0)].to_owned(),
            timestamp: None,
            seq: next(sequences, (topic as u64, owner)),
            fault: self.faults.of(event, &aggregate),
            fields: Map::from_iter([("total_cents".to_owned(), total.into())]),
            aggregate,
        })
    }

    /// Regular message `number`: every other one has a key.
    fn invalidation(
        &self,
        number: u64,
        index: u64,
        publishers: u64,
        sequences: &mut Sequences,
    ) -> Option<Planned> {
        let fault = (self.panic_at == Some(number)).then_some(Fault::Panic);
        if !number.is_multiple_of(2) {
            let seq = number / 2 + 1;
            return (seq % publishers == index).then_some(Planned::Regular {
                key: None,
                seq,
                fault,
            });
        }
        let article = mix(self.seed, Stream::Cache, number) % self.aggregates;
        (article % publishers == index).then(|| {
            let seq = next(sequences, (u64::MAX, article));
            Planned::Regular { key: Some(format!("sku-{article}")), seq, fault }
        })
    }
}

fn name(aggregate: u64) -> String {
    format!("order-{aggregate}")
}

fn next(sequences: &mut Sequences, sequence: (u64, u64)) -> u64 {
    let last = sequences.entry(sequence).or_insert(0);
    *last += 1;
    *last
}
