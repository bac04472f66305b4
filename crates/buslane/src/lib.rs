//! buslane
