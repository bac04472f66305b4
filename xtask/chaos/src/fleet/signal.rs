//! The signals that ask a process to end, stop it, and let it go on.
//!
//! Brokers are not started where there are none, so these do nothing there.

#[cfg(unix)]
use rustix::process::{Pid, Signal, kill_process};

pub(crate) fn interrupt(pid: u32) {
    #[cfg(unix)]
    send(pid, Signal::INT);
    #[cfg(not(unix))]
    let _ = pid;
}

pub(crate) fn stop(pid: u32) {
    #[cfg(unix)]
    send(pid, Signal::STOP);
    #[cfg(not(unix))]
    let _ = pid;
}

pub(crate) fn go_on(pid: u32) {
    #[cfg(unix)]
    send(pid, Signal::CONT);
    #[cfg(not(unix))]
    let _ = pid;
}

#[cfg(unix)]
fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended in between: then there is nothing left to do.
        let _ = kill_process(pid, signal);
    }
}
