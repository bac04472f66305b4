//! Reads an ephemeral topic: core NATS, where nothing is stored, settled or delivered again.
//!
//! While it is not read, messages wait in the client, up to the bound that the client has; then it
//! drops them and says so.

use super::{End, Ready, Shared};
use crate::{
    link::{Epoch, Link},
    wire,
};
use buslane_core::{Message, Route, excerpt};
use futures_util::StreamExt;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::watch;

/// Messages that wait here, beside those in the client.
const READY: usize = 1_000;
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) struct Listener {
    link: Arc<Link>,
    shared: Arc<Shared>,
    group: String,
    epoch: watch::Receiver<Epoch>,
    received: u64,
}

impl Listener {
    pub(crate) fn new(link: Arc<Link>, shared: Arc<Shared>, group: String) -> Self {
        let epoch = link.epoch.clone();
        Self { link, shared, group, epoch, received: 0 }
    }

    /// Listens until the source ends. Nothing is ever open.
    pub(crate) async fn run(mut self) -> usize {
        let subject = self.shared.source.topic.to_string();
        while !self.shared.has_ended() {
            match self.link.client().queue_subscribe(subject.clone(), self.group.clone()).await {
                Ok(subscriber) => self.listen(subscriber).await,
                // The client's task has ended, and another client is made.
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
                let state = self.shared.state.lock();
                (state.end, state.ready.len() < READY)
            };
            if end != End::Open {
                return;
            }
            tokio::select! {
                biased;
                () = self.shared.work.notified() => {}
                Ok(()) = self.epoch.changed() => {
                    let topic = self.shared.source.topic.as_str();
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
        let message = Message {
            source: Arc::clone(&self.shared.source),
            offset: self.received,
            timestamp_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
            key,
            headers,
            payload: received.payload,
            is_null: false,
            route: Route::None,
            kind: Default::default(),
            attempt: 0,
        };
        let mut state = self.shared.state.lock();
        // Nothing is promised of it beyond this process, so it may be tried here as often as any
        // other.
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
