//! Tests of `deploy/`: the files are well-formed, and agree with the service. Whether a cluster
//! accepts them is not tested.

use serde_json::Value;

use crate::dashboards::project_file;

/// Every document of a file.
fn documents(path: &str) -> Vec<Value> {
    let text = project_file(path).expect("it is there");
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn deployment() -> Value {
    documents("deploy/kubernetes/deployment.yaml").remove(0)
}

/// `shutdown_deadline` in seconds, as the generated page says it.
fn shutdown_deadline() -> u64 {
    let page = project_file("docs/configuration.md").expect("it is there");
    let row = page
        .lines()
        .find(|line| line.starts_with("| `shutdown_deadline` |"))
        .expect("it is documented");
    let value = row.split('|').nth(3).expect("a default").trim().trim_matches('`');
    value.strip_suffix('s').and_then(|seconds| seconds.parse().ok()).expect("in seconds")
}

#[test]
fn o6_manifests_ask_the_paths_that_there_are() {
    let deployment = deployment();
    let pod = &deployment["spec"]["template"];
    let container = &pod["spec"]["containers"][0];
    for (probe, path) in
        [("startupProbe", "/startupz"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
    {
        assert_eq!(container[probe]["httpGet"]["path"], path);
        assert_eq!(container[probe]["httpGet"]["port"], container["ports"][0]["name"]);
    }
    let port = container["ports"][0]["containerPort"].as_u64().expect("a port");
    let args: Vec<_> =
        container["args"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(
        args.contains(&"--http-public") && args.contains(&&*format!("0.0.0.0:{port}")),
        "{args:?}"
    );
    let env: Vec<_> =
        container["env"].as_array().expect("a list").iter().map(|one| &one["name"]).collect();
    assert!(env.contains(&&Value::from("BUSLANE_USE_ACTOR_POOL")));
    let monitor = documents("deploy/kubernetes/podmonitor.yaml").remove(0);
    assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["path"], "/metrics");
    assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["port"], container["ports"][0]["name"]);
    assert_eq!(monitor["spec"]["selector"]["matchLabels"], pod["metadata"]["labels"]);
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], pod["metadata"]["labels"]);
}

#[test]
fn o6_nobody_is_killed_while_it_drains() {
    let drain = shutdown_deadline();
    let grace = deployment()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        .as_u64()
        .expect("a number");
    assert!(grace > drain, "{grace} s for a drain of {drain} s");
    let unit = project_file("deploy/systemd/order-service.service").expect("it is there");
    let stop =
        unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).expect("it says so");
    assert!(stop.parse::<u64>().expect("seconds") > drain, "{stop} s for a drain of {drain} s");
    assert!(unit.lines().any(|line| line.starts_with("Environment=BUSLANE_USE_ACTOR_POOL=")));
}
