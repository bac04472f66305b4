//! Smoke runs: the order service once with each pool and a check of its report, then short rounds
//! of `chaos` and `hostile`.
//!
//! Not a test of the product's rules, which the suites test: it finds a service that no longer
//! runs, or whose report has lost a key.

use serde_json::Value;

use xtask_base::process::{Result, command, run as run_command};
use xtask_base::programs::{self, Profile};
use xtask_base::workspace::Metadata;
use xtask_chaos::chaos;
use xtask_chaos::hostile;

/// The keys of the order service's report. They are stable, because other programs read the file.
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
const LATENCY_KEYS: [&str; 3] = ["p50", "p99", "p999"];

/// Runs every smoke run.
pub(crate) fn run() -> Result<()> {
    order_service_smoke()?;
    chaos::short()?;
    hostile::short()
}

/// Runs the order service with each pool.
fn order_service_smoke() -> Result<()> {
    let program = programs::order_service(Profile::Dev)?;
    let reports = Metadata::of_workspace()?.target_directory.join("xtask");
    for (use_actor_pool, pool) in [("false", "keyed"), ("true", "actor")] {
        let file = reports.join(format!("order-service-{pool}.json"));
        xtask_base::process::write_file(&file, "")?;
        let mut example = command(&program);
        example.args(["--events", "20000", "--report"]);
        run_command(example.arg(&file).env("BUSLANE_USE_ACTOR_POOL", use_actor_pool))?;
        judge_report(&std::fs::read_to_string(&file)?, pool)
            .map_err(|error| format!("order service with the {pool} pool: {error}"))?;
    }
    Ok(())
}

fn judge_report(text: &str, pool: &str) -> Result<()> {
    let report: Value =
        serde_json::from_str(text).map_err(|error| format!("the report is not JSON: {error}"))?;
    let missing =
        REPORT_KEYS.iter().filter(|key| report.get(key).is_none()).map(|key| (*key).to_owned());
    let missing_latency = LATENCY_KEYS
        .iter()
        .filter(|key| report["latency_ms"].get(key).is_none())
        .map(|key| format!("latency_ms.{key}"));
    let missing: Vec<String> = missing.chain(missing_latency).collect();
    if !missing.is_empty() {
        return Err(format!("the report lacks {}", missing.join(", ")).into());
    }
    for key in ["lost", "order_violations"] {
        if report[key].as_u64() != Some(0) {
            return Err(format!("the report says {key} = {}, it must be 0", report[key]).into());
        }
    }
    let used = report["pool"].as_str().unwrap_or_default();
    if used.contains(pool) {
        Ok(())
    } else {
        Err(format!("the report says pool = {used:?}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::judge_report;

    const GOOD: &str = r#"{"backend":"memory","pool":"keyed","published":1,"handled":1,"failed_attempts":0,"dead_lettered":0,
        "order_violations":0,"lost":0,"duplicates":0,"restarts":0,"seconds":0.1,"throughput_per_second":10.0,
        "latency_ms":{"p50":1,"p99":1,"p999":1},"recovery":{}}"#;

    fn failure(text: &str, pool: &str) -> String {
        judge_report(text, pool).expect_err("must be refused").to_string()
    }

    #[test]
    fn a_report_is_judged_by_its_keys_and_counts() {
        assert!(judge_report(GOOD, "keyed").is_ok());
        assert!(failure(GOOD, "actor").contains("pool"));
        assert!(failure("", "keyed").contains("not JSON"));
        assert!(failure(&GOOD.replace("\"lost\":0", "\"lost\":2"), "keyed").contains("lost = 2"));
        assert!(failure(&GOOD.replace("\"lost\":0,", ""), "keyed").contains("lacks lost"));
        assert!(failure(&GOOD.replace("p999", "p9999"), "keyed").contains("lacks latency_ms.p999"));
    }
}
