//! Lets a log forget what nobody needs any more.

use super::Owner;
use crate::flow::Flow;
use buslane_core::excerpt;
use std::{convert::Infallible, time::Duration};
use tracing::warn;

const INTERVAL: Duration = Duration::from_secs(10);

pub(super) async fn run(flow: &Flow, owner: &Owner) -> Infallible {
    let source = owner.source();
    let topics = [source.topic.clone()];
    let mut forgotten = 0;
    loop {
        tokio::time::sleep(INTERVAL).await;
        // Without a parked key, and none that is remembered, there is nothing to find out.
        if !owner.is_busy() {
            continue;
        }
        let Ok(progress) = flow.services.broker.progress(&topics).await else { continue };
        let own = progress.iter().find(|progress| progress.partition == source.partition);
        let Some(low) = own.and_then(|own| owner.committed(own.settled)) else { continue };
        if low > forgotten {
            match owner.log.forget(low).await {
                Ok(()) => forgotten = low,
                Err(error) => {
                    let error = excerpt::error(&error);
                    warn!(%source, %error, "parking log keeps old entries");
                }
            }
        }
    }
}
