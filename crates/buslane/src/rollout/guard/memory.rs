//! Resident memory of the process since the stage began. It is not the actor side's own: both sides
//! are one process.

use super::{Breach, Rules, Trigger};
use std::time::Instant;

#[derive(Debug)]
pub(super) struct Memory {
    begun_with: Option<u64>,
    above_since: Option<Instant>,
}

impl Memory {
    /// A stage begins; where it cannot be read, the first value that can be counts.
    pub(super) const fn since(begun_with: Option<u64>) -> Self {
        Self { begun_with, above_since: None }
    }

    /// Over the limit for as long as patience lasts, without a break. A look that could not read it
    /// says nothing.
    pub(super) fn judge(
        &mut self,
        rules: &Rules,
        resident_bytes: Option<u64>,
        at: Instant,
    ) -> Option<Breach> {
        let resident = resident_bytes?;
        let begun_with = *self.begun_with.get_or_insert(resident);
        let limit = begun_with as f64 * (1.0 + rules.max_memory_growth);
        if resident as f64 <= limit {
            self.above_since = None;
            return None;
        }
        let lasted = at.saturating_duration_since(*self.above_since.get_or_insert(at));
        (lasted >= rules.memory_patience).then_some(Breach {
            trigger: Trigger::Memory,
            window: lasted,
            keyed_messages: 0,
            actor_messages: 0,
            actor: resident as f64,
            baseline: begun_with as f64,
            limit,
        })
    }
}
