//! Hands out the messages of one partition.

use super::assignment::{Assignment, Lot, Read};
use buslane_core::{Delivery, Intake, Settle, Settlement, Source};
use std::{
    sync::Arc,
    task::{Context, Poll},
};

pub(crate) struct KafkaIntake {
    assignment: Arc<Assignment>,
}

impl KafkaIntake {
    pub(super) const fn new(assignment: Arc<Assignment>) -> Self {
        Self { assignment }
    }
}

impl Intake for KafkaIntake {
    fn source(&self) -> &Arc<Source> {
        &self.assignment.source
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        out: &mut Vec<Delivery>,
    ) -> Poll<Option<usize>> {
        let (messages, settled) = match self.assignment.take(max, cx) {
            Read::Some { messages, settled } => (messages, settled),
            Read::Ended => return Poll::Ready(None),
            Read::Nothing => return Poll::Pending,
        };
        let count = messages.len();
        let sink: Arc<dyn Settle> = Arc::new(Lot(Arc::clone(&self.assignment)));
        out.extend(messages.into_iter().map(|message| Delivery {
            settlement: if settled {
                Settlement::ignored()
            } else {
                Settlement::new(Arc::clone(&sink), message.offset)
            },
            message,
        }));
        Poll::Ready(Some(count))
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.assignment.poll_end(cx)
    }
}
