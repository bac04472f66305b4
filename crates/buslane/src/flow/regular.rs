//! Regular messages: one attempt, settled whatever it comes to.

use super::attempt::{Erased, Policy, Services, Shared, take_message};
use buslane_core::{AttemptSlot, ErasedHandler, Handler, Job, Kind, Message, Outcome, Step, Verdict};
use std::sync::Arc;
use tracing::error;

/// Erases a handler of regular messages.
pub(crate) fn erase_regular<H: Handler<Message>>(handler: H, policy: Policy, services: Arc<Services>) -> Arc<Erased> {
    Erased::new(Regular(Arc::new(Shared { handler, policy, services })))
}

struct Regular<H>(Arc<Shared<H>>);

impl<H: Handler<Message>> ErasedHandler for Regular<H> {
    fn kind(&self) -> Kind {
        Kind::Regular
    }

    fn start(&self, job: &mut Job, slot: &mut AttemptSlot) {
        slot.start(&self.0, take_message(job), |shared, message| async move {
            let offset = message.offset;
            Step::Done(match shared.judge(message, offset).await {
                Verdict::Done => Outcome::Ok,
                Verdict::Failed(error) | Verdict::Retry(error) | Verdict::Reject(error) => Outcome::Failed(error),
            })
        });
    }

    fn ended(&self, job: &Job, outcome: &Outcome) {
        let (error, panicked): (&dyn std::fmt::Display, bool) = match outcome {
            Outcome::Ok | Outcome::Abandoned => return,
            Outcome::Failed(error) => (error, false),
            Outcome::Panicked(text) => (text, true),
        };
        self.0.services.metrics.error(Kind::Regular);
        let message = &job.message;
        let (topic, partition, offset) = (message.topic().as_str(), message.partition(), message.offset);
        error!(kind = "regular", topic, partition, offset, panicked, %error, "regular message failed");
    }
}
