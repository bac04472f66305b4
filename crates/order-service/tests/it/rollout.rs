//! A rollout in fast motion: it reaches its end, or a defect of the actor pool makes the guard roll
//! back. SPEC: S3, S4, S5

use super::{Ledger, file, program::Program};
use serde_json::Value;

const MEMORY: &str = "memory://";

/// The service's own choice for a rollout.
const FAST_MOTION: &str = "{}\n";

/// The same, with limits for the latency that a starved machine keeps: it
/// slows whichever pool has the keys, and none of these stories is about that.
const PATIENT: &str = "rollout: { window: 6s, min_messages: 300, check_interval: 500ms, \
    memory_patience: 3s, advance_p99_increase: 50, max_p99_increase: 50 }\n";

/// Runs the program on a broker with these arguments; returns its report and its ledger.
fn run(name: &str, url: &str, config: &str, arguments: &[&str]) -> (Value, Ledger) {
    let [report, ledger, configured] =
        ["json", "csv", "yaml"].map(|kind| file(&format!("{name}.{kind}")));
    std::fs::write(&configured, config).unwrap();
    let files = ["--report", report.to_str().unwrap(), "--ledger", ledger.to_str().unwrap()];
    let program = Program::new(name, &[arguments, &files].concat()).env(("BUSLANE_URL", url));
    let run = program.env(("BUSLANE_CONFIG", configured.to_str().unwrap())).run();
    assert_eq!(run.code, Some(0), "{run}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap();
    for key in ["lost", "order_violations", "duplicates"] {
        assert_eq!(report[key], 0, "{key}\n{run}");
    }
    assert!(run.out.contains("stages") && run.err.contains("% of the keys on actors"), "{run}");
    let ledger = Ledger::read(&ledger);
    ledger.check();
    (report, ledger)
}

fn percentages(rollout: &Value) -> Vec<u64> {
    rollout["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| stage["percent"].as_u64().unwrap())
        .collect()
}

#[test]
fn s5_a_healthy_plan_goes_to_its_end_by_itself() {
    let (report, _) = run("healthy", MEMORY, PATIENT, &["--rollout", "10,50,100"]);
    let rollout = &report["rollout"];
    assert_eq!(percentages(rollout), [10, 50, 100], "{rollout}");
    assert_eq!((&rollout["ended"], &rollout["problems"]), (&true.into(), &Value::Array(vec![])));
    assert_eq!(report["pool"], "actor");
}

/// The roll-back that a defect causes, at the stage that it begins with.
fn rolls_back(illness: &str, from: u64, trigger: &str) -> Value {
    rolls_back_on(MEMORY, PATIENT, "10,50", illness, from, trigger, &[])
}

/// Actors that take so much longer that the noise of a starved machine cannot hide it, at a rate
/// that they keep up with all the same.
const SLOW: (&str, &[&str]) = ("slow:3000", &["--rate", "800"]);

/// Slow actors on a real broker, from the first stage on: beside other tests its latency varies so
/// much that a guard may hold a healthy stage for minutes.
#[cfg(any(feature = "kafka", feature = "nats"))]
fn slow_actors_are_rolled_back_on(url: &str) {
    let (illness, rate) = SLOW;
    rolls_back_on(url, FAST_MOTION, "50,100", illness, 50, "latency", rate);
}

/// As [`rolls_back`], on the broker of this URL, with this configuration and this plan.
fn rolls_back_on(
    url: &str,
    config: &str,
    plan: &str,
    illness: &str,
    from: u64,
    trigger: &str,
    arguments: &[&str],
) -> Value {
    let inject = format!("{illness}@{from}");
    let backend = url.split(':').next().unwrap();
    let name = format!("{illness}-{backend}");
    let (report, _) =
        run(&name, url, config, &[&["--rollout", plan, "--inject", &inject], arguments].concat());
    assert_eq!(report["backend"], backend);
    let rollout = &report["rollout"];
    let mut stages: Vec<u64> = plan.split(',').map(|stage| stage.parse().unwrap()).collect();
    stages.retain(|percent| *percent <= from);
    stages.push(0);
    assert_eq!(percentages(rollout), stages, "{rollout}");
    assert_eq!(rollout["rollbacks"].as_array().unwrap().len(), 1, "{rollout}");
    let back = &rollout["rollbacks"][0];
    assert_eq!(
        (back["breach"]["trigger"].as_str(), back["percent"].as_u64()),
        (Some(trigger), Some(from)),
        "{back}"
    );
    assert!(back["breach"]["actor"].as_f64() > back["breach"]["limit"].as_f64(), "{back}");
    assert!(
        rollout["keys_touched"].as_u64() > Some(0) && rollout["seconds_to_settle"].is_number(),
        "{rollout}"
    );
    assert_eq!(report["pool"], "keyed");
    let samples = rollout["samples"].as_array().unwrap();
    assert!(samples.iter().any(|sample| sample["actor_p99_ms"].is_number()), "{rollout}");
    back["breach"].clone()
}

#[test]
fn s5_slow_actors_are_rolled_back() {
    let (illness, rate) = SLOW;
    rolls_back_on(MEMORY, FAST_MOTION, "10,50", illness, 50, "latency", rate);
}

#[cfg(feature = "kafka")]
#[test]
fn s5_slow_actors_are_rolled_back_on_kafka() {
    let brokers = buslane_testkit::server::address("KAFKA_BOOTSTRAP_SERVERS");
    slow_actors_are_rolled_back_on(&format!("kafka://{brokers}"));
}

#[cfg(feature = "nats")]
#[test]
fn s5_slow_actors_are_rolled_back_on_nats() {
    slow_actors_are_rolled_back_on(&buslane_testkit::server::address("NATS_URL"));
}

#[test]
fn s5_actors_that_restart_are_rolled_back() {
    rolls_back("restart", 50, "restarts");
}

#[test]
fn s5_actors_that_fail_are_rolled_back() {
    let breach = rolls_back("errors", 10, "errors");
    // One of ten envelopes, among regular messages that do not fail: the dead letter behind it is
    // no second failure.
    let share = breach["actor"].as_f64().unwrap();
    assert!((0.05..0.13).contains(&share), "{breach}");
}

#[test]
fn s5_actors_that_leak_are_rolled_back() {
    rolls_back("leak", 10, "memory");
}

/// Without the guard nothing rolls back, and that is not what was asked for.
#[test]
fn s5_a_story_that_did_not_happen_is_not_a_success() {
    let config = file("unguarded.yaml");
    std::fs::write(&config, "rollout: { guard: false }\n").unwrap();
    let arguments = ["--rollout", "10", "--inject", "slow@10", "--events", "10000", "--report"];
    let report = file("unguarded.json");
    let program =
        Program::new("unguarded", &[&arguments[..], &[report.to_str().unwrap()]].concat());
    let run = program.env(("BUSLANE_CONFIG", config.to_str().unwrap())).run();
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.out.contains("no roll-back, although there was slow:300@10"), "{run}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(report).unwrap()).unwrap();
    assert_eq!(
        (&report["lost"], report["rollout"]["problems"].as_array().unwrap().len()),
        (&0.into(), 1)
    );
}

#[test]
fn a_rate_is_kept() {
    let start = std::time::Instant::now();
    let (report, _) =
        super::good("rate", super::KEYED, &["--events", "1000", "--rate", "550", "--no-faults"]);
    // 1,100 messages; the last batch is due a little before the end of the second second.
    assert_eq!(report["published"], 1_100);
    assert!(start.elapsed().as_secs_f64() > 1.9, "{:?}", start.elapsed());
}
