//! The reason of a roll-back by the guard: which limit was exceeded, and by which figures.

use serde::{Serialize, Serializer};
use std::{fmt, time::Duration};

/// The limit that was exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trigger {
    /// p99 from acceptance to outcome is too far above the baseline.
    Latency,
    /// Too many messages restart an actor.
    Restarts,
    /// The share of failed attempts is too far above the baseline.
    Errors,
    /// Resident memory stayed too far above its value at the stage's begin.
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

/// A limit that the actor pool exceeded, with the figures. Displayed as one line.
///
/// The unit of `actor`, `baseline` and `limit` depends on the trigger: milliseconds of p99 for
/// [`Trigger::Latency`], shares (0.01 is 1 %) of the messages for [`Trigger::Restarts`] and of the
/// attempts for [`Trigger::Errors`], bytes of the process for [`Trigger::Memory`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Breach {
    /// The limit.
    pub trigger: Trigger,
    /// The time that the figures cover; for memory, how long it has been above the limit.
    /// Serialized as seconds.
    #[serde(rename = "window_seconds", serialize_with = "seconds")]
    pub window: Duration,
    /// Messages of the keyed pool in the window; at 100 %, those of the baseline. 0 without a
    /// baseline, and for memory.
    pub keyed_messages: u64,
    /// Messages of the actor pool in the window; 0 for memory.
    pub actor_messages: u64,
    /// The actor pool's value; for memory, the process's.
    pub actor: f64,
    /// The keyed pool's value. Restarts: 0. Memory: its value at the stage's begin.
    pub baseline: f64,
    /// The largest value that is allowed.
    pub limit: f64,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trigger, actor, baseline, limit, .. } = self;
        let percent = |share: &f64| share * 100.0;
        let mebibytes = |bytes: &f64| bytes / f64::from(1 << 20);
        match trigger {
            Trigger::Latency => write!(
                f,
                "latency: p99 {actor:.3} ms, keyed pool {baseline:.3} ms, limit {limit:.3} ms"
            ),
            Trigger::Restarts => write!(
                f,
                "restarts: {:.2} % of the messages, limit {:.2} %",
                percent(actor),
                percent(limit)
            ),
            Trigger::Errors => write!(
                f,
                "errors: {:.2} % of the attempts, keyed pool {:.2} %, limit {:.2} %",
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
