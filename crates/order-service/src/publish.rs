//! The publishers: each owns a share of the aggregates and publishes in batches.

use crate::{
    service::{Note, Service},
    workload::{CACHE, Plan, Planned},
};
use buslane::{
    Envelope, EventBus, Headers, PublishError, RawJson, Receipt, Record, broker::header,
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use time::OffsetDateTime;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

pub(crate) const PUBLISHERS: u64 = 4;
/// Messages of one batch.
const BATCH: usize = 64;

/// Messages that are due at the same time, at a rate: so many a second.
const BATCHES: u64 = 40;

/// A rate of messages.
pub(crate) struct Rate {
    pub(crate) per_second: u64,
    /// Messages that have been sent.
    pub(crate) sent: AtomicU64,
}

impl Rate {
    pub(crate) const fn new(per_second: u64) -> Self {
        Self { per_second, sent: AtomicU64::new(0) }
    }

    /// The time at which this many more messages are due. After a delay the publisher catches up as
    /// fast as it can.
    fn due(&self, started: Instant, messages: u64) -> Instant {
        let before = self.sent.fetch_add(messages, Relaxed);
        let nanos = u128::from(before) * 1_000_000_000 / u128::from(self.per_second);
        started + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn batch(&self) -> usize {
        usize::try_from(self.per_second / BATCHES).unwrap_or(BATCH).clamp(1, BATCH)
    }
}

/// When recorded events are due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) first: OffsetDateTime,
    pub(crate) speed: f64,
}

impl Pace {
    fn due(&self, started: Instant, at: OffsetDateTime) -> Instant {
        let recorded = (at - self.first).as_seconds_f64().max(0.0);
        let after = Duration::try_from_secs_f64(recorded / self.speed).unwrap_or(Duration::MAX);
        started.checked_add(after).unwrap_or_else(|| started + Duration::from_secs(1 << 32))
    }
}

/// State that the publishers share.
pub(crate) struct Publishing {
    pub(crate) bus: EventBus,
    pub(crate) service: Arc<Service>,
    pub(crate) topics: Vec<String>,
    pub(crate) pace: Option<Pace>,
    pub(crate) rate: Option<Rate>,
    pub(crate) started: Instant,
    /// Messages that may be in flight.
    pub(crate) window: usize,
    /// Messages to publish before the handlers start.
    pub(crate) backlog: Option<Backlog>,
    /// Stops publishing.
    pub(crate) stop: CancellationToken,
}

/// A number of messages that are published first, while the rest waits.
pub(crate) struct Backlog {
    /// Messages still to be published.
    left: AtomicU64,
    /// A permit for each publisher that waits, or has ended.
    pub(crate) published: Semaphore,
    /// Cancelled when the rest may be published.
    pub(crate) go_on: CancellationToken,
}

impl Backlog {
    pub(crate) fn new(messages: u64) -> Self {
        Self {
            left: AtomicU64::new(messages),
            published: Semaphore::new(0),
            go_on: CancellationToken::new(),
        }
    }

    /// Whether this many messages belong to the backlog.
    fn claim(&self, messages: u64) -> bool {
        self.left
            .fetch_update(Relaxed, Relaxed, |left| {
                (left > 0).then(|| left.saturating_sub(messages))
            })
            .is_ok()
    }
}

impl Publishing {
    /// Publishes the whole plan. The first error stops all publishers.
    pub(crate) async fn run(self: Arc<Self>, plan: Arc<Plan>) -> Result<(), String> {
        let started = self.started;
        let mut publishers = JoinSet::new();
        for index in 0..PUBLISHERS {
            let (this, plan) = (Arc::clone(&self), Arc::clone(&plan));
            publishers.spawn(async move {
                let mut is_waiting = this.backlog.is_none();
                let result = this.publish(&plan, index, started, &mut is_waiting).await;
                if let Some(backlog) = this.backlog.as_ref().filter(|_| !is_waiting) {
                    backlog.published.add_permits(1);
                }
                result
            });
        }
        let mut result = Ok(());
        while let Some(ended) = publishers.join_next().await {
            let ended = ended.unwrap_or_else(|error| Err(error.to_string()));
            if ended.is_err() && result.is_ok() {
                self.stop.cancel();
                result = ended;
            }
        }
        result
    }

    async fn publish(
        &self,
        plan: &Arc<Plan>,
        index: u64,
        started: Instant,
        has_waited: &mut bool,
    ) -> Result<(), String> {
        let size = self.rate.as_ref().map_or(BATCH, Rate::batch).min(self.window);
        let mut batch = Vec::with_capacity(size);
        // A log is read here without leaving the runtime: small pieces from a file that was read
        // just before.
        for planned in plan.share(index, PUBLISHERS).map_err(|error| error.to_string())? {
            let planned = planned.map_err(|error| error.to_string())?;
            if let (Some(pace), Planned::Envelope { timestamp: Some(at), .. }) =
                (&self.pace, &planned)
            {
                let due = pace.due(started, *at);
                if due > Instant::now() {
                    self.send(&mut batch, has_waited).await?;
                    tokio::select! {
                        () = sleep_until(due) => {}
                        () = self.stop.cancelled() => return Ok(()),
                    }
                }
            }
            batch.push(planned);
            if batch.len() == size {
                self.send(&mut batch, has_waited).await?;
            }
            if self.stop.is_cancelled() {
                return Ok(());
            }
        }
        self.send(&mut batch, has_waited).await
    }

    /// Publishes a batch, one call per topic; nothing of it when publishing was stopped.
    async fn send(&self, batch: &mut Vec<Planned>, has_waited: &mut bool) -> Result<(), String> {
        let waits = self.backlog.as_ref().filter(|_| !*has_waited);
        if let Some(backlog) = waits.filter(|backlog| !backlog.claim(batch.len() as u64)) {
            *has_waited = true;
            backlog.published.add_permits(1);
            tokio::select! {
                () = backlog.go_on.cancelled() => {}
                () = self.stop.cancelled() => return Ok(()),
            }
        }
        if let Some(rate) = self.rate.as_ref().filter(|_| !batch.is_empty()) {
            tokio::select! {
                () = sleep_until(rate.due(self.started, batch.len() as u64)) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
        }
        if !*has_waited {
            self.service.waiting.fetch_add(batch.len() as u64, Relaxed);
        } else if let Some(window) = &self.service.window {
            let places = window.acquire_many(u32::try_from(batch.len()).unwrap_or(u32::MAX));
            tokio::select! {
                places = places => if let Ok(places) = places { places.forget() },
                () = self.stop.cancelled() => return Ok(()),
            }
        }
        let sent_ns = self.service.clock.now_ns();
        let mut envelopes: Vec<Vec<Envelope>> = self.topics.iter().map(|_| Vec::new()).collect();
        let mut records = Vec::new();
        for planned in batch.drain(..) {
            match planned {
                Planned::Envelope {
                    topic,
                    aggregate,
                    event_type,
                    timestamp,
                    seq,
                    fault,
                    fields,
                } => {
                    let note = Note { seq, sent_ns, fault };
                    let mut envelope =
                        Envelope::with_payload(aggregate, event_type, payload(note, fields)?);
                    envelope.timestamp = timestamp.unwrap_or(envelope.timestamp);
                    envelope.correlation_id =
                        String::from_utf8_lossy(&self.service.run).into_owned().into();
                    envelopes[topic].push(envelope);
                }
                Planned::Regular { key, seq, fault } => {
                    let body = payload(Note { seq, sent_ns, fault }, Map::new())?;
                    records.push(self.regular(key, body));
                }
            }
        }
        for (topic, envelopes) in self.topics.iter().zip(envelopes) {
            if !envelopes.is_empty() {
                let receipts = self.bus.publish_envelopes(topic, &envelopes).await;
                self.acknowledged(
                    topic,
                    sent_ns,
                    receipts.map_err(|error| failed(topic, &error))?,
                )?;
            }
        }
        if !records.is_empty() {
            let receipts = self.bus.publish_batch(CACHE, records).await;
            self.acknowledged(CACHE, sent_ns, receipts.map_err(|error| failed(CACHE, &error))?)?;
        }
        // A task woken from here stays queued behind this one until it yields.
        tokio::task::yield_now().await;
        Ok(())
    }

    fn regular(&self, key: Option<String>, body: RawJson) -> Record {
        let mut headers = Headers::builder();
        headers.push(header::CORRELATION_ID, &self.service.run);
        let record = Record::new(body.as_bytes().clone()).with_headers(headers.build());
        match key {
            Some(key) => record.with_key(key),
            None => record,
        }
    }

    /// Counts what the broker has acknowledged.
    fn acknowledged(
        &self,
        topic: &str,
        sent_ns: u64,
        receipts: Vec<Result<Receipt, PublishError>>,
    ) -> Result<(), String> {
        let counters = &self.service.counters;
        let published = receipts.iter().filter(|receipt| receipt.is_ok()).count() as u64;
        counters.published.fetch_add(published, Relaxed);
        let now_ns = self.service.clock.now_ns();
        counters.happened(sent_ns);
        counters.happened(now_ns);
        if self.service.window.is_none() {
            counters.took(now_ns.saturating_sub(sent_ns), published);
        }
        match receipts.into_iter().find_map(Result::err) {
            Some(error) => Err(failed(topic, &error)),
            None => Ok(()),
        }
    }
}

fn failed(topic: &str, error: &dyn std::error::Error) -> String {
    format!("publishing to {topic} failed: {error}")
}

fn payload(note: Note, fields: Map<String, Value>) -> Result<RawJson, String> {
    #[derive(Serialize)]
    struct Payload {
        #[serde(flatten)]
        note: Note,
        #[serde(flatten)]
        fields: Map<String, Value>,
    }
    RawJson::encode(&Payload { note, fields }).map_err(|error| error.to_string())
}
