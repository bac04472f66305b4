//! Faults while messages flow: `chaos` for rounds of a minute, `soak` for hours, `hostile` for
//! malformed input. Order services run in processes of their own (`fleet`); their ledgers tell the
//! fate of each message (`ledger`).
#![allow(clippy::print_stdout, reason = "a command line program answers on standard output")]
#![allow(missing_docs, reason = "a comment on a struct of options would be its help text")]

pub mod chaos;
mod fleet;
pub mod hostile;
mod ledger;
pub mod soak;
