//! Lanes that wait for their next attempt, and the timer that makes them go on.

use super::{Item, Scheduler};
use crate::{count::Counts, lanes::LaneRef};
use std::{task::Context, time::Instant};

/// What a timer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// The next parked lane is due then, or idle ones are.
    Due(Instant),
    /// No lane is parked, and none is idle.
    Nothing,
    /// The scheduler is closed.
    Closed,
}

impl<T: Item> Scheduler<T> {
    /// Puts the running message back to the front of its lane, and lets the lane wait until
    /// `until`. While the scheduler closes nobody waits for a retry: the message is abandoned
    /// instead, and with it what stands behind it and would overtake it. What is no retry waits
    /// alike, and is not counted as one. Tells whether to yield before the next message, as
    /// [`Next::Run`] does.
    ///
    /// [`Next::Run`]: crate::Next::Run
    pub fn park(
        &self,
        worker: usize,
        lane: LaneRef,
        item: T,
        until: Instant,
        blocked: bool,
        is_retry: bool,
    ) -> bool {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        let sooner = core.lanes.next_due().is_none_or(|due| until < due);
        {
            let mut tray = self.trays[worker].lock();
            tray.running = None;
            let mut behind = Vec::new();
            while let Some(item) = tray.pop_front_of(lane) {
                behind.push(item);
            }
            self.report_ended(&mut core, &mut tray, &mut wakers);
            drop(tray);
            for item in behind.into_iter().rev() {
                core.lanes.give_back(lane, item);
            }
        }
        let mut gone = Vec::new();
        if core.open {
            core.lanes.park(lane, item, until, blocked);
            core.count(Counts { retried: is_retry.into(), ..Counts::ZERO });
            wakers.extend(core.timer.take_if(|_| sooner));
            self.wake_waiters(&mut core, &mut wakers);
        } else {
            core.lanes.abandon(lane, item, &|item| item.bytes(), &mut |item| gone.push(item));
            core.abandoned(gone.len());
            self.after_finish(&mut core, &mut wakers);
        }
        let woken = !wakers.is_empty();
        self.leave(core, wakers);
        drop(gone);
        woken
    }

    /// Makes the parked lanes ready whose time has come, forgets the idle ones whose time is over,
    /// and returns when to ask again. Wakes `cx` when that comes to be earlier, or the scheduler
    /// closes.
    pub fn tick(&self, cx: &Context<'_>, now: Instant) -> Tick {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        if !core.open {
            return Tick::Closed;
        }
        for _ in 0..core.lanes.wake_due(now) {
            wakers.extend(self.wake_worker(&mut core));
        }
        let idle = core.lanes.stats().idle_lanes;
        let swept = core.lanes.sweep(now);
        core.has_news |= core.lanes.stats().idle_lanes != idle;
        core.timer = Some(cx.waker().clone());
        let due = [core.lanes.next_due(), swept].into_iter().flatten().min();
        let tick = due.map_or(Tick::Nothing, Tick::Due);
        self.leave(core, wakers);
        tick
    }
}
