//! Regular messages: one attempt, settled whatever its outcome.

use super::{
    attempt::{Erased, HandlerContext, Policy, Services, run_handler},
    delivery_span::{DeliverySpan, Traced},
};
use crate::metrics::SubscriptionMetrics;
use buslane_core::{AttemptSlot, ErasedHandler, Handler, Job, Kind, Message, Outcome, excerpt};
use std::sync::Arc;
use tracing::error;

/// Erases a handler of regular messages.
pub(crate) fn erase_regular<H: Handler<Message>>(
    handler: H,
    policy: Policy,
    services: Arc<Services>,
    metrics: Arc<SubscriptionMetrics>,
) -> Arc<Erased> {
    Erased::new(Regular(Arc::new(HandlerContext { handler, policy, services, metrics })))
}

struct Regular<H>(Arc<HandlerContext<H>>);

impl<H: Handler<Message>> ErasedHandler for Regular<H> {
    fn kind(&self) -> Kind {
        Kind::Regular
    }

    fn start(&self, job: &mut Job, slot: &mut AttemptSlot) {
        let span = DeliverySpan::begin(&self.0.services, &job.message);
        slot.start(&self.0, (job.message.take(), span), |context, (message, span)| {
            let offset = message.offset;
            Traced::new(span, run_handler(context, message, offset))
        });
    }

    fn ended(&self, job: &Job, outcome: &Outcome) {
        let (error, panicked): (&dyn std::fmt::Display, bool) = match outcome {
            Outcome::Ok => return,
            Outcome::Abandoned => return self.0.services.state.unfinished.note(&job.message),
            Outcome::Failed(error) => (error, false),
            Outcome::Panicked(text) => (text, true),
        };
        let error = excerpt::error(error);
        self.0.metrics.error();
        let message = &job.message;
        let (topic, partition, offset) =
            (message.topic().as_str(), message.partition(), message.offset);
        error!(kind = "regular", topic, partition, offset, panicked, %error, "regular message failed");
    }
}
