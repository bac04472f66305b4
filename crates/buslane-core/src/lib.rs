//! buslane-core
