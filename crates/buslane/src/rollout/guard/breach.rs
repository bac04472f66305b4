//! What a roll-back by the guard was for: the trigger and the figures that caused it. It is told,
//! not decided, here.

use serde::{Serialize, Serializer};
use std::{fmt, time::Duration};

/// Which limit was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trigger {
    /// p99 of accepted to outcome is too far above the baseline.
    Latency,
    /// Too large a share of the messages restarts an actor.
    Restarts,
    /// The share of failed attempts is too far above the baseline.
    Errors,
    /// Resident memory has been too far above its value at the stage's begin for too long.
    Memory,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Latency => "latency",
            Self::Restarts => "restarts",
            Self::Errors => "errors",
            Self::Memory => "memory",
        })
    }
}

/// A limit that the actor side passed, with the figures. Displayed as one line of a log.
///
/// `actor`, `baseline` and `limit` are milliseconds of p99 for [`Trigger::Latency`], shares (0.01
/// is 1 %) of the messages or attempts for [`Trigger::Restarts`] and [`Trigger::Errors`], and bytes
/// of the process for [`Trigger::Memory`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Breach {
    /// Which limit.
    pub trigger: Trigger,
    /// The time the figures are of; for memory, how long it has been over the limit. Serialized as
    /// seconds.
    #[serde(rename = "window_seconds", serialize_with = "seconds")]
    pub window: Duration,
    /// Messages of the keyed side in it; at 100 % those of the window that stands for it, 0 where
    /// nothing does. Memory: 0.
    pub keyed_messages: u64,
    /// Messages of the actor side in it. Memory: 0.
    pub actor_messages: u64,
    /// The actor side's value; for memory that of the process.
    pub actor: f64,
    /// What it is compared with: the keyed side's value; restarts: 0; memory: the value at the
    /// stage's begin.
    pub baseline: f64,
    /// The value that was passed.
    pub limit: f64,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trigger, actor, baseline, limit, .. } = self;
        let percent = |share: &f64| share * 100.0;
        let mebibytes = |bytes: &f64| bytes / f64::from(1 << 20);
        match trigger {
            Trigger::Latency => {
                write!(f, "latency: p99 {actor:.3} ms beside {baseline:.3} ms, limit {limit:.3} ms")
            }
            Trigger::Restarts => {
                write!(
                    f,
                    "restarts: {:.2} % of the messages, limit {:.2} %",
                    percent(actor),
                    percent(limit)
                )
            }
            Trigger::Errors => write!(
                f,
                "errors: {:.2} % of the attempts beside {:.2} %, limit {:.2} %",
                percent(actor),
                percent(baseline),
                percent(limit)
            ),
            Trigger::Memory => write!(
                f,
                "memory: {:.0} MiB resident, {:.0} MiB when the stage began, limit {:.0} MiB",
                mebibytes(actor),
                mebibytes(baseline),
                mebibytes(limit)
            ),
        }?;
        write!(f, "; over {:.0} s", self.window.as_secs_f64())?;
        if *trigger == Trigger::Memory {
            return Ok(());
        }
        write!(f, ", {} actor messages, {} keyed", self.actor_messages, self.keyed_messages)
    }
}

fn seconds<S: Serializer>(duration: &Duration, target: S) -> Result<S::Ok, S::Error> {
    target.serialize_f64(duration.as_secs_f64())
}
