//! Ctrl-C drains and reports; a second one does not wait.

use super::{
    log,
    program::{Program, Run, file},
};
use serde_json::Value;

const ENDLESS: [&str; 4] = ["--events", "1000000000", "--handler-ms", "5"];

fn report(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file(name)).unwrap()).unwrap()
}

fn interrupted(name: &str, arguments: &[&str], running: &str) -> Run {
    let program = Program::new(name, arguments).start();
    program.until_it_says(running);
    program.interrupt();
    program.until_it_says("interrupted: draining");
    program.wait()
}

/// SPEC: B9
#[test]
fn b9_an_interrupt_drains_and_reports() {
    let path = file("interrupt.json");
    let arguments = [&ENDLESS[..], &["--report", path.to_str().unwrap()]].concat();
    let run = interrupted("interrupt", &arguments, "keyed pool");
    assert_eq!(run.code, Some(0), "{run}");
    assert!(run.out.contains("order_service: interrupted"), "{run}");
    let report = report("interrupt.json");
    assert_eq!((&report["lost"], &report["order_violations"]), (&0.into(), &0.into()), "{run}");
    let published = report["published"].as_u64().unwrap();
    assert!(published > 0 && published < 1_000_000_000, "{run}");
}

#[test]
fn an_interrupt_stops_a_replay_that_waits_for_its_time() {
    let log = log::plain("slow-log.csv", &log::text());
    let arguments = ["--replay", log.to_str().unwrap(), "--speed", "0.001"];
    let run = interrupted("slow", &arguments, "keyed pool");
    assert_eq!(run.code, Some(0), "{run}");
    assert!(run.out.contains("order_service: interrupted"), "{run}");
}

#[test]
fn a_second_interrupt_leaves_at_once_and_what_is_left_counts_as_lost() {
    let path = file("twice.json");
    // Handlers that take longer than anyone waits.
    let arguments = ["--handler-ms", "3600000", "--report", path.to_str().unwrap()];
    let program = Program::new("twice", &arguments).start();
    program.until_it_says("keyed pool");
    program.interrupt();
    program.until_it_says("interrupted: draining");
    program.interrupt();
    let run = program.wait();
    assert_eq!(run.code, Some(1), "{run}");
    let report = report("twice.json");
    assert_eq!(report["lost"], report["published"], "{run}");
    assert!(run.out.contains("were left for redelivery"), "{run}");
}
