//! A plan of a rollout: its stages, and which of them it is at. Pure: the time is an argument, and
//! the guard decides what the figures mean.

mod progress;
mod text;

pub use text::PlanError;

pub(crate) use progress::{Progress, Step};

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A share of the keys, and for how long it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// Keys on the actor side, in percent: 1 to 100.
    pub percent: u8,
    /// How long it lasts at least. None: until the figures of one window allow the next stage.
    pub hold: Duration,
}

/// Who begins the next stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advance {
    /// Somebody does, once told that it may. The default.
    #[default]
    Manual,
    /// The plan does, as soon as it may.
    Automatic,
}

/// Stages of a rollout, each with more keys than the one before.
///
/// Read from text such as `10,50,100` or `10 for 1h, 50 for 1h, 100`, and displayed as such; the
/// one that is read advances by hand. Serialized as `{"stages": "10 for 1h, 100", "advance":
/// "manual"}`; `advance` may be left out when read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "text::Written", into = "text::Written")]
pub struct Plan {
    stages: Vec<Stage>,
    advance: Advance,
}

impl Plan {
    /// A plan of these stages.
    ///
    /// # Errors
    /// There are none, or a percentage is not within 1 and 100 or not above that of the stage
    /// before.
    pub fn new(stages: Vec<Stage>, advance: Advance) -> Result<Self, PlanError> {
        let mut before = 0;
        for Stage { percent, .. } in &stages {
            if !(1..=100).contains(percent) {
                return Err(PlanError::Percent { found: percent.to_string() });
            }
            if *percent <= before {
                return Err(PlanError::NotRising { before, percent: *percent });
            }
            before = *percent;
        }
        if stages.is_empty() { Err(PlanError::Empty) } else { Ok(Self { stages, advance }) }
    }

    /// The same plan with another way to advance.
    #[must_use]
    pub fn advancing(self, advance: Advance) -> Self {
        Self { advance, ..self }
    }

    /// Its stages: one at least, and their percentages rise.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Who begins the next stage.
    #[must_use]
    pub const fn advance(&self) -> Advance {
        self.advance
    }
}
