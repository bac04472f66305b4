//! A clean close logs no error. The only test of its process, because rdkafka logs through the
//! process-wide logger of the crate `log`.

#[allow(dead_code, reason = "this program needs a part of it")]
#[path = "broker/kit.rs"]
mod kit;

use buslane_testkit::{
    broker_suite::{publish, record, settle},
    server::unique,
};
use log::{LevelFilter, Log, Metadata, Record};
use std::sync::{Mutex, PoisonError};

/// Lines that rdkafka has logged as errors.
static ERRORS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Errors;

impl Log for Errors {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, line: &Record<'_>) {
        let text = format!("{}: {}", line.target(), line.args());
        ERRORS.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    fn flush(&self) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k1_a_clean_close_writes_no_error() {
    log::set_logger(&Errors).expect("no other logger");
    log::set_max_level(LevelFilter::Error);
    let topic = kit::topic("orders", 1, &[]).await;
    let mut member = kit::member(kit::config(&unique("g")), &topic).await;
    publish(&member.broker, &topic, vec![record("k", "1")]).await;
    settle(member.take(1).await);
    // The close returns after the client was dropped.
    member.close().await;
    let errors = ERRORS.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(*errors, Vec::<String>::new());
}
