//! Warns once where a key may be handled in two processes of a group at once.
//!
//! A lane keeps a key to one handler within its process. Across processes that holds where one
//! member has the key in every topic, which is up to the broker's assignment.

use crate::{config::LaneScope, flow::Flow};
use buslane_core::{Broker, Kind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tracing::warn;

/// Whether it was told.
#[derive(Default)]
pub(super) struct Scatter(AtomicBool);

impl Scatter {
    /// Another subscription has begun.
    pub(super) fn look(&self, flow: &Flow, broker: &dyn Broker) {
        if flow.routing.lane_scope != LaneScope::Key || self.0.load(Relaxed) {
            return;
        }
        let mut all = flow.registry.all();
        all.retain(|one| one.kind == Kind::Envelope && one.ordered);
        all.sort_by(|one, other| one.topic.cmp(&other.topic));
        let topics: Vec<_> = all.iter().map(|one| &one.topic).collect();
        let Some(reason) = broker.scatters(&topics).filter(|_| topics.len() > 1) else { return };
        if !self.0.swap(true, Relaxed) {
            let backend = broker.backend();
            warn!(%backend, ?topics, reason, "a key may be handled in two processes at once");
        }
    }
}
