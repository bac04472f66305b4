//! buslane
pub mod config;
