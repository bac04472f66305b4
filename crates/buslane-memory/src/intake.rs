//! Reads a partition for the member that holds it.

use crate::{
    assignment::Assignment, partition::Partition, topic::TopicState, wakes::Connection,
    wakes::DeferredWakes,
};
use buslane_core::{Delivery, Intake, Source};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::time::{Instant, Sleep};

pub(crate) struct MemoryIntake {
    pub(crate) assignment: Arc<Assignment>,
    pub(crate) partition: Arc<Partition>,
    pub(crate) topic: Arc<TopicState>,
    pub(crate) connection: Arc<Connection>,
    /// Set while a scripted delay holds deliveries.
    pub(crate) held: Option<Pin<Box<Sleep>>>,
}

impl MemoryIntake {
    /// Pending while a scripted delay holds the topic's deliveries.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(held) = &mut self.held {
                std::task::ready!(held.as_mut().poll(cx));
                self.held = None;
            }
            match self.topic.script(|script| script.held(Instant::now())) {
                Some(until) => self.held = Some(Box::pin(tokio::time::sleep_until(until))),
                None => return Poll::Ready(()),
            }
        }
    }
}

impl Intake for MemoryIntake {
    fn source(&self) -> &Arc<Source> {
        &self.assignment.source
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        out: &mut Vec<Delivery>,
    ) -> Poll<Option<usize>> {
        if !self.connection.is_up() {
            let ended = self.partition.wait_reader(&self.assignment, cx.waker());
            // Checked again, because a connection that returned in between has already woken its
            // readers.
            if ended || !self.connection.is_up() {
                return if ended { Poll::Ready(None) } else { Poll::Pending };
            }
        }
        let mut wakes = DeferredWakes::default();
        if !self.topic.is_scripted() {
            let read =
                self.partition.poll_read(&self.assignment, None, cx.waker(), max, out, &mut wakes);
            wakes.run();
            return read;
        }
        if self.poll_held(cx).is_pending() {
            let ended = self.partition.wait_reader(&self.assignment, cx.waker());
            return if ended { Poll::Ready(None) } else { Poll::Pending };
        }
        let read = self.topic.script(|script| {
            self.partition.poll_read(
                &self.assignment,
                Some(script),
                cx.waker(),
                max,
                out,
                &mut wakes,
            )
        });
        wakes.run();
        read
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.assignment.is_ended() || self.partition.wait_end(&self.assignment, cx.waker()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}
