//! What becomes of an envelope that no further attempt will help.

use buslane_core::Topic;

pub use crate::config::DeadLetterFormat;

/// The terminal policy of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Terminal {
    /// The key waits and is tried again at the longest backoff. The default: nothing is given up
    /// unasked.
    #[default]
    Block,
    /// Settled, counted, logged as an error.
    Skip,
    /// Written to a topic; the key blocks as long as that fails.
    DeadLetter {
        /// Where to.
        topic: Topic,
        /// In which form.
        format: DeadLetterFormat,
    },
}
