//! buslane-memory
