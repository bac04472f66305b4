//! Taking messages out again, and the end.

use super::{Item, Scheduler};
use std::task::{Context, Poll};

impl<T: Item> Scheduler<T> {
    /// Removes every message that `matches` and is not running, and returns them for the caller to
    /// drop.
    pub fn purge(&self, matches: &dyn Fn(&T) -> bool) -> Vec<T> {
        let (mut gone, mut wakers) = (Vec::new(), Vec::new());
        let mut core = self.core.lock();
        for worker in core.workers.claimers() {
            let mut tray = self.trays[worker].lock();
            self.report_ended(&mut core, &mut tray, &mut wakers);
            let mut taken = Vec::new();
            tray.extract(matches, |lane, item| taken.push((lane, item)));
            drop(tray);
            for (lane, item) in taken {
                core.lanes.finish(lane, 1, item.bytes());
                gone.push(item);
            }
        }
        core.lanes.purge(matches, &|item| item.bytes(), &mut |item| gone.push(item));
        core.abandoned(gone.len());
        self.after_finish(&mut core, &mut wakers);
        self.leave(core, wakers);
        gone
    }

    /// Takes no more messages, and returns those of parked lanes for the caller to drop: nobody
    /// waits for a retry now.
    pub fn close(&self) -> Vec<T> {
        let (mut gone, mut wakers) = (Vec::new(), Vec::new());
        let mut core = self.core.lock();
        core.open = false;
        core.lanes.keep_none();
        core.has_news = true;
        core.lanes.purge_parked(&|item| item.bytes(), &mut |item| gone.push(item));
        core.abandoned(gone.len());
        core.waiters.take_all(|waker| wakers.push(waker));
        wakers.extend(core.timer.take());
        self.after_finish(&mut core, &mut wakers);
        self.leave(core, wakers);
        gone
    }

    /// Whether it takes messages.
    pub fn is_open(&self) -> bool {
        self.core.lock().open
    }

    /// Ready when the scheduler is closed and nothing is open.
    pub fn poll_drained(&self, cx: &Context<'_>) -> Poll<()> {
        let mut core = self.core.lock();
        if !core.open && core.lanes.is_empty() {
            return Poll::Ready(());
        }
        if !core.idle.iter().any(|waker| waker.will_wake(cx.waker())) {
            core.idle.push(cx.waker().clone());
        }
        Poll::Pending
    }
}
