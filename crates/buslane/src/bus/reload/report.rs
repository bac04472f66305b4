//! What a reload came to.

use std::fmt;

/// What a reload came to. All three are empty when nothing differs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadReport {
    /// Keys whose new values are in force.
    pub applied: Vec<String>,
    /// Keys whose new values are not, because another one wins.
    pub refused: Vec<ReloadRefusal>,
    /// Keys whose new values come into force with the next start.
    pub needs_restart: Vec<String>,
}

/// Why the new value of a key does not come into force.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadRefusal {
    /// The key.
    pub key: String,
    /// What wins, and what to do.
    pub reason: String,
}

impl fmt::Display for ReloadRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}
