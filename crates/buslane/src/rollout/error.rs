//! Why a rollout does not do what it was asked for.

use thiserror::Error;

/// Why a rollout does not do what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RolloutError {
    /// More than every key.
    #[error("percent must be 0 to 100, not {0}")]
    Percent(u8),
    /// There is no plan to go on with.
    #[error("no plan runs")]
    NoPlan,
    /// The plan has no further stage.
    #[error("the plan is at its last stage")]
    LastStage,
    /// The bus is closed.
    #[error("eventbus is closed")]
    Closed,
}
