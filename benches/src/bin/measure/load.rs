//! Runs a load on a real broker without failing aggregates and with them, each in a process of its
//! own, and judges the healthy ones.

use buslane_benches::{
    broker::{Policy, Steady},
    median,
};
use clap::ValueEnum;
use serde_json::Value;
use std::process::{Command, ExitCode, Stdio};

/// The share of the rate without failing aggregates that must be left with them.
const LEAST: f64 = 0.9;
/// The share of a rate that counts as holding it: starting and ending take their time.
const HELD: f64 = 0.97;

/// Turns of a run without a rate; its value is the median.
const TURNS: usize = 3;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    run: Steady,
    /// Run it once, in this process
    #[arg(long, hide = true)]
    once: bool,
}

impl Args {
    pub(crate) fn run(self) -> ExitCode {
        let Self { run, once } = self;
        if once {
            println!("{}", run.run());
            return ExitCode::SUCCESS;
        }
        let mut wrong = Vec::new();
        // A full topic is handled within seconds, and the machine's speed varies.
        let turns = if run.rate > 0 { 1 } else { TURNS };
        let left: Vec<f64> = (0..turns).filter_map(|_| turn(&run, &mut wrong)).collect();
        if !left.is_empty() {
            let left = median(left);
            println!(
                "{}",
                serde_json::json!({ "run": "rate left", "share": left, "least": LEAST })
            );
            if left < LEAST {
                wrong.push(format!("{left:.3} of the rate is left"));
            }
        }
        for line in &wrong {
            println!("wrong: {line}");
        }
        if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Runs it without failing aggregates and with them, if there are any; returns the share of the
/// rate that is left.
fn turn(run: &Steady, wrong: &mut Vec<String>) -> Option<f64> {
    let healthy = told("without failing aggregates", &Steady { poison: 0, ..run.clone() });
    wrong.extend(faults(run, &healthy));
    if run.rate > 0 && number(&healthy, "rate") < HELD * run.rate as f64 {
        wrong.push(format!("the rate was not held: {:.0} a second", number(&healthy, "rate")));
    }
    if run.poison == 0 {
        return None;
    }
    let poisoned = told("with failing aggregates", run);
    let roomy =
        run.roomy_lane().filter(|_| run.policy == Policy::Block && run.lane_limit.is_none());
    let poisoned = match roomy {
        None => poisoned,
        // Where a failing aggregate has more messages than a lane holds, its partition stops:
        // shown, and not judged.
        Some(lane_limit) => {
            wrong.extend(disorder(&poisoned));
            let name = format!("with failing aggregates, lane_limit {lane_limit}");
            told(&name, &Steady { lane_limit: Some(lane_limit), ..run.clone() })
        }
    };
    wrong.extend(faults(run, &poisoned));
    // The healthy ones are fewer, so a steady rate is compared with their share of it.
    let share = if run.rate > 0 {
        number(&poisoned, "healthy") / number(&poisoned, "messages")
    } else {
        1.0
    };
    Some(number(&poisoned, "rate") / (number(&healthy, "rate") * share))
}

fn number(told: &Value, name: &str) -> f64 {
    told[name].as_f64().unwrap_or_else(|| panic!("no {name} in {told}"))
}

/// Runs it in a process of its own and prints its output.
fn told(name: &str, run: &Steady) -> Value {
    let value = |choice: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
        choice().expect("a choice").get_name().to_owned()
    };
    let words = [
        ("--broker", value(&|| run.broker.to_possible_value())),
        ("--rate", run.rate.to_string()),
        ("--messages", run.messages.to_string()),
        ("--keys", run.keys.to_string()),
        ("--poison", run.poison.to_string()),
        ("--policy", value(&|| run.policy.to_possible_value())),
        ("--pool", value(&|| run.pool.to_possible_value())),
    ];
    let lane_limit = run.lane_limit.map(|limit| ["--lane-limit".to_owned(), limit.to_string()]);
    let mut side = Command::new(std::env::current_exe().expect("this program has a path"));
    side.args(["load", "--once"]).args(words.iter().flat_map(|(name, value)| [*name, value]));
    side.args(lane_limit.iter().flatten());
    let output = side.stderr(Stdio::inherit()).output().expect("this program starts again");
    assert!(output.status.success(), "{name}: {}", output.status);
    let mut told: Value = serde_json::from_slice(&output.stdout).expect("a side prints JSON");
    told["run"] = name.into();
    println!("{told}");
    told
}

/// A figure with a wrong value.
fn must(told: &Value, name: &str, expected: f64) -> Option<String> {
    let is_wrong = (number(told, name) - expected).abs() > 0.5;
    is_wrong.then(|| format!("{}: {name} is {}, not {expected}", told["run"], told[name]))
}

/// Messages that were handled again, or out of order.
fn disorder(told: &Value) -> Vec<String> {
    ["again", "violations"].into_iter().filter_map(|name| must(told, name, 0.0)).collect()
}

/// Forbidden fates of messages.
fn faults(run: &Steady, told: &Value) -> Vec<String> {
    let mut wrong = disorder(told);
    let mut must = |name: &str, expected: f64| wrong.extend(must(told, name, expected));
    must("handled", number(told, "healthy"));
    if run.policy == Policy::DeadLetter {
        must("dead_letters", number(told, "failing"));
        must("dead_letters_again", 0.0);
        must("open", 0.0);
    }
    wrong
}
