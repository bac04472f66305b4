//! Many waits with the same timeout, without a timer for each.
//!
//! Nearly all waits end long before their timeout. A timer for each would still cost a lock to set
//! it, a lock to drop it, and often a system call to wake the thread that keeps the time. Here a
//! wait is an entry in a list, and one task checks the list now and then while it is not empty.

use pin_project_lite::pin_project;
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use thiserror::Error;

/// The shortest and the longest time between two checks.
const PACE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));
/// The number of checks in a row that find no wait before the task sleeps. The next wait may be
/// near, and waking the task costs more than a check.
const VAIN_LOOKS: u32 = 16;

/// A wait has reached its timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("waited too long")]
pub struct TooLong;

/// Waits with the same timeout, which [`Waits::watch`] watches.
///
/// A wait ends at its timeout, or later by up to a hundredth of it, but by at most 100 ms. Use it
/// to bound a wait, not to measure time.
///
/// ```
/// use buslane_core::{TooLong, Waits};
/// use std::{future::Future, time::Duration};
///
/// async fn answer_in_time(
///     waits: &Waits,
///     answer: impl Future<Output = u64>,
/// ) -> Result<u64, TooLong> {
///     waits.within(answer).await
/// }
///
/// // One task runs `waits.watch(tokio::time::sleep)`.
/// let waits = Waits::new(Duration::from_secs(5));
/// # use std::{future::ready, pin::pin, task::{Context, Poll, Waker}};
/// # let mut context = Context::from_waker(Waker::noop());
/// # let answer = pin!(answer_in_time(&waits, ready(7))).poll(&mut context);
/// # assert_eq!(answer, Poll::Ready(Ok(7)));
/// ```
pub struct Waits {
    most: Duration,
    note: Option<Note>,
    list: Mutex<List>,
}

struct Note {
    after: Duration,
    call: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct List {
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    /// The watching task, while the list is empty.
    watcher: Option<Waker>,
}

struct Entry {
    begun: Instant,
    waker: Waker,
    is_noted: bool,
    is_over: bool,
}

impl Waits {
    /// Waits with the timeout `most`.
    #[must_use]
    pub const fn new(most: Duration) -> Self {
        let list = List { entries: Vec::new(), free: Vec::new(), watcher: None };
        Self { most, note: None, list: Mutex::new(list) }
    }

    /// Calls `call` once for each wait that lasts longer than `after`, at the latest when the wait
    /// ends. The call happens under a lock that every wait takes.
    #[must_use]
    pub fn noting(self, after: Duration, call: impl Fn() + Send + Sync + 'static) -> Self {
        Self { note: Some(Note { after, call: Box::new(call) }), ..self }
    }

    /// Waits for `wait` up to the timeout, and never less. Without [`Waits::watch`] the timeout has
    /// no effect.
    ///
    /// # Errors
    /// [`TooLong`] at the timeout; `wait` is dropped with the future.
    ///
    /// # Cancel safety
    /// As that of `wait`.
    pub const fn within<F: Future>(&self, wait: F) -> Within<'_, F> {
        Within { ticket: Ticket { waits: self, at: None }, wait }
    }

    /// Ends waits at their timeout, until it is dropped. One task must run it.
    ///
    /// # Cancel safety
    /// Safe: another call continues.
    pub async fn watch<S: Future>(&self, sleep: impl Fn(Duration) -> S) {
        let pace = (self.most / 100).clamp(PACE.0, PACE.1);
        loop {
            poll_fn(|cx| self.list().poll_any(cx)).await;
            let mut vain = 0;
            while vain < VAIN_LOOKS {
                sleep(pace).await;
                vain = if self.look(Instant::now()) { 0 } else { vain + 1 };
            }
        }
    }

    /// Ends the waits that have reached their timeout. Returns whether the list had an entry.
    fn look(&self, now: Instant) -> bool {
        let mut list = self.list();
        for entry in list.entries.iter_mut().flatten() {
            let waited = now.saturating_duration_since(entry.begun);
            entry.note(waited, self.note.as_ref());
            if waited >= self.most && !std::mem::replace(&mut entry.is_over, true) {
                entry.waker.wake_by_ref();
            }
        }
        !list.is_empty()
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waits").field("most", &self.most).finish_non_exhaustive()
    }
}

impl List {
    const fn is_empty(&self) -> bool {
        self.entries.len() == self.free.len()
    }

    fn add(&mut self, entry: Entry) -> usize {
        if let Some(watcher) = self.watcher.take() {
            watcher.wake();
        }
        if let Some(at) = self.free.pop() {
            self.entries[at] = Some(entry);
            return at;
        }
        self.entries.push(Some(entry));
        self.entries.len() - 1
    }

