//! Claims a parking log, and reads it.

use super::{Owner, forget, record, work};
use crate::flow::{Flow, Subscribed};
use buslane_core::{Source, Topic, excerpt};
use buslane_parking::{Entry, Position};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tracing::{info, warn};

/// Records read at a time: their bodies are in memory meanwhile.
const BATCH: usize = 1024;
/// The wait after a log could not be read or written.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// The right to a source's parked keys.
///
/// # Drop behaviour
/// Dropping it ends the owner: messages that are not parked yet are left to the next one.
pub(crate) struct Owned {
    pub(crate) owner: Arc<Owner>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.owner.stop();
    }
}

/// Makes this process the owner of the parked keys of a source; `None` if the broker keeps no log
/// for it. Nothing is read before [`carry_out`] runs.
pub(crate) fn own(flow: &Flow, source: &Arc<Source>, log: &Topic) -> Option<Owned> {
    let services = &flow.services;
    let Some(log) = services.broker.log(log, source.partition) else {
        warn!(%source, %log, "no parking log: failing keys block");
        return None;
    };
    let owner = Owner::new(source, log, &services.group, &services.owners.busy);
    services.owners.begin(&owner);
    Some(Owned { owner })
}

/// Reads the log, answers requests and does the work on parked keys, for as long as it is polled.
pub(crate) async fn carry_out(
    flow: &Flow,
    subscribed: &Arc<Subscribed>,
    owner: &Arc<Owner>,
) -> Infallible {
    tokio::select! {
        never = read(owner) => never,
        never = work::run(flow, subscribed, owner) => never,
        never = forget::run(flow, owner) => never,
    }
}

async fn read(owner: &Owner) -> Infallible {
    loop {
        let own = claim(owner).await;
        owner.begin_term();
        let (mut reader, mut stored) = (owner.log.read(0), Vec::new());
        loop {
            if let Err(error) = reader.next(BATCH, &mut stored).await {
                let error = excerpt::error(&error);
                warn!(source = %owner.source(), %error, "parking log not read");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let Some(last) = stored.last() else { continue };
            let next = last.offset + 1;
            let entries = stored.drain(..).filter_map(|message| {
                let entry = Entry::read(message.key.as_ref(), &message.headers);
                let at = message.offset;
                let told =
                    |error| warn!(source = %owner.source(), at, %error, "not a parked entry");
                Some((at, entry.map_err(told).ok()?))
            });
            if !owner.apply(entries, next, own) {
                info!(source = %owner.source(), "parking log claimed by another process, begun again");
                break;
            }
            if owner.is_claim_old(own) {
                break;
            }
        }
    }
}

/// Appends a claim, and returns its position.
async fn claim(owner: &Owner) -> Position {
    loop {
        let claim = Entry::Claim { nonce: uuid::Uuid::now_v7().as_u128() };
        match owner.log.append(record::bare(&claim)).await {
            Ok(position) => return position,
            Err(error) => {
                let error = excerpt::error(&error);
                warn!(source = %owner.source(), %error, "parking log not claimed, source waits");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
