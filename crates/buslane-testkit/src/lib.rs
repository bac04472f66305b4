#![doc = include_str!("../README.md")]

pub mod broker_suite;
