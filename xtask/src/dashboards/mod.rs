//! `cargo xtask dashboards`: the dashboard and the rules of `deploy/` on a real Prometheus, which
//! scrapes order services with either pool and one bus for each fault. Every query has to return
//! data, every alert has to fire where its fault is, and no fault may be told of where there is
//! none.
//!
//! Faults that cannot be made on the embedded broker are left to promtool and recorded series
//! (`buslane.test.yaml`). Grafana does not run here: its panels are known by their queries alone.

mod panels;
mod picture;
mod prometheus;
mod rules;
mod scenarios;
mod stand;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use prometheus::{Prometheus, Series};
use rules::Rules;
use stand::Stand;
use xtask_base::process::{Result, command, root, run as run_command, write_file};
use xtask_base::programs::{self, Profile};
use xtask_base::tools;
use xtask_base::workspace::Metadata;

const RULES: &str = "deploy/prometheus/buslane.rules.yaml";
const TESTS: &str = "deploy/prometheus/buslane.test.yaml";
const DASHBOARD: &str = "deploy/grafana/buslane.json";

/// What everything may take together; a quiet machine needs a third of it.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a picture shows.
const PICTURE: Duration = Duration::from_secs(90);
/// Between two rounds of questions.
const REST: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Look on for a minute and a half, and draw what the dashboard shows of the order services
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) picture: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    tools::prometheus()?;
    run_command(command("promtool").args(["check", "rules", RULES]))?;
    run_command(command("promtool").args(["test", "rules", TESTS]))?;
    let (rules_text, tests) = (project_file(RULES)?, project_file(TESTS)?);
    let rules = Rules::parse(&rules_text)?;
    check_that_all_are_tried(&rules, &tests)?;
    let panels = panels::parse(&project_file(DASHBOARD)?)?;

    let programs = programs::build(Profile::Dev)?;
    let folder = Metadata::of_workspace()?.target_directory.join("xtask").join("dashboards");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let start = Instant::now();
    let mut stand = Stand::start(&programs, &folder, &rules_text)?;
    until(&mut stand, start, |prometheus| match prometheus.is_ready() {
        true => Ok(Vec::new()),
        false => Ok(vec!["Prometheus is not ready".to_owned()]),
    })?;

    let targets = panels.iter().flat_map(|panel| &panel.targets).map(|target| target.expr.as_str());
    let operands = rules.all().flat_map(rules::Rule::operands);
    let mut queries: BTreeSet<&str> = targets.chain(operands).collect();
    let count = queries.len();
    let mut alarms: BTreeSet<(&str, &str)> = scenarios::ALL
        .iter()
        .flat_map(|it| it.alerts.iter().map(|alert| (it.name, *alert)))
        .collect();
    until(&mut stand, start, |prometheus| {
        let mut left = BTreeSet::new();
        for query in &queries {
            if !has_data(&prometheus.query(query)?) {
                left.insert(*query);
            }
        }
        queries = left;
        let firing = prometheus.firing()?;
        alarms.retain(|(scenario, name)| {
            !firing.iter().any(|alert| {
                alert.label("scenario") == *scenario && alert.label("alertname") == *name
            })
        });
        let queries = queries.iter().map(|query| format!("no data: {query}"));
        let alarms =
            alarms.iter().map(|(scenario, alert)| format!("{alert} does not fire for {scenario}"));
        Ok(queries.chain(alarms).collect())
    })?;
    check_faults(&stand.prometheus, &rules)?;
    // Any will do: it was scraped, and is not any more.
    let killed = scenarios::ALL[0].name;
    stand.kill(killed);
    until(&mut stand, start, |prometheus| {
        let is_it = |alert: &prometheus::Alert| {
            alert.label("alertname") == scenarios::NO_SCRAPE && alert.label("scenario") == killed
        };
        let fires = prometheus.firing()?.iter().any(is_it);
        Ok(if fires { Vec::new() } else { vec![format!("{} does not fire", scenarios::NO_SCRAPE)] })
    })?;
    println!(
        "{count} queries return data, {} alerts fire in {} scenarios and on {TESTS}, after {:.1} s",
        rules.alerts().count(),
        scenarios::ALL.len(),
        start.elapsed().as_secs_f64()
    );
    if let Some(file) = &args.picture {
        std::thread::sleep(PICTURE.saturating_sub(start.elapsed()));
        stand.check_alive()?;
        write_file(file, &picture::of(&stand.prometheus, &panels, PICTURE)?)?;
        println!("drawn: {}", file.display());
    }
    Ok(())
}

/// Asks until nothing is left to wait for. An error lists what is.
fn until(
    stand: &mut Stand,
    start: Instant,
    mut left: impl FnMut(&Prometheus) -> Result<Vec<String>>,
) -> Result<()> {
    loop {
        stand.check_alive()?;
        let waiting = left(&stand.prometheus)?;
        if waiting.is_empty() {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("after {PATIENCE:?}:\n{}", waiting.join("\n")).into());
        }
        std::thread::sleep(REST);
    }
}

fn has_data(found: &[Series]) -> bool {
    found.iter().any(|series| series.points().next().is_some())
}

/// An alert that nothing makes fire is a mistake in a list.
fn check_that_all_are_tried(rules: &Rules, tests: &str) -> Result<()> {
    let played: BTreeSet<&str> = scenarios::ALL.iter().flat_map(|it| it.alerts).copied().collect();
    let is_tried = |name: &&str| {
        played.contains(name)
            || *name == scenarios::NO_SCRAPE
            || tests.contains(&format!("alertname=\"{name}\""))
    };
    let forgotten: Vec<&str> = rules
        .alerts()
        .filter_map(|rule| rule.alert.as_deref())
        .filter(|name| !is_tried(name))
        .collect();
    if forgotten.is_empty() {
        Ok(())
    } else {
        Err(format!("nothing tries {}", forgotten.join(", ")).into())
    }
}

/// Each fault that a bus knows has one alert, and no alert names another fault than the one that is
/// there.
fn check_faults(prometheus: &Prometheus, rules: &Rules) -> Result<()> {
    for series in prometheus.query("group by (fault) (eventbus:health_fault)")? {
        let fault = series.metric.get("fault").map_or("", String::as_str);
        let selector = format!("fault=\"{fault}\"");
        let alerts = rules.alerts().filter(|rule| rule.expr.contains(&selector)).count();
        if alerts != 1 {
            return Err(format!("{fault} has {alerts} alerts in {RULES}, it needs one").into());
        }
    }
    for alert in prometheus.firing()?.iter().filter(|alert| !alert.label("fault").is_empty()) {
        let (scenario, name) = (alert.label("scenario"), alert.label("alertname"));
        let expected =
            scenarios::ALL.iter().find(|it| it.name == scenario).map_or(&[][..], |it| it.alerts);
        if !expected.contains(&name) {
            return Err(format!("{name} fires for {scenario}, where its fault is not").into());
        }
    }
    Ok(())
}

/// The text of a file of the project.
pub(crate) fn project_file(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(path)).map_err(|error| format!("{path}: {error}").into())
}
