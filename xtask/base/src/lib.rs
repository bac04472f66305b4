//! What the project's own commands share: processes, the workspace's metadata, tools and programs
//! that they install or build, tables and pictures. No command of its own, no check but that of
//! licences.
#![allow(clippy::print_stdout, reason = "a command line program answers on standard output")]

pub mod http;
pub mod plot;
pub mod process;
pub mod programs;
pub mod table;
pub mod tools;
pub mod workspace;
