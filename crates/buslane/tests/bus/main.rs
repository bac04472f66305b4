//! The bus on the embedded broker, its configuration and its pages: everything that needs neither
//! another broker nor a process of its own.

mod config;
mod deploy;
mod first_minutes;
mod http;
mod kafka_url;
mod log_lines;
mod many_topics;
mod memory;
mod metrics_bound;
mod metrics_page;
mod own_pool;
mod pools;
mod recovery;
mod reload;
