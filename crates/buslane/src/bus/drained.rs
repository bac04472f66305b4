//! Waiting until everything published so far is handled.

use super::{EventBus, Inner};
use crate::BusError;
use buslane_core::{BrokerError, Progress, Topic};
use std::{
    collections::{HashMap, HashSet},
    fmt,
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout_at};

/// The first pause between two reads of the group's progress; each pause is twice as long.
const PAUSE: Duration = Duration::from_millis(2);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The answer of [`EventBus::drained`]: the work that was left at its deadline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a deadline may have passed before everything was handled"]
pub struct Drained {
    /// The partitions with unsettled messages from before the call; empty when everything is
    /// handled.
    pub left: Vec<Undrained>,
    /// The time that the call took.
    pub elapsed: Duration,
}

/// A partition with unsettled messages.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undrained {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: u32,
    /// Unsettled messages. At least one of them is from before the call.
    pub messages: u64,
}

impl Drained {
    /// Whether everything was handled.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.left.is_empty()
    }

    /// The unsettled messages of all partitions.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.left.iter().map(|left| left.messages).sum()
    }
}

impl fmt::Display for Undrained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}: {} messages", self.topic, self.partition, self.messages)
    }
}

/// The end of each partition at the time of the call.
type Marks = HashMap<(Topic, u32), u64>;

fn marks(progress: &[Progress]) -> Marks {
    progress.iter().map(|of| ((of.topic.clone(), of.partition), of.end)).collect()
}

/// The unsettled messages below the marks.
fn left(marks: &Marks, progress: &[Progress]) -> Vec<Undrained> {
    let mut left = Vec::new();
    for of in progress {
        let Some(mark) = marks.get(&(of.topic.clone(), of.partition)) else { continue };
        if of.settled < *mark {
            let messages = of.open.clamp(1, mark - of.settled);
            left.push(Undrained { topic: of.topic.clone(), partition: of.partition, messages });
        }
    }
    left.sort_by(|one, two| (&one.topic, one.partition).cmp(&(&two.topic, two.partition)));
    left
}

/// The work of [`EventBus::drained`].
pub(super) async fn drained(bus: &EventBus, deadline: Duration) -> Result<Drained, BusError> {
    let begun = Instant::now();
    let until = begun + deadline;
    let mut topics = subscribed(bus.open()?);
    let (mut marked, mut pause, mut last): (Option<Marks>, _, _) = (None, PAUSE, Vec::new());
    loop {
        let looked = timeout_at(until, bus.open()?.broker.progress(&topics)).await;
        let error = match looked {
            Ok(Ok(progress)) => {
                last = left(marked.get_or_insert_with(|| marks(&progress)), &progress);
                if last.is_empty() {
                    return Ok(Drained { left: last, elapsed: begun.elapsed() });
                }
                None
            }
            Ok(Err(BrokerError::Closed)) => return Err(BusError::Closed),
            Ok(Err(error)) => Some(error),
            Err(_) => Some(BrokerError::Timeout {
                what: "the look at the group's progress".to_owned(),
                deadline,
            }),
        };
        if Instant::now() + pause >= until {
            return match error.filter(|_| marked.is_none()) {
                Some(error) => Err(error.into()),
                None => Ok(Drained { left: last, elapsed: begun.elapsed() }),
            };
        }
        sleep(pause).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
        // A topic that was unsubscribed, or is drained, is not asked for again.
        let present: HashSet<_> = subscribed(bus.open()?).into_iter().collect();
        let behind: HashSet<_> = last.iter().map(|left| &left.topic).collect();
        topics.retain(|topic| {
            present.contains(topic) && (behind.is_empty() || behind.contains(topic))
        });
    }
}

/// The topics that have a handler.
pub(super) fn subscribed(inner: &Inner) -> Vec<Topic> {
    inner.flow.registry.all().into_iter().map(|subscribed| subscribed.topic.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(partition: u32, end: u64, settled: u64, open: u64) -> Progress {
        Progress { topic: Topic::new("orders").unwrap(), partition, end, settled, open }
    }

    #[test]
    fn b9_what_is_left_is_what_was_there_before() {
        let marks = marks(&[progress(0, 10, 0, 10), progress(1, 5, 5, 0), progress(2, 0, 0, 0)]);
        let left = |of: Progress| left(&marks, &[of]).first().map(|left| left.messages);
        // Where the group stands, how much is open, and what is left of it.
        for (of, is) in [
            (progress(0, 10, 3, 7), Some(7)),
            (progress(0, 99, 3, 96), Some(7)),
            (progress(0, 99, 3, 1), Some(1)),
            (progress(0, 99, 9, 0), Some(1)),
            (progress(0, 99, 10, 89), None),
            (progress(1, 50, 5, 45), None),
            (progress(2, 9, 0, 9), None),
            (progress(3, 9, 0, 9), None),
        ] {
            assert_eq!(left(of.clone()), is, "{of:?}");
        }
    }
}
