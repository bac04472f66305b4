//! Messages that another scheduler goes on with, and those of another that this one goes on with.

use super::{Item, Scheduler};
use crate::count::Counts;
use buslane_core::{Moved, Taken};

impl<T: Item> Scheduler<T> {
    /// Takes out every message whose key hash `matches` and that is not running.
    ///
    /// When nothing of these keys is submitted meanwhile, what is not running now does not run here
    /// again: it is out, and what is running can but end or wait for a retry.
    pub fn take(&self, matches: &dyn Fn(u64) -> bool) -> Taken<T> {
        let (mut taken, mut wakers) = (Taken::default(), Vec::new());
        let mut core = self.core.lock();
        for tray in &self.trays {
            let mut tray = tray.lock();
            self.report_ended(&mut core, &mut tray, &mut wakers);
            if tray.running.is_some() && matches(tray.running_key) {
                taken.running.push(tray.running_key);
            }
            let mut waiting = Vec::new();
            tray.extract(&|item: &T| matches(item.lane()), |lane, item| waiting.push((lane, item)));
            drop(tray);
            for (lane, item) in waiting.into_iter().rev() {
                core.lanes.give_back(lane, item);
            }
        }
        core.lanes.extract(&|item| matches(item.lane()), &|item| item.bytes(), &mut |moved| {
            taken.moved.push(moved)
        });
        core.count(Counts { moved: taken.moved.len() as u64, ..Counts::ZERO });
        self.after_finish(&mut core, &mut wakers);
        self.rouse_worker(&mut core, &mut wakers);
        self.leave(core, wakers);
        taken
    }

    /// Takes messages over, whatever the bounds say. Returns those that a closed scheduler does not
    /// take, for the caller to drop.
    pub fn put(&self, messages: Vec<Moved<T>>) -> Vec<Moved<T>> {
        let mut wakers = Vec::new();
        let mut core = self.core.lock();
        if !core.open {
            return messages;
        }
        core.count(Counts { accepted: messages.len() as u64, ..Counts::ZERO });
        for moved in messages {
            let item = &moved.item;
            core.lanes.adopt(
                self.mode.lane(item.lane()),
                self.mode.kind(item),
                item.bytes(),
                moved,
            );
        }
        // Some of them may be due before what it waits for.
        wakers.extend(core.timer.take());
        self.rouse_worker(&mut core, &mut wakers);
        self.leave(core, wakers);
        Vec::new()
    }
}