    fn poll_any(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.is_empty() {
            self.watcher = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl Entry {
    fn note(&mut self, waited: Duration, note: Option<&Note>) {
        if let Some(note) = note
            && waited >= note.after
            && !std::mem::replace(&mut self.is_noted, true)
        {
            (note.call)();
        }
    }
}

pin_project! {
    /// The future of [`Waits::within`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Within<'a, F> {
        ticket: Ticket<'a>,
        #[pin]
        wait: F,
    }
}

/// The entry of a wait in the list, once it has one.
struct Ticket<'a> {
    waits: &'a Waits,
    at: Option<usize>,
}

impl Ticket<'_> {
    /// Registers the wait, and returns whether it may continue.
    fn waits(&mut self, waker: &Waker) -> bool {
        let mut list = self.waits.list();
        let Some(entry) = self.at.and_then(|at| list.entries[at].as_mut()) else {
            let begun = Instant::now();
            self.at = Some(list.add(Entry {
                begun,
                waker: waker.clone(),
                is_noted: false,
                is_over: false,
            }));
            return true;
        };
        entry.waker.clone_from(waker);
        !entry.is_over
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let Some(at) = self.at else { return };
        let mut list = self.waits.list();
        list.free.push(at);
        if let Some(mut entry) = list.entries[at].take()
            && let Some(note) = &self.waits.note
        {
            entry.note(entry.begun.elapsed(), Some(note));
        }
    }
}

impl<F: Future> Future for Within<'_, F> {
    type Output = Result<F::Output, TooLong>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.wait.poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending if this.ticket.waits(cx.waker()) => Poll::Pending,
            Poll::Pending => Poll::Ready(Err(TooLong)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::{pending, ready},
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
        task::Wake,
    };

    const MOST: Duration = Duration::from_secs(10);

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn waker() -> (Arc<Wakes>, Waker) {
        let wakes = Arc::<Wakes>::default();
        (Arc::clone(&wakes), Waker::from(wakes))
    }

    #[test]
    fn b6_a_wait_that_ends_at_once_is_never_listed() {
        let (waits, (_, waker)) = (Waits::new(MOST), waker());
        assert_eq!(
            pin!(waits.within(ready(7))).poll(&mut Context::from_waker(&waker)),
            Poll::Ready(Ok(7))
        );
        assert!(waits.list().entries.is_empty());
    }

    #[test]
    fn b6_a_wait_ends_at_its_time_and_leaves_its_place() {
        let (waits, (wakes, waker)) = (Waits::new(MOST), waker());
        let mut cx = Context::from_waker(&waker);
        let mut wait = Box::pin(waits.within(pending::<()>()));
        assert!(wait.as_mut().poll(&mut cx).is_pending());
        let begun = Instant::now();
        assert!(waits.look(begun + MOST / 2));
        assert!(wait.as_mut().poll(&mut cx).is_pending());
        assert_eq!(wakes.0.load(SeqCst), 0);
        assert!(waits.look(begun + MOST));
        assert!(waits.look(begun + 2 * MOST));
        assert_eq!(wakes.0.load(SeqCst), 1);
        assert_eq!(wait.as_mut().poll(&mut cx), Poll::Ready(Err(TooLong)));
        drop(wait);
        assert!(waits.list().is_empty() && !waits.look(begun));
        let mut next = Box::pin(waits.within(pending::<()>()));
        assert!(next.as_mut().poll(&mut cx).is_pending());
        assert_eq!(waits.list().entries.len(), 1, "the place is taken again");
        assert!(!waits.list().is_empty());
    }

    #[test]
    fn b6_a_long_wait_is_noted_once_while_it_waits_or_at_its_end() {
        let noted = Arc::<AtomicUsize>::default();
        let note = Arc::clone(&noted);
        let waits = Waits::new(MOST).noting(Duration::ZERO, move || {
            note.fetch_add(1, SeqCst);
        });
        let (_, waker) = waker();
        let mut cx = Context::from_waker(&waker);
        let (mut seen, mut unseen) =
            (Box::pin(waits.within(pending::<()>())), Box::pin(waits.within(pending::<()>())));
        assert!(seen.as_mut().poll(&mut cx).is_pending());
        waits.look(Instant::now());
        waits.look(Instant::now());
        assert_eq!(noted.load(SeqCst), 1);
        assert!(unseen.as_mut().poll(&mut cx).is_pending());
        drop((seen, unseen));
        assert_eq!(noted.load(SeqCst), 2);
    }

    #[test]
    fn b6_who_watches_is_woken_by_the_first_wait_alone() {
        let (waits, (wakes, waker)) = (Waits::new(MOST), waker());
        let mut cx = Context::from_waker(&waker);
        let mut watching = pin!(waits.watch(|_| pending::<()>()));
        assert!(watching.as_mut().poll(&mut cx).is_pending());
        let (mut first, mut second) =
            (Box::pin(waits.within(pending::<()>())), Box::pin(waits.within(pending::<()>())));
        assert!(
            first.as_mut().poll(&mut cx).is_pending() && second.as_mut().poll(&mut cx).is_pending()
        );
        assert_eq!(wakes.0.load(SeqCst), 1);
    }
}
