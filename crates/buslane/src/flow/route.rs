//! How the lane of a message is found: by the hash of its key, or round-robin without one.

use super::{
    aggregate::{aggregate_header, any_aggregate_header},
    registry::Subscribed,
};
use crate::config::LaneScope;
use buslane_core::{
    Kind, Layout, Message, ParsedEnvelope, Route, Topic, excerpt, panic_text, stable_hash,
};
use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};
use tracing::error;

/// How a bus finds lanes.
pub(crate) struct Routing {
    pub(crate) lane_scope: LaneScope,
    round_robin: AtomicU64,
}

impl Routing {
    pub(crate) const fn new(lane_scope: LaneScope) -> Self {
        Self { lane_scope, round_robin: AtomicU64::new(0) }
    }
}

/// Sets the message's route and returns its lane. An envelope without a header that names its
/// aggregate is parsed here, off the thread that polls the broker, and not again later.
///
/// Without `keyed`, the message goes round-robin, whatever its key.
pub(crate) fn route(
    routing: &Routing,
    subscribed: &Subscribed,
    keyed: bool,
    message: &mut Message,
) -> (u64, Option<ParsedEnvelope>) {
    message.kind = subscribed.kind;
    let mut parsed = None;
    let found = if keyed { find_key(subscribed, message, &mut parsed) } else { None };
    message.route =
        found.unwrap_or_else(|| Route::RoundRobin(routing.round_robin.fetch_add(1, Relaxed)));
    let lane = match (&message.route, message.routing_key()) {
        (Route::RoundRobin(n), _) => routing.lane_scope.lane(message.topic(), &n.to_le_bytes()),
        (_, key) => routing.lane_scope.lane(message.topic(), key.unwrap_or_default()),
    };
    (lane, parsed)
}

impl LaneScope {
    /// The lane of a topic's messages with this key.
    pub(crate) fn lane(self, topic: &Topic, key: &[u8]) -> u64 {
        match self {
            Self::Topic => stable_hash(key) ^ stable_hash(topic.as_bytes()),
            Self::Key => stable_hash(key),
        }
    }
}

fn find_key(
    subscribed: &Subscribed,
    message: &Message,
    parsed: &mut Option<ParsedEnvelope>,
) -> Option<Route> {
    if let Some(extract) = &subscribed.extractor {
        match catch_unwind(AssertUnwindSafe(|| extract(&message.headers, &message.payload))) {
            Ok(key) => {
                return key.filter(|key| !key.is_empty()).map(|key| Route::Key(Box::new(key)));
            }
            Err(payload) => extractor_panicked(message, &panic_text(&*payload)),
        }
    }
    let header = match subscribed.kind {
        Kind::Envelope => aggregate_header(&message.headers),
        Kind::Regular => Ok(any_aggregate_header(&message.headers)),
    };
    if let Ok(Some(range)) = &header
        && let Some(route) = header_route(range)
    {
        return Some(route);
    }
    match subscribed.kind {
        Kind::Envelope => {
            let body = Layout::read(&message.payload);
            let key = body
                .as_ref()
                .ok()
                .map(|layout| layout.envelope(&message.payload).aggregate_id.into_bytes());
            // An envelope with an invalid header is given up in the lane of its body's aggregate.
            *parsed = Some(header.and(body));
            // An unreadable body keeps the order of its record key.
            key.map(|key| Route::Key(Box::new(key))).or_else(|| record_key(message))
        }
        Kind::Regular => record_key(message),
    }
}

/// Logs the panic. The message gets the key that it has without an extractor: a panic must not end
/// the source.
#[cold]
fn extractor_panicked(message: &Message, panic: &str) {
    let (kind, topic, partition) =
        (message.kind.as_str(), message.topic().as_str(), message.partition());
    error!(kind, topic, partition, offset = message.offset, error = %excerpt::error(panic), "key extractor panicked");
}

fn header_route(range: &Range<usize>) -> Option<Route> {
    let (start, len) = (u32::try_from(range.start).ok()?, u32::try_from(range.len()).ok()?);
    Some(Route::Header { start, len })
}

fn record_key(message: &Message) -> Option<Route> {
    message.key.as_ref().filter(|key| !key.is_empty()).map(|_| Route::RecordKey)
}
