//! Who reads which partition: leases in a key-value bucket of the server.
//!
//! A member proves itself alive by writing one key again and again; a partition's key names its
//! owner, and is only ever changed by somebody who knows its last revision. What a member decides
//! is [`machine`](self::machine)'s; what it asks of the server is [`watcher`](self::watcher)'s.

mod keeper;
mod machine;
#[cfg(test)]
mod simulation;
mod term;
mod watcher;
mod words;

pub(crate) use keeper::Keeper;
pub(crate) use term::Lease;
