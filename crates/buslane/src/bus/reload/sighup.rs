//! SIGHUP: the file is read again.

use super::{EventBus, ReloadReport};
use crate::Config;
use std::{fmt::Display, io, sync::Arc};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

impl EventBus {
    /// Reads the file that `BUSLANE_CONFIG` names again each time this process gets a SIGHUP, and
    /// does what [`EventBus::reload`] does. Each time is one line of log: `configuration reloaded`,
    /// or `configuration reload refused` with what was refused and why, also when the file cannot
    /// be read; then nothing has changed. It ends with the bus.
    ///
    /// `false` when that variable names no file: then nothing is done, and a SIGHUP ends the
    /// process as it ever did. Call it once.
    ///
    /// # Errors
    /// The signal cannot be listened for.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn reload_on_sighup(&self) -> io::Result<bool> {
        if !Config::names_file() {
            return Ok(false);
        }
        let mut hangups = signal(SignalKind::hangup())?;
        let (reading, inner) = (self.0.flow.state.reading.clone(), Arc::downgrade(&self.0));
        self.spawn(async move {
            while let Some(Some(())) = reading.run_until_cancelled(hangups.recv()).await {
                // Reading a file may block.
                let config = tokio::task::spawn_blocking(Config::load).await;
                let Some(bus) = inner.upgrade().map(EventBus) else { return };
                match config {
                    Ok(Ok(config)) => match bus.reload(&config) {
                        Ok(report) => tell(&report),
                        Err(error) => refuse(&error),
                    },
                    Ok(Err(error)) => refuse(&error),
                    Err(error) => refuse(&error),
                }
            }
        });
        Ok(true)
    }
}

fn tell(ReloadReport { applied, refused, needs_restart }: &ReloadReport) {
    let (applied, needs_restart) = (applied.join(", "), needs_restart.join(", "));
    if refused.is_empty() {
        info!(applied, needs_restart, "configuration reloaded");
    } else {
        let reason = refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        warn!(reason, applied, needs_restart, "configuration reload refused");
    }
}

fn refuse(error: &dyn Display) {
    warn!(reason = %error, applied = "", needs_restart = "", "configuration reload refused");
}
