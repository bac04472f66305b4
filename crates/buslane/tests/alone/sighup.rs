//! A real SIGHUP. It reaches a whole process, so each test sends it to one of its own. SPEC: S3
#![cfg(unix)]

use super::run_alone;
use buslane::{Config, EventBus};
use buslane_bus_suite::{LogCapture, LogLine};
use rustix::process::{Signal, getpid, kill_process};
use std::{path::PathBuf, time::Duration};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("sighup_{name}.yaml"))
}

fn share(percent: u8) -> String {
    format!("memory: {{actor_pool: {{enabled: true, percent: {percent}}}}}\n")
}

/// Sends the signal, and waits until it has been seen to: the lines that it has logged, of which
/// there are `count` in all then.
async fn hang_up(journal: &LogCapture, count: usize) -> Vec<LogLine> {
    kill_process(getpid(), Signal::HUP).unwrap();
    let told = async {
        loop {
            let lines: Vec<_> = journal
                .lines()
                .into_iter()
                .filter(|line| line.text.starts_with("configuration reload"))
                .collect();
            if lines.len() >= count {
                return lines;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(buslane_testkit::deadline::LIMIT, told).await.unwrap()
}

#[test]
fn s3_sighup_reads_the_file_again() {
    let path = file("reads");
    std::fs::write(&path, share(50)).unwrap();
    let path = path.to_str().unwrap();
    run_alone("sighup::child_reads_the_file_again", &[("BUSLANE_CONFIG", path)]);
}

#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn child_reads_the_file_again() {
    let journal = LogCapture::default();
    let _log = tracing::subscriber::set_default(journal.clone());
    let path = file("reads");
    let bus = EventBus::connect(Config::load().unwrap()).await.unwrap();
    assert!(bus.reload_on_sighup().unwrap());
    let percent = || bus.rollout().status().percent;
    assert_eq!(percent(), 50);

    std::fs::write(&path, share(10) + "group: other\n").unwrap();
    let lines = hang_up(&journal, 1).await;
    assert_eq!((&*lines[0].text, lines[0].level), ("configuration reloaded", tracing::Level::INFO));
    assert_eq!(
        (lines[0].field("applied"), lines[0].field("needs_restart")),
        ("memory.actor_pool.percent", "group")
    );
    assert_eq!(percent(), 10);

    // A file that cannot be read changes nothing.
    std::fs::write(&path, "memory: {actor_pool: {enabled: true, percent: 101}}\n").unwrap();
    let lines = hang_up(&journal, 2).await;
    assert_eq!(
        (&*lines[1].text, lines[1].level),
        ("configuration reload refused", tracing::Level::WARN)
    );
    assert_eq!(
        lines[1].field("reason"),
        "memory.actor_pool.percent: must be from 0 to 100, found 101"
    );
    std::fs::remove_file(&path).unwrap();
    let lines = hang_up(&journal, 3).await;
    assert!(
        lines[2].field("reason").contains("cannot read the configuration file"),
        "{}",
        lines[2]
    );
    assert_eq!(percent(), 10);

    // What was set at run time wins.
    bus.rollout().set_percent(70, "alice").unwrap();
    std::fs::write(&path, share(0)).unwrap();
    let lines = hang_up(&journal, 4).await;
    assert_eq!(&*lines[3].text, "configuration reload refused");
    let said = "memory.actor_pool.percent: 70 % was set at run time by alice, which wins";
    assert!(lines[3].field("reason").starts_with(said), "{}", lines[3]);
    assert_eq!(percent(), 70);
    bus.shutdown(Duration::from_secs(10)).await.unwrap();
    assert_eq!(lines.len(), 4, "one line each");
}

#[test]
fn s3_sighup_tells_what_the_environment_shadows() {
    let path = file("shadowed");
    std::fs::write(&path, share(50)).unwrap();
    let path = path.to_str().unwrap();
    run_alone(
        "sighup::child_tells_what_the_environment_shadows",
        &[("BUSLANE_CONFIG", path), ("MEMORY_ACTOR_POOL_PERCENT", "10")],
    );
}

#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn child_tells_what_the_environment_shadows() {
    let journal = LogCapture::default();
    let _log = tracing::subscriber::set_default(journal.clone());
    let bus = EventBus::connect(Config::load().unwrap()).await.unwrap();
    assert!(bus.reload_on_sighup().unwrap());
    std::fs::write(file("shadowed"), share(0)).unwrap();
    let lines = hang_up(&journal, 1).await;
    assert_eq!(
        (&*lines[0].text, lines[0].level),
        ("configuration reload refused", tracing::Level::WARN)
    );
    let said = "memory.actor_pool.percent: the file would have 0 %, and environment MEMORY_ACTOR_POOL_PERCENT makes it 10 %";
    assert!(lines[0].field("reason").starts_with(said), "{}", lines[0]);
    assert_eq!(bus.rollout().status().percent, 10);
    bus.shutdown(Duration::from_secs(10)).await.unwrap();
}

/// Without a file there is nothing to read again: the signal stays what it is.
#[test]
fn s3_without_a_file_sighup_is_left_alone() {
    run_alone("sighup::child_leaves_it_alone", &[]);
}

#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn child_leaves_it_alone() {
    let bus = EventBus::connect(Config::load().unwrap()).await.unwrap();
    assert!(!bus.reload_on_sighup().unwrap());
    bus.shutdown(Duration::from_secs(10)).await.unwrap();
}
