//! Shared parts of the project's own commands: processes, the workspace's metadata, tools and
//! programs that they install or build, tables and pictures. Holds no command, and no check but
//! that of licences.
#![allow(clippy::print_stdout, reason = "a command line program answers on standard output")]

pub mod http;
pub mod plot;
pub mod process;
pub mod programs;
pub mod table;
pub mod tools;
pub mod workspace;
