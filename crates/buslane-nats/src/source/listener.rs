//! Reads an ephemeral topic from core NATS, which stores no message and delivers none again.
//!
//! Unread messages wait here and in the client, up to the client's bound. Above the bound, the
//! client drops messages and reports a slow consumer.

use super::handle::{End, Ready, SourceHandle};
use crate::{
    link::{Epoch, Link},
    wire,
};
use buslane_core::{Record, excerpt};
use futures_util::StreamExt;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::watch;

/// The largest number of messages that wait here.
const READY: usize = 1_000;
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) struct Listener {
    link: Arc<Link>,
    handle: Arc<SourceHandle>,
    group: String,
    epoch: watch::Receiver<Epoch>,
    received: u64,
}

impl Listener {
    pub(crate) fn new(link: Arc<Link>, handle: Arc<SourceHandle>, group: String) -> Self {
        let epoch = link.epoch.clone();
        Self { link, handle, group, epoch, received: 0 }
    }

    /// Listens until the source ends. Returns the number of open messages, which is always 0.
    pub(crate) async fn run(mut self) -> usize {
        let subject = self.handle.source.topic.to_string();
        while !self.handle.has_ended() {
            match self.link.client().queue_subscribe(subject.clone(), self.group.clone()).await {
                Ok(subscriber) => self.listen(subscriber).await,
                // The task of the client has ended. The link creates another client.
                Err(error) => {
                    tracing::debug!(topic = subject, error = %excerpt::error(&error), "cannot listen");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        0
    }

    async fn listen(&mut self, mut subscriber: async_nats::Subscriber) {
        loop {
            let (end, has_room) = {
                let state = self.handle.state.lock();
                (state.end, state.ready.len() < READY)
            };
            if end != End::Open {
                return;
            }
            tokio::select! {
                biased;
                () = self.handle.work.notified() => {}
                Ok(()) = self.epoch.changed() => {
                    let topic = self.handle.source.topic.as_str();
                    tracing::warn!(topic, "listening was interrupted: what was published meanwhile is lost");
                }
                message = subscriber.next(), if has_room => match message {
                    Some(message) => self.hand_on(message),
                    None => return,
                }
            }
        }
    }

    fn hand_on(&mut self, received: async_nats::Message) {
        let (key, headers) = wire::from_nats(received.headers.as_ref());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.received += 1;
        let mut record = Record::new(received.payload).with_headers(headers);
        record.key = key;
        let timestamp_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let message =
            record.into_message(Arc::clone(&self.handle.source), self.received, timestamp_ms);
        let mut state = self.handle.state.lock();
        // Retries happen in this process, so no delivery is the last.
        state.ready.push_back(Ready {
            message,
            subject: received.subject,
            slot: None,
            is_last: false,
        });
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
