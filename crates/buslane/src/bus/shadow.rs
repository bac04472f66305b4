//! A subscription in the making, with a twin for its handler: of the same messages, which the
//! compiler checks.

use super::{Subscription, SubscriptionBuilder};
use crate::{BusError, flow::Shadow};
use buslane_core::{Event, Handler, Message};

/// A subscription in the making some of whose messages also run with a twin of its handler: see
/// [`SubscriptionBuilder::shadow`].
#[must_use = "a builder subscribes by `messages` or `envelopes`"]
pub struct ShadowedSubscription<T> {
    builder: SubscriptionBuilder,
    percent: u8,
    twin: T,
}

impl<T> ShadowedSubscription<T> {
    pub(super) const fn new(builder: SubscriptionBuilder, percent: u8, twin: T) -> Self {
        Self { builder, percent, twin }
    }

    /// As [`SubscriptionBuilder::messages`].
    ///
    /// # Errors
    /// A percentage that is not from 1 to 100; else as [`SubscriptionBuilder::messages`].
    pub async fn messages(self, handler: impl Handler<Message>) -> Result<Subscription, BusError>
    where
        T: Handler<Message>,
    {
        let Self { builder, percent, twin } = self;
        let shadow = Shadow::of_messages(
            percent,
            twin,
            builder.timeout,
            builder.bus.flow().rollout.comparison(),
        );
        builder.begin_messages(handler, Some(shadow)).await
    }

    /// As [`SubscriptionBuilder::envelopes`].
    ///
    /// # Errors
    /// A percentage that is not from 1 to 100; else as [`SubscriptionBuilder::envelopes`].
    pub async fn envelopes(self, handler: impl Handler<Event>) -> Result<Subscription, BusError>
    where
        T: Handler<Event>,
    {
        let Self { builder, percent, twin } = self;
        let shadow = Shadow::of_envelopes(
            percent,
            twin,
            builder.timeout,
            builder.bus.flow().rollout.comparison(),
        );
        builder.begin_envelopes(handler, Some(shadow)).await
    }
}
