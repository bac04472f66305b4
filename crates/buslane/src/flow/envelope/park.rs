//! Envelopes of parked keys: what an attempt writes to the log of its partition.

use super::{Again, Attempted, Next, Task};
use crate::{
    flow::{attempt::HandlerContext, dead_letter::History},
    parking::{Decision, Owner, ParkError},
};
use buslane_core::{HandlerError, Layout, Message, Outcome, excerpt};
use buslane_parking::{Cause, Entry};
use std::sync::Arc;
use tracing::{error, info};

/// What is to be written to the log of parked keys.
pub(super) struct Parking {
    /// The entry; `None` for a message that is given up, as long as its owner has not decided.
    entry: Option<Entry>,
    /// Why the message is given up; `None` for one that was handled, or is behind another.
    cause: Option<HandlerError>,
}

impl Parking {
    pub(super) const fn give_up(cause: HandlerError) -> Self {
        Self { entry: None, cause: Some(cause) }
    }

    pub(super) const fn write(entry: Entry, cause: Option<HandlerError>) -> Self {
        Self { entry: Some(entry), cause }
    }

    fn outcome(self) -> Outcome {
        self.cause.map_or(Outcome::Ok, Outcome::Failed)
    }
}

/// Asks the owner about a message before its first attempt. `None` if the handler gets it.
pub(super) async fn begin_beside_parked<H>(
    context: &Arc<HandlerContext<H>>,
    owner: &Owner,
    message: &Message,
) -> Option<Attempted<H>> {
    loop {
        let mut changes = owner.changes();
        match owner.begin(message) {
            Decision::Run => return None,
            Decision::Settle => return Some(Attempted::Done(Outcome::Ok)),
            Decision::Stopped => return Some(Attempted::Done(Outcome::Abandoned)),
            Decision::Write(entry) => {
                let parking = Parking::write(entry, None);
                return Some(park(context, message, None, parking).await);
            }
            Decision::Wait => drop(changes.changed().await),
        }
    }
}

/// Writes to the log of parked keys. The key is blocked as long as that cannot be done.
pub(super) async fn park<H>(
    context: &Arc<HandlerContext<H>>,
    message: &Message,
    history: Option<History>,
    mut parking: Parking,
) -> Attempted<H> {
    let Some(owner) = context.services.owners.of(&message.source) else {
        return blocked(context, message, history, parking, "no parking log".to_owned());
    };
    loop {
        let mut changes = owner.changes();
        let entry = match parking.entry.take() {
            Some(entry) => entry,
            None => match owner.give_up(message) {
                Decision::Write(entry) => entry,
                Decision::Run | Decision::Wait => {
                    let _ = changes.changed().await;
                    continue;
                }
                Decision::Settle => return Attempted::Done(parking.outcome()),
                Decision::Stopped => return Attempted::Done(Outcome::Abandoned),
            },
        };
        let failures = history.as_ref().filter(|_| parking.cause.is_some());
        match owner.write(&entry, Some(message), failures).await {
            Ok(()) => {
                log_parked(message, &entry, history.as_ref());
                context.services.state.unwritable.lock().take();
                return Attempted::Done(parking.outcome());
            }
            Err(ParkError::Stopped) => return Attempted::Done(Outcome::Abandoned),
            // The next term decides again: the entry may count in it.
            Err(ParkError::Lost) if parking.cause.is_some() => {}
            Err(ParkError::Lost) => {
                if let Entry::Parked { .. } = entry {
                    return begin_again(context, &owner, message).await;
                }
                return Attempted::Done(parking.outcome());
            }
            Err(ParkError::Refused(error)) => {
                parking.entry = Some(entry);
                return blocked(context, message, history, parking, error.to_string());
            }
        }
    }
}

/// The log cannot be written: the key waits, and the entry is written again.
fn blocked<H>(
    context: &Arc<HandlerContext<H>>,
    message: &Message,
    history: Option<History>,
    parking: Parking,
    reason: String,
) -> Attempted<H> {
    let shown = excerpt::error(&reason);
    let (topic, partition, offset) =
        (message.topic().as_str(), message.partition(), message.offset);
    let key = message.label_excerpt();
    error!(kind = "envelope", topic, partition, offset, %key, reason = %shown, "message not parked, key blocked");
    *context.services.state.unwritable.lock() = Some(reason.clone());
    let history = history.unwrap_or_else(History::before_the_first);
    let task = Task::Park(parking);
    let next = Box::new(Next { context: Arc::clone(context), task, history, span: None });
    Attempted::Again(Again {
        delay: Some(context.policy.retry.max),
        outcome: Outcome::Failed(reason.into()),
        is_blocked: true,
        next,
    })
}

/// Another process has claimed the log before the entry that parks a message behind another.
async fn begin_again<H>(
    context: &Arc<HandlerContext<H>>,
    owner: &Owner,
    message: &Message,
) -> Attempted<H> {
    if let Some(ended) = Box::pin(begin_beside_parked(context, owner, message)).await {
        return ended;
    }
    // Its key is not parked any more.
    let (task, outcome) = (Task::Handle(Layout::read(&message.payload)), Outcome::Ok);
    let next = Box::new(Next {
        context: Arc::clone(context),
        task,
        history: History::before_the_first(),
        span: None,
    });
    Attempted::Again(Again { delay: None, outcome, is_blocked: false, next })
}

/// The next attempt, at once, writes to the log of parked keys: it has the whole message.
pub(super) fn park_next<H>(
    context: &Arc<HandlerContext<H>>,
    history: Option<History>,
    parking: Parking,
) -> Attempted<H> {
    let history = history.unwrap_or_else(History::before_the_first);
    let (task, outcome) = (Task::Park(parking), Outcome::Ok);
    let next = Box::new(Next { context: Arc::clone(context), task, history, span: None });
    Attempted::Again(Again { delay: None, outcome, is_blocked: false, next })
}

fn log_parked(message: &Message, entry: &Entry, history: Option<&History>) {
    let (topic, partition, offset) =
        (message.topic().as_str(), message.partition(), message.offset);
    let key = message.label_excerpt();
    match entry {
        Entry::Parked { cause: Cause::Failed, .. } => {
            let history = history.map(|history| (history.attempts, excerpt::error(&history.error)));
            let (attempt, error) = history.unzip();
            let error = error.map(tracing::field::display);
            error!(kind = "envelope", topic, partition, offset, %key, attempt, error, "key parked");
        }
        Entry::FailedAgain { redrives, .. } => {
            error!(kind = "envelope", topic, partition, offset, %key, redrives, "redrive failed, key stays parked");
        }
        Entry::Resolved { .. } => {
            info!(kind = "envelope", topic, partition, offset, %key, "parked message handled");
        }
        _ => {}
    }
}
