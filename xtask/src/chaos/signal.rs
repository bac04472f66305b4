//! The signal that asks a process to end.

#[cfg(unix)]
pub(super) fn interrupt(pid: u32) {
    use rustix::process::{Pid, Signal, kill_process};
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended in between, which is what is wanted.
        let _ = kill_process(pid, Signal::INT);
    }
}

/// Brokers are not started here either, so this is never reached.
#[cfg(not(unix))]
pub(super) fn interrupt(_: u32) {}
