//! The rules and the dashboard of `deploy/` speak of faults and metrics that there are. That they
//! work is for `cargo xtask dashboards` to say, with a real Prometheus.

use buslane::{
    Condition, Fault,
    metrics::{MetricScope, all},
};
use serde_json::Value;
use std::{collections::BTreeSet, path::Path};

fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path))
        .expect("it is there")
}

fn alerts() -> Vec<Value> {
    let rules: Value =
        serde_saphyr::from_str(&file("deploy/prometheus/buslane.rules.yaml")).expect("valid");
    let groups = rules["groups"].as_array().expect("a list").iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().expect("a list"));
    rules.filter(|rule| rule["alert"].is_string()).cloned().collect()
}

#[test]
fn o6_each_fault_has_an_alert_as_severe_as_it_is() {
    for fault in Fault::ALL {
        let expr = format!("eventbus:health_fault{{fault=\"{fault}\"}} > 0");
        let alerts: Vec<_> =
            alerts().into_iter().filter(|alert| alert["expr"] == expr.as_str()).collect();
        assert_eq!(alerts.len(), 1, "{fault}: {alerts:#?}");
        let severity = match fault.condition() {
            Condition::Unhealthy => "critical",
            Condition::Degraded => "warning",
            _ => "info",
        };
        assert_eq!(alerts[0]["labels"]["severity"], severity, "{fault}");
    }
}

#[test]
fn o6_each_alert_says_what_to_read() {
    let page = file("docs/operations.md");
    for alert in alerts() {
        let notes = &alert["annotations"];
        assert!(notes["summary"].is_string() && notes["description"].is_string(), "{alert:#}");
        let (_, section) = notes["runbook_url"]
            .as_str()
            .expect("a link")
            .split_once("docs/operations.md#")
            .expect("there");
        let name = alert["alert"].as_str().expect("a name");
        match section {
            "health" => {
                assert!(alert["expr"].as_str().expect("text").contains("health_fault"), "{name}")
            }
            "alerts" => {
                assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/operations.md")
            }
            other => panic!("{name} links to {other}"),
        }
    }
}

#[test]
fn o6_rules_and_dashboard_name_metrics_that_there_are() {
    let names: BTreeSet<String> = all()
        .flat_map(|metric| match metric.scope {
            MetricScope::Bus => vec![metric.name.to_owned()],
            MetricScope::Pool => ["keyed", "actor", "(keyed|actor)"]
                .map(|pool| format!("{pool}_pool_{}", metric.name))
                .to_vec(),
        })
        .collect();
    for path in ["deploy/prometheus/buslane.rules.yaml", "deploy/grafana/buslane.json"] {
        let text = file(path);
        for part in text
            .split("_eventbus_")
            .skip(1)
            .filter(|part| part.starts_with(|c: char| c == '(' || c.is_alphabetic()))
        {
            // `(keyed|actor)` belongs to a name, another bracket does not.
            let rest = part.strip_prefix("(keyed|actor)").unwrap_or(part);
            let length =
                rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let name = &part[..part.len() - rest.len() + length];
            let name = name.strip_suffix("_bucket").unwrap_or(name);
            // In the text of the pattern that takes names apart there is none.
            assert!(names.contains(name) || part.starts_with("(.+)_pool_"), "{path}: {name}");
        }
    }
}
