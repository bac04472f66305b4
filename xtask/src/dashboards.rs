//! `cargo xtask dashboards`: the dashboard and the rules of `deploy/` on a real Prometheus, which
//! scrapes order services with either pool and one bus for each fault. Every query must return
//! data, every alert must fire for its fault, and no alert may fire without its fault.
//!
//! Faults that cannot be made on the embedded broker are left to promtool and recorded series
//! (`buslane.test.yaml`). Grafana does not run here: its panels are known by their queries alone.

mod prometheus;
mod rules;
mod testbed;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use xtask_base::plot::Line;
use xtask_base::process::{Result, command, root, run as run_command, write_file};
use xtask_base::programs::Profile;
use xtask_base::workspace::Metadata;
use xtask_base::{plot, programs, tools};

use self::prometheus::{Prometheus, Series};
use self::rules::Rules;
use self::testbed::Testbed;

const RULES: &str = "deploy/prometheus/buslane.rules.yaml";
const TESTS: &str = "deploy/prometheus/buslane.test.yaml";
const DASHBOARD: &str = "deploy/grafana/buslane.json";

/// Deadline of the whole check; a quiet machine needs a third of it.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a picture shows.
const PICTURE: Duration = Duration::from_secs(90);
/// Between two rounds of questions.
const REST: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Observe the order services for a minute and a half, and draw their dashboard
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
    let panels = parse_panels(&project_file(DASHBOARD)?)?;

    let programs = programs::build(Profile::Dev)?;
    let folder = Metadata::of_workspace()?.target_directory.join("xtask").join("dashboards");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let start = Instant::now();
    let mut testbed = Testbed::start(&programs, &folder, &rules_text)?;
    until(&mut testbed, start, |prometheus| match prometheus.is_ready() {
        true => Ok(Vec::new()),
        false => Ok(vec!["Prometheus is not ready".to_owned()]),
    })?;

    let targets = panels.iter().flat_map(|panel| &panel.targets).map(|target| target.expr.as_str());
    let operands = rules.all().flat_map(rules::Rule::operands);
    let mut queries: BTreeSet<&str> = targets.chain(operands).collect();
    let count = queries.len();
    let mut alarms: BTreeSet<(&str, &str)> =
        rules::ALL.iter().flat_map(|it| it.alerts.iter().map(|alert| (it.name, *alert))).collect();
    until(&mut testbed, start, |prometheus| {
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
    check_faults(&testbed.prometheus, &rules)?;
    // Any will do: it was scraped, and is not any more.
    let killed = rules::ALL[0].name;
    testbed.kill(killed);
    until(&mut testbed, start, |prometheus| {
        let is_it = |alert: &prometheus::Alert| {
            alert.label("alertname") == rules::NO_SCRAPE && alert.label("scenario") == killed
        };
        let fires = prometheus.firing()?.iter().any(is_it);
        Ok(if fires { Vec::new() } else { vec![format!("{} does not fire", rules::NO_SCRAPE)] })
    })?;
    println!(
        "{count} queries return data, {} alerts fire in {} scenarios and on {TESTS}, after {:.1} s",
        rules.alerts().count(),
        rules::ALL.len(),
        start.elapsed().as_secs_f64()
    );
    if let Some(file) = &args.picture {
        std::thread::sleep(PICTURE.saturating_sub(start.elapsed()));
        testbed.check_alive()?;
        write_file(file, &draw(&testbed.prometheus, &panels, PICTURE)?)?;
        println!("drawn: {}", file.display());
    }
    Ok(())
}

/// Asks until nothing is left to wait for. An error lists the rest.
fn until(
    testbed: &mut Testbed,
    start: Instant,
    mut left: impl FnMut(&Prometheus) -> Result<Vec<String>>,
) -> Result<()> {
    loop {
        testbed.check_alive()?;
        let waiting = left(&testbed.prometheus)?;
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
    let played: BTreeSet<&str> = rules::ALL.iter().flat_map(|it| it.alerts).copied().collect();
    let is_tried = |name: &&str| {
        played.contains(name)
            || *name == rules::NO_SCRAPE
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

/// Each fault of a bus has one alert, and no alert fires for another fault.
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
            rules::ALL.iter().find(|it| it.name == scenario).map_or(&[][..], |it| it.alerts);
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

/// How far back a rate looks while a check runs; Grafana chooses it by its own.
const RATE_INTERVAL: &str = "15s";

#[derive(Deserialize)]
struct Dashboard {
    panels: Vec<Panel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Panel {
    title: String,
    #[serde(default)]
    targets: Vec<Target>,
    #[serde(default)]
    field_config: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Target {
    expr: String,
    legend_format: String,
}

impl Panel {
    /// Grafana's name of the unit.
    fn unit(&self) -> &str {
        self.field_config["defaults"]["unit"].as_str().unwrap_or_default()
    }
}

/// The panels that show something, for buses on the embedded broker.
fn parse_panels(text: &str) -> Result<Vec<Panel>> {
    let mut panels = serde_json::from_str::<Dashboard>(text)?.panels;
    panels.retain(|panel| !panel.targets.is_empty());
    for target in panels.iter_mut().flat_map(|panel| &mut panel.targets) {
        let filled = target.expr.replace("${backend}", "memory").replace("$instance", ".*");
        target.expr = filled.replace("$__rate_interval", RATE_INTERVAL);
        if target.expr.contains('$') {
            return Err(format!("a variable that this check does not know: {}", target.expr).into());
        }
    }
    Ok(panels)
}

const PANELS: usize = 6;

/// Asks for the last `time` of the order services, and draws it.
fn draw(prometheus: &Prometheus, panels: &[Panel], time: Duration) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let from = now.saturating_sub(time.as_secs());
    let mut drawn = Vec::new();
    for panel in panels.iter().take(PANELS) {
        let mut lines = Vec::new();
        for target in &panel.targets {
            let query = target.expr.replace("instance=~\".*\"", "scenario=~\"order-service.*\"");
            for series in prometheus.range(&query, from, now)? {
                let points = series.points().map(|(at, value)| (at - from as f64, value)).collect();
                lines.push(Line { name: legend(&target.legend_format, &series.metric), points });
            }
        }
        drawn.push(plot::Panel { title: &panel.title, unit: panel.unit(), lines, marks: &[] });
    }
    plot::render(&drawn, time.as_secs_f64())
}

/// `{{topic}} lag` with the labels of a series.
fn legend(format: &str, labels: &std::collections::BTreeMap<String, String>) -> String {
    labels.iter().fold(format.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{{{name}}}}}"), value)
    })
}

#[cfg(test)]
mod tests {
    use super::{legend, parse_panels};

    #[test]
    fn variables_are_filled_in() {
        let of = |expr: &str| {
            let target = serde_json::json!({ "expr": expr, "legendFormat": "x" });
            parse_panels(
                &serde_json::json!({ "panels": [{ "title": "row" }, { "title": "a", "targets": [target] }] })
                    .to_string(),
            )
        };
        let panels =
            of("rate(${backend}_x{instance=~\"$instance\"}[$__rate_interval])").expect("valid");
        assert_eq!((panels.len(), panels[0].title.as_str()), (1, "a"));
        assert_eq!(panels[0].targets[0].expr, "rate(memory_x{instance=~\".*\"}[15s])");
        assert!(of("$other").is_err());
    }

    #[test]
    fn a_line_has_the_name_of_its_series() {
        let labels = [("topic".to_owned(), "orders".to_owned())].into();
        assert_eq!(legend("{{topic}}, all", &labels), "orders, all");
    }
}
