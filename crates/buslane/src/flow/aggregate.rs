//! The aggregate of an envelope, as its headers and its body name it.
//!
//! A header that names another aggregate than the body makes the envelope invalid: the header
//! routes, so the aggregate would have two lanes otherwise.

use buslane_core::{
    Envelope, EnvelopeError, Event, HandlerError, Headers, Layout, Message, Route, broker::header,
    check_aggregate_id, excerpt,
};
use std::ops::Range;

/// The range of the header value that names an envelope's aggregate. Of several such headers, the
/// first in the order of the spellings counts.
///
/// # Errors
/// The header holds no aggregate id.
pub(super) fn aggregate_header(headers: &Headers) -> Result<Option<Range<usize>>, EnvelopeError> {
    let found = spelled(headers).next();
    match found.as_ref().map(|(name, range)| (name, check_aggregate_id(headers.at(range.clone()))))
    {
        Some((name, Err(error))) => Err(EnvelopeError::AggregateIdHeader { name, error }),
        _ => Ok(found.map(|(_, range)| range)),
    }
}

/// The same for a regular message: the first header that holds an aggregate id.
pub(super) fn any_aggregate_header(headers: &Headers) -> Option<Range<usize>> {
    let mut ranges = spelled(headers).map(|(_, range)| range);
    ranges.find(|range| check_aggregate_id(headers.at(range.clone())).is_ok())
}

fn spelled(headers: &Headers) -> impl Iterator<Item = (&'static str, Range<usize>)> {
    let spellings = if headers.is_empty() { &[][..] } else { &header::AGGREGATE_ID_SPELLINGS[..] };
    spellings.iter().filter_map(|name| Some((*name, headers.find(name)?)))
}

/// The event of a routed message, for a handler of envelopes.
///
/// # Errors
/// The body is no envelope, or headers and body disagree.
pub(super) fn event_of(message: Message) -> Result<Event, HandlerError> {
    let (_, envelope) = Layout::read(&message.payload).and_then(|layout| open(&message, layout))?;
    Ok(Event { envelope, message })
}

/// The envelope in the body of a routed message, whose layout was parsed before.
///
/// # Errors
/// The headers cannot be read, or name another aggregate than the body.
pub(super) fn open(message: &Message, layout: Layout) -> Result<(Layout, Envelope), EnvelopeError> {
    if message.headers.find(header::RAW_HEADERS).is_some() {
        return Err(EnvelopeError::UnreadableHeaders);
    }
    let envelope = layout.envelope(&message.payload);
    check_same_aggregate(message, &envelope).map(|()| (layout, envelope))
}

/// Checks that headers and body name the same aggregate. Where an extractor has named the lane,
/// the headers are free.
fn check_same_aggregate(message: &Message, envelope: &Envelope) -> Result<(), EnvelopeError> {
    let header = match &message.route {
        Route::Header { .. } => message.routing_key(),
        Route::RoundRobin(_) => {
            aggregate_header(&message.headers)?.map(|range| message.headers.at(range))
        }
        _ => None,
    };
    match header {
        Some(header) if header != envelope.aggregate_id.as_bytes() => {
            Err(EnvelopeError::AggregateIdMismatch {
                header: excerpt::field(header).to_string(),
                body: envelope.aggregate_id.to_string(),
            })
        }
        _ => Ok(()),
    }
}
