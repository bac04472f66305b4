//! The memory of running attempts, which is reused from message to message.
//!
//! Boxing a future for each message would cost an allocation for each. A worker owns one slot.
//! While it has work, the slot keeps a box for each handler type that it has run, and places the
//! next attempt where the previous one was.

use super::Step;
use pin_project_lite::pin_project;
use std::{
    any::Any,
    future::Future,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// The number of boxes that a slot keeps. A worker that runs more handler types than this allocates
/// when the type changes.
const KEPT: usize = 16;

/// Holds one running attempt at a time. Each worker owns one.
#[derive(Default)]
pub struct AttemptSlot {
    boxes: Vec<Pin<Box<dyn Attempt>>>,
    current: usize,
}

impl AttemptSlot {
    /// An empty slot. Does not allocate.
    #[must_use]
    pub const fn new() -> Self {
        Self { boxes: Vec::new(), current: 0 }
    }

    /// Starts the attempt `make(handler, input)`.
    ///
    /// Allocates only when these types are new to the slot, or new since [`AttemptSlot::rest`].
    pub fn start<H, I, F, Fut>(&mut self, handler: &Arc<H>, input: I, make: F)
    where
        H: Send + Sync + 'static,
        I: Send + 'static,
        F: Fn(Local<H>, I) -> Fut + Send + 'static,
        Fut: Future<Output = Step> + Send + 'static,
    {
        let mut offer = (Some(input), Some(make));
        // The box that was used last is tried first, because messages of one subscription follow
        // each other.
        let kept = self.boxes.len();
        for step in 0..kept {
            let index = (self.current + step) % kept;
            if self.boxes[index].as_mut().restart(handler, &mut offer) {
                self.current = index;
                return;
            }
        }
        let (Some(input), Some(make)) = offer else {
            return;
        };
        let local = Local::new(handler);
        let future = Some(make(local.clone(), input));
        let fresh = Box::pin(Reused {
            handler: Some(local),
            make,
            future,
            input: std::marker::PhantomData,
        });
        if kept < KEPT {
            self.current = kept;
            self.boxes.push(fresh);
        } else {
            self.current = (self.current + 1) % KEPT;
            self.boxes[self.current] = fresh;
        }
    }

    /// Polls the current attempt. Stays pending if there is none.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        match self.boxes.get_mut(self.current) {
            Some(current) => current.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    /// Drops the current attempt after it was cancelled or panicked.
    pub fn clear(&mut self) {
        if let Some(current) = self.boxes.get_mut(self.current) {
            current.as_mut().clear();
        }
    }

    /// Frees every box without a running attempt, while the worker is idle: the handler of an ended
    /// subscription is dropped, and a worker that only a burst needed keeps no memory.
    pub fn rest(&mut self) {
        self.boxes.retain_mut(|kept| kept.as_mut().rest());
        self.current = 0;
    }
}

/// A worker's own reference to a handler.
///
/// Counting references on an `Arc` that all workers share would move a cache line between cores
/// twice for each message. Each worker has a counter of its own instead.
#[allow(clippy::redundant_allocation, reason = "the outer count belongs to the worker")]
pub struct Local<H>(Arc<Arc<H>>);

impl<H> Local<H> {
    fn new(handler: &Arc<H>) -> Self {
        Self(Arc::new(Arc::clone(handler)))
    }

    /// The reference that all workers share, for uses that outlive the attempt.
    #[must_use]
    pub fn shared(&self) -> &Arc<H> {
        &self.0
    }
}

impl<H> Clone for Local<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<H> Deref for Local<H> {
    type Target = H;
    fn deref(&self) -> &H {
        &self.0
    }
}

/// An attempt whose memory the next one of the same type can reuse.
trait Attempt: Send {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Step>;
    fn clear(self: Pin<&mut Self>);
    /// Releases the handler; returns whether an attempt still runs.
    fn rest(self: Pin<&mut Self>) -> bool;
    /// Takes the offered `(Some(input), Some(make))` for `handler`, an `Arc<H>`, if all types
    /// match.
    fn restart(self: Pin<&mut Self>, handler: &dyn Any, offer: &mut dyn Any) -> bool;
}

pin_project! {
    struct Reused<H, I, F, Fut> {
        handler: Option<Local<H>>,
        make: F,
        #[pin]
        future: Option<Fut>,
        input: std::marker::PhantomData<fn(I)>,
    }
}

impl<H, I, F, Fut> Attempt for Reused<H, I, F, Fut>
where
    H: Send + Sync + 'static,
    I: Send + 'static,
    F: Fn(Local<H>, I) -> Fut + Send + 'static,
    Fut: Future<Output = Step> + Send + 'static,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Step> {
        let mut future = self.project().future;
        let Some(running) = future.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        let step = running.poll(cx);
        if step.is_ready() {
            future.set(None);
        }
        step
    }

    fn clear(self: Pin<&mut Self>) {
        self.project().future.set(None);
    }

    fn rest(self: Pin<&mut Self>) -> bool {
        let this = self.project();
        *this.handler = None;
        this.future.is_some()
    }

    fn restart(self: Pin<&mut Self>, handler: &dyn Any, offer: &mut dyn Any) -> bool {
        let Some(handler) = handler.downcast_ref::<Arc<H>>() else {
            return false;
        };
        let Some((input, make)) = offer.downcast_mut::<(Option<I>, Option<F>)>() else {
            return false;
        };
        let mut this = self.project();
        let (Some(input), Some(make)) = (input.take(), make.take()) else {
            return false;
        };
        if !this.handler.as_ref().is_some_and(|local| Arc::ptr_eq(&*local.0, handler)) {
            *this.handler = None;
        }
        let local = this.handler.get_or_insert_with(|| Local::new(handler)).clone();
        *this.make = make;
        this.future.set(Some((this.make)(local, input)));
        true
    }
}

pin_project! {
    /// Runs a future, and returns the text of its panic as an error.
    pub struct CatchPanic<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> CatchPanic<F> {
    /// Wraps `future`.
    pub const fn new(future: F) -> Self {
        Self { future }
    }
}

impl<F: Future> Future for CatchPanic<F> {
    type Output = Result<F::Output, String>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.project().future;
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(payload) => Poll::Ready(Err(panic_text(&*payload))),
        }
    }
}

/// The text in a panic's payload.
#[must_use]
pub fn panic_text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a value that is not text".to_owned()
    }
}
