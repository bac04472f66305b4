//! Runs one scenario, then checks that it left no task or thread behind. SPEC: T3

use super::{
    fixture::{BusFixture, PoolKind},
    harness::BusHarness,
    log_capture::LogCapture,
    metrics_page::MetricsPage,
};
use buslane_testkit::{deadline::LIMIT, leak};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::runtime::Builder;
use tracing::{Dispatch, dispatcher};

/// Runs one scenario on a runtime of its own. The macro calls it.
///
/// # Panics
/// When the scenario fails or does not end, or leaves a task or a thread.
pub fn run<Fut: Future<Output = ()>>(
    name: &str,
    pool: PoolKind,
    fixture: impl FnOnce() -> Arc<dyn BusFixture>,
    scenario: impl FnOnce(BusHarness) -> Fut,
) {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let tag = format!("bus-run-{}", RUNS.fetch_add(1, Relaxed));
    let logs = LogCapture::default();
    let log = Dispatch::new(logs.clone());
    let _logged_here = dispatcher::set_default(&log);
    let (page, recorder) = MetricsPage::new(pool);
    let _recorded_here = metrics::set_default_local_recorder(recorder);
    let told = TellOnPanic(logs.clone());
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(&tag)
        .on_thread_start(move || {
            std::mem::forget(dispatcher::set_default(&log));
            std::mem::forget(metrics::set_default_local_recorder(recorder));
        })
        .enable_all()
        .build()
        .expect("a runtime for the test");
    runtime.block_on(async {
        let fixture = fixture();
        let can = fixture.capabilities();
        if let Some((_, reason)) = can.unmet.iter().find(|(unmet, _)| *unmet == name) {
            eprintln!("unmet: {name}: {reason}");
            return;
        }
        // Ends a scenario that hangs. The longest one does a hundred runs, concurrently with others
        // on few cores, and each of its steps has a limit.
        let limit = can.patience * 4;
        let ended =
            tokio::time::timeout(limit, scenario(BusHarness::new(fixture, can, pool, logs, page)))
                .await;
        assert!(ended.is_ok(), "{name} did not end within {limit:?}");
        leak::no_more_tasks_than(0).await;
    });
    drop(runtime);
    no_thread_left(&tag);
    drop(told);
}

/// A thread without a name inherits that of the thread that started it, so the tag finds it too.
fn no_thread_left(tag: &str) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let left = threads(tag);
        if left == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "{left} threads were left behind");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The number of threads with this name; 0 when the system does not say.
fn threads(name: &str) -> usize {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let has_name = |path: std::path::PathBuf| {
        std::fs::read_to_string(path).is_ok_and(|comm| comm.trim_end() == name)
    };
    tasks.flatten().filter(|task| has_name(task.path().join("comm"))).count()
}

/// Prints the end of the log of a scenario that failed.
struct TellOnPanic(LogCapture);

impl Drop for TellOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.0.lines();
            for line in &lines[lines.len().saturating_sub(40)..] {
                eprintln!("  {line}");
            }
        }
    }
}

/// Checks that every scenario in a list of unmet ones exists. The macro calls it.
///
/// # Panics
/// When one does not.
pub fn check_unmet(unmet: &[(&str, &str)], scenarios: &[&str]) {
    for (name, _) in unmet {
        assert!(
            scenarios.contains(name),
            "{name} is listed as unmet, but there is no such scenario"
        );
    }
}
