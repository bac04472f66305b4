//! The order service as a program: both pools, a recorded log, bad input, HTTP, signals.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may unwrap as tests do"
)]

mod ledger;
mod program;
mod refused;
mod rollout;

#[cfg(all(unix, feature = "http"))]
use std::io::{Read, Write};
#[cfg(all(unix, feature = "http"))]
use std::net::TcpStream;
#[cfg(all(unix, feature = "http"))]
use std::time::Instant;

use serde_json::Value;

use crate::ledger::Ledger;
use crate::program::{Program, Run, file};

const KEYED: (&str, &str) = ("BUSLANE_USE_ACTOR_POOL", "false");
const ACTOR: (&str, &str) = ("BUSLANE_USE_ACTOR_POOL", "true");
const POOLS: [((&str, &str), &str); 2] = [(KEYED, "keyed"), (ACTOR, "actor")];

const REPORT_KEYS: [&str; 14] = [
    "backend",
    "pool",
    "published",
    "handled",
    "failed_attempts",
    "dead_lettered",
    "order_violations",
    "lost",
    "duplicates",
    "restarts",
    "seconds",
    "throughput_per_second",
    "latency_ms",
    "recovery",
];

/// Runs the program with a report and a ledger, and demands exit code 0.
fn good(name: &str, pool: (&str, &str), arguments: &[&str]) -> (Value, Ledger) {
    let (report, ledger) = (file(&format!("{name}.json")), file(&format!("{name}.csv")));
    let files = ["--report", report.to_str().unwrap(), "--ledger", ledger.to_str().unwrap()];
    let run = Program::new(name, &[arguments, &files].concat()).env(pool).run();
    assert_eq!(run.code, Some(0), "{run}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap();
    assert!(run.out.contains(report["pool"].as_str().unwrap()), "the table names the pool\n{run}");
    for key in ["lost", "order_violations", "duplicates"] {
        assert_eq!(report[key], 0, "{key}\n{run}");
    }
    let ledger = Ledger::read(&ledger);
    ledger.check();
    assert_eq!(report["handled"], ledger.count("done") as u64);
    let failed = ledger.count("failed") + ledger.count("panicked") + ledger.count("rejected");
    assert_eq!(report["failed_attempts"], failed as u64);
    (report, ledger)
}

/// Most of the messages wait, the rest is published while they are drained in recovery mode; which
/// is left.
#[test]
fn l3_a_service_that_starts_behind_catches_up_with_either_pool() {
    let arguments =
        ["--events", "9091", "--aggregates", "300", "--handler-ms", "1", "--backlog", "8000"];
    for (pool, name) in POOLS {
        let (report, _) = good(&format!("l3-{name}"), pool, &arguments);
        assert_eq!((&report["published"], &report["dead_lettered"]), (&10_000.into(), &20.into()));
        assert_eq!(
            (&report["recovery"]["entered"], &report["recovery"]["left"]),
            (&1.into(), &1.into()),
            "{report}"
        );
    }
}

/// SPEC: T2, S1, R3, D1, D3
#[test]
fn t2_ten_thousand_messages_over_five_topics_with_either_pool() {
    // 9,091 envelopes and 909 regular messages.
    let arguments = ["--events", "9091", "--aggregates", "300", "--handler-ms", "1", "--seed", "7"];
    let mut handled = Vec::new();
    for (pool, name) in POOLS {
        let (report, ledger) = good(&format!("t2-{name}"), pool, &arguments);
        let keys: Vec<&String> = report.as_object().unwrap().keys().collect();
        let mut expected = REPORT_KEYS.to_vec();
        expected.sort_unstable();
        assert_eq!(keys, expected);
        assert_eq!(
            report["latency_ms"].as_object().unwrap().keys().collect::<Vec<_>>(),
            ["p50", "p99", "p999"]
        );
        assert_eq!(
            (report["backend"].as_str(), report["pool"].as_str()),
            (Some("memory"), Some(name))
        );
        assert_eq!(report["published"], 10_000);
        assert_eq!(report["dead_lettered"], 20);
        // Of the regular messages one panics, and that is final.
        assert_eq!(report["handled"], 10_000 - 20 - 1);
        assert_eq!(ledger.topics().len(), 6, "five of envelopes, one of regular messages");
        handled.push(ledger.done());
    }
    assert!(handled[0] == handled[1], "one seed, one workload, whichever pool");
}

/// SPEC: P7, D4
#[test]
fn p7_a_panic_of_a_regular_message_restarts_an_actor_and_that_of_an_envelope_does_not() {
    for (pool, name) in POOLS {
        let arguments =
            ["--events", "1000", "--handler-ms", "0", "--poison", "0", "--fail-once", "0"];
        let (report, ledger) = good(&format!("p7-{name}"), pool, &arguments);
        assert_eq!(ledger.count("panicked"), 2);
        assert_eq!(report["handled"], 1_099);
        assert_eq!(report["restarts"], u64::from(name == "actor"));
    }
}

#[test]
fn d4_poison_becomes_dead_letters_and_a_rejection_is_not_tried_again() {
    let arguments =
        ["--events", "1000", "--aggregates", "100", "--handler-ms", "0", "--poison", "8"];
    let (report, ledger) = good("d4", KEYED, &arguments);
    assert_eq!(report["dead_lettered"], 8);
    // One in four is rejected.
    assert_eq!(ledger.count("rejected"), 2);
}

#[test]
fn without_faults_nothing_fails() {
    let (report, ledger) =
        good("calm", ACTOR, &["--events", "1000", "--handler-ms", "0", "--no-faults"]);
    assert_eq!((&report["handled"], &report["failed_attempts"]), (&1_100.into(), &0.into()));
    assert_eq!(ledger.count("done"), 1_100);
}

#[test]
fn the_smallest_run() {
    let arguments =
        ["--events", "1", "--aggregates", "1", "--topics", "1", "--in-flight", "1", "--no-faults"];
    let (report, _) = good("smallest", KEYED, &arguments);
    assert_eq!(report["published"], 1);
}

/// SPEC: T2
#[test]
fn t2_replay_keeps_every_case_in_order() {
    let log = program::recorded();
    let cases = program::cases(&log);
    let events: usize = cases.values().map(Vec::len).sum();
    println!("{}: {events} events of {} cases", log.display(), cases.len());
    if log.ends_with("incidents-2013.csv.gz") {
        assert_eq!((events, cases.len()), (65_533, 7_554));
    }
    for (pool, name) in POOLS {
        let arguments = ["--replay", log.to_str().unwrap(), "--handler-ms", "1"];
        let (report, ledger) = good(&format!("replay-{name}"), pool, &arguments);
        assert_eq!((&report["published"], &report["handled"]), (&events.into(), &events.into()));
        assert!(ledger.cases() == cases, "a case was not handled as it was recorded");
    }
}

#[test]
fn replay_takes_plain_text_and_gzip_and_faults_where_they_are_asked_for() {
    for (name, log) in [
        ("plain", program::plain("made-up-log.csv", &program::text())),
        ("gzip", program::gzip("made-up-log.csv.gz")),
    ] {
        let faults = ["--fail-once", "10", "--poison", "4", "--topics", "3", "--handler-ms", "0"];
        let arguments = [&["--replay", log.to_str().unwrap()], &faults[..]].concat();
        let (report, ledger) = good(name, KEYED, &arguments);
        assert_eq!(report["published"], program::EVENTS);
        assert_eq!(report["dead_lettered"], 4);
        assert_eq!(ledger.topics().len(), 3);
        assert!(ledger.count("failed") > 4 * 3);
    }
}

#[test]
fn replay_at_a_multiple_of_the_recorded_speed() {
    let log = program::plain("timed-log.csv", &program::text());
    let arguments = ["--replay", log.to_str().unwrap(), "--handler-ms", "0", "--speed", "10"];
    // The report counts from the first message, which may be late itself.
    let start = std::time::Instant::now();
    let _ = good("timed", ACTOR, &arguments);
    let seconds = start.elapsed().as_secs_f64();
    assert!(seconds >= program::SECONDS / 10.0, "{seconds}");
}

#[test]
fn replay_at_a_rate() {
    let log = program::plain("rated-log.csv", &program::text());
    let rate = program::EVENTS as f64;
    let arguments =
        ["--replay", log.to_str().unwrap(), "--handler-ms", "0", "--rate", &rate.to_string()];
    let start = std::time::Instant::now();
    let (report, _) = good("rated", KEYED, &arguments);
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(report["published"], program::EVENTS);
    // The last batch of each publisher is due a little before the end of the second.
    assert!(seconds >= 0.5, "{seconds}");
}

#[test]
fn without_a_terminal_there_are_plain_lines() {
    let run =
        Program::new("lines", &["--events", "100", "--fail-once", "0", "--poison", "1"]).run();
    assert_eq!(run.code, Some(0), "{run}");
    // The last envelope's retries alone take longer than a second.
    assert!(run.err.contains("of 110 messages") && run.err.contains("keyed pool"), "{run}");
    assert!(!run.err.contains('\u{1b}') && !run.out.contains('\u{1b}'), "{run}");
    for row in [
        "published",
        "handled",
        "dead-lettered",
        "order violations",
        "lost",
        "duplicates",
        "throughput",
    ] {
        assert!(run.out.contains(row), "{row}\n{run}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_ledger_that_cannot_be_written_to_its_end_is_not_a_success() {
    let run = Program::new("full", &["--events", "1000", "--ledger", "/dev/full"]).run();
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.out.contains("--ledger /dev/full: not complete: No space left on device"), "{run}");
}

/// Code and body of an answer.
#[cfg(all(unix, feature = "http"))]
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: bus\r\nConnection: close\r\n\r\n")
        .expect("it takes a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
    (head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a code"), body.to_owned())
}

#[cfg(all(unix, feature = "http"))]
#[test]
fn o3_health_and_metrics_are_shown_while_it_runs() {
    let arguments =
        ["--in-flight", "1", "--handler-ms", "5", "--poison", "0", "--http", "127.0.0.1:0"];
    let running = Program::new("http", &arguments).start();
    // The end of the line: what is before it may be written in pieces.
    running.until_it_says(": /livez");
    let said = std::fs::read_to_string(file("http.err")).unwrap();
    let address = said
        .split_once("http://")
        .and_then(|(_, rest)| rest.split_once(": /livez"))
        .expect("an address")
        .0;
    let deadline = Instant::now() + buslane_testkit::deadline::LIMIT;
    while get(address, "/readyz").0 != 200 {
        assert!(Instant::now() < deadline, "{:?}", get(address, "/readyz"));
    }
    for path in ["/livez", "/startupz", "/status"] {
        let (code, body) = get(address, path);
        assert!(code == 200 && body.starts_with('{'), "{path}: {code} {body}");
    }
    let (code, page) = get(address, "/metrics");
    assert_eq!(code, 200);
    for name in [
        "memory_eventbus_messages_consumed_total",
        "memory_eventbus_health_fault{fault=\"blocked_key\"} 0",
    ] {
        assert!(page.contains(name), "{name}: {page}");
    }
    assert_eq!((get(address, "/nothing").0, get(address, "/").0), (404, 404));
    running.interrupt();
    let run = running.wait();
    assert_eq!(run.code, Some(0), "{run}");
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}

const ENDLESS: [&str; 4] = ["--events", "1000000000", "--handler-ms", "5"];

#[cfg(unix)]
fn report(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file(name)).unwrap()).unwrap()
}

#[cfg(unix)]
fn interrupted(name: &str, arguments: &[&str], running: &str) -> Run {
    let program = Program::new(name, arguments).start();
    program.until_it_says(running);
    program.interrupt();
    program.until_it_says("interrupted: draining");
    program.wait()
}

/// SPEC: B9
#[cfg(unix)]
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

#[cfg(unix)]
#[test]
fn an_interrupt_stops_a_replay_that_waits_for_its_time() {
    let log = program::plain("slow-log.csv", &program::text());
    let arguments = ["--replay", log.to_str().unwrap(), "--speed", "0.001"];
    let run = interrupted("slow", &arguments, "keyed pool");
    assert_eq!(run.code, Some(0), "{run}");
    assert!(run.out.contains("order_service: interrupted"), "{run}");
}

#[cfg(unix)]
#[test]
fn a_second_interrupt_leaves_at_once_and_what_is_left_counts_as_lost() {
    let path = file("twice.json");
    // Handlers take longer than the test waits.
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
