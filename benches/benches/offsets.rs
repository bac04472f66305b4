//! The offset tracker: what a message costs, and what a commit costs. SPEC: K2
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use buslane_benches::Draw;
use buslane_offsets::{Limits, METADATA_LIMIT, Tracker, codec};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

fn main_placeholder() {}
