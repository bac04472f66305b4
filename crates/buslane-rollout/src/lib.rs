#![doc = include_str!("../README.md")]

mod active_plan;
mod breach;
mod comparison;
mod config;
mod guard;
mod plan;
mod samples;
mod significance;

pub use active_plan::{ActivePlan, Advice, PlanStatus, PlanStep};
pub use breach::{Breach, Trigger};
pub use comparison::{WindowSide, WindowStatus};
pub use config::RolloutConfig;
pub use guard::{Decision, Guard, HoldReason};
pub use plan::{Advance, Plan, PlanError, Stage};
pub use samples::{Sample, SideFigures};
