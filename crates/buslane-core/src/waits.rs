//! Many waits with the same timeout, without a timer for each.
//!
//! Nearly all waits end long before their timeout. A timer for each would still cost a lock to set
//! it, a lock to drop it, and often a system call to wake the thread that keeps the time. Here a
//! wait is an entry in one of a few lists, and one task checks the lists now and then while they
//! are not empty. Waits take turns on the lists, so that they rarely meet at a lock.

use pin_project_lite::pin_project;
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use thiserror::Error;

/// The shortest and the longest time between two checks.
const PACE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));
/// The number of checks in a row that find no wait before the task sleeps. The next wait may be
/// near, and waking the task costs more than a check.
const VAIN_LOOKS: u32 = 16;
/// The number of lists.
const LISTS: usize = 16;

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
    lists: [Mutex<List>; LISTS],
    turn: AtomicUsize,
    /// The watching task, while all lists are empty.
    watcher: Mutex<Option<Waker>>,
    /// Whether there is a watcher to wake. Set before the lists are checked, and read after a list
    /// has a new entry: one of both sees the other.
    is_watched: AtomicBool,
}

struct Note {
    after: Duration,
    call: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct List {
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
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
        Self {
            most,
            note: None,
            lists: [const { Mutex::new(List { entries: Vec::new(), free: Vec::new() }) }; LISTS],
            turn: AtomicUsize::new(0),
            watcher: Mutex::new(None),
            is_watched: AtomicBool::new(false),
        }
    }

    /// Calls `call` once for each wait that lasts longer than `after`, at the latest when the wait
    /// ends. The call happens under a lock that other waits take.
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
        Within { ticket: Ticket { waits: self, place: None }, wait }
    }

    /// Ends waits at their timeout, until it is dropped. One task must run it.
    ///
    /// # Cancel safety
    /// Safe: another call continues.
    pub async fn watch<S: Future>(&self, sleep: impl Fn(Duration) -> S) {
        let pace = (self.most / 100).clamp(PACE.0, PACE.1);
        loop {
            poll_fn(|cx| self.poll_any(cx)).await;
            let mut vain = 0;
            while vain < VAIN_LOOKS {
                sleep(pace).await;
                vain = if self.look(Instant::now()) { 0 } else { vain + 1 };
            }
        }
    }

    /// Ends the waits that have reached their timeout. Returns whether there was any wait.
    fn look(&self, now: Instant) -> bool {
        let mut is_any = false;
        for list in &self.lists {
            let mut list = locked(list);
            for entry in list.entries.iter_mut().flatten() {
                let waited = now.saturating_duration_since(entry.begun);
                entry.note(waited, self.note.as_ref());
                if waited >= self.most && !std::mem::replace(&mut entry.is_over, true) {
                    entry.waker.wake_by_ref();
                }
            }
            is_any |= !list.is_empty();
        }
        is_any
    }

    fn is_empty(&self) -> bool {
        self.lists.iter().all(|list| locked(list).is_empty())
    }

    fn poll_any(&self, cx: &Context<'_>) -> Poll<()> {
        *locked(&self.watcher) = Some(cx.waker().clone());
        self.is_watched.store(true, Ordering::SeqCst);
        if self.is_empty() {
            return Poll::Pending;
        }
        self.is_watched.store(false, Ordering::SeqCst);
        Poll::Ready(())
    }

    fn wake_watcher(&self) {
        if self.is_watched.load(Ordering::SeqCst)
            && self.is_watched.swap(false, Ordering::SeqCst)
            && let Some(watcher) = locked(&self.watcher).take()
        {
            watcher.wake();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        if let Some(at) = self.free.pop() {
            self.entries[at] = Some(entry);
            return at;
        }
        self.entries.push(Some(entry));
        self.entries.len() - 1
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

/// The entry of a wait, once it has one.
struct Ticket<'a> {
    waits: &'a Waits,
    place: Option<Place<'a>>,
}

struct Place<'a> {
    list: &'a Mutex<List>,
    at: usize,
}

impl Ticket<'_> {
    /// Registers the wait, and returns whether it may continue.
    fn waits(&mut self, waker: &Waker) -> bool {
        let Some(place) = &self.place else {
            self.register(waker);
            return true;
        };
        let mut list = locked(place.list);
        let Some(entry) = &mut list.entries[place.at] else { return true };
        entry.waker.clone_from(waker);
        !entry.is_over
    }

    fn register(&mut self, waker: &Waker) {
        let waits = self.waits;
        let list = &waits.lists[waits.turn.fetch_add(1, Ordering::Relaxed) % LISTS];
        let (begun, waker) = (Instant::now(), waker.clone());
        let at = locked(list).add(Entry { begun, waker, is_noted: false, is_over: false });
        self.place = Some(Place { list, at });
        waits.wake_watcher();
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let Some(Place { list, at }) = self.place else { return };
        let mut list = locked(list);
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

    fn entries(waits: &Waits) -> usize {
        waits.lists.iter().map(|list| locked(list).entries.len()).sum()
    }

    #[test]
    fn b6_places_are_taken_again() {
        let (waits, (_, waker)) = (Waits::new(MOST), waker());
        let mut cx = Context::from_waker(&waker);
        for _ in 0..10 * LISTS {
            assert!(pin!(waits.within(pending::<()>())).poll(&mut cx).is_pending());
        }
        assert!(entries(&waits) <= LISTS);
    }

    /// A wait whose list is locked delays none of the other lists.
    #[test]
    fn b5_waits_take_turns_on_the_lists() {
        let (waits, (_, waker)) = (Waits::new(MOST), waker());
        let mut cx = Context::from_waker(&waker);
        let mut first = Box::pin(waits.within(pending::<()>()));
        assert!(first.as_mut().poll(&mut cx).is_pending());
        let held = locked(&waits.lists[0]);
        for _ in 1..LISTS {
            assert!(pin!(waits.within(pending::<()>())).poll(&mut cx).is_pending());
        }
        drop(held);
        assert!(!waits.is_empty());
    }

    #[test]
    fn b6_a_wait_that_ends_at_once_is_never_listed() {
        let (waits, (_, waker)) = (Waits::new(MOST), waker());
        assert_eq!(
            pin!(waits.within(ready(7))).poll(&mut Context::from_waker(&waker)),
            Poll::Ready(Ok(7))
        );
        assert!(entries(&waits) == 0);
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
        assert!(waits.is_empty() && !waits.look(begun));
        let mut next = Box::pin(waits.within(pending::<()>()));
        assert!(next.as_mut().poll(&mut cx).is_pending());
        assert!(!waits.is_empty());
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
