//! buslane-actor
