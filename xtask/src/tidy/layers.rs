//! Rules A1 to A3: which package may depend on which. Every arrow points down.
//!
//! Looks at the direct dependencies that the manifests state, optional ones included; the graph
//! behind them is cargo-deny's.

use super::Finding;

/// One dependency as a manifest states it.
pub(super) struct Dependency<'a> {
    pub(super) name: &'a str,
    pub(super) is_dev: bool,
}

/// A1: these know no broker client and no async runtime.
const FOUNDATION: [&str; 6] = [
    "buslane-core",
    "buslane-settings",
    "buslane-lanes",
    "buslane-offsets",
    "buslane-parking",
    "buslane-rollout",
];
const BROKER_CLIENTS: [&str; 8] =
    ["rdkafka", "rdkafka-sys", "rskafka", "kafka", "async-nats", "nats", "lapin", "pulsar"];
const RUNTIMES: [&str; 12] = [
    "tokio",
    "tokio-util",
    "tokio-stream",
    "async-std",
    "async-executor",
    "smol",
    "ractor",
    "actix",
    "actix-rt",
    "compio",
    "glommio",
    "monoio",
];
/// Families of packages, by the start of their names.
const BROKER_FAMILIES: [&str; 1] = ["sea-streamer"];

/// A2: layers that do not depend on each other.
const BROKERS: [&str; 3] = ["buslane-memory", "buslane-kafka", "buslane-nats"];
const POOLS: [&str; 3] = ["buslane-pools", "buslane-keyed", "buslane-actor"];

/// A3: the packages that may depend on a broker and on a pool.
const SEES_BOTH: [&str; 4] = ["buslane", "buslane-bus-suite", "buslane-benches", "xtask"];

/// Checks one package. `path` and `manifest` are its Cargo.toml, which locate the finding.
pub(super) fn check(
    package: &str,
    dependencies: &[Dependency<'_>],
    path: &str,
    manifest: &str,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut fail = |name: &str, rule, advice: String| {
        findings.push(Finding::failure(path, line_of(manifest, name), rule, advice))
    };
    for Dependency { name, is_dev } in dependencies {
        if FOUNDATION.contains(&package) && !is_dev {
            if BROKER_CLIENTS.contains(name)
                || BROKER_FAMILIES.iter().any(|family| name.starts_with(family))
            {
                fail(
                    name,
                    "A1",
                    format!(
                        "{package} knows no broker client: move what needs {name} into an adapter crate"
                    ),
                );
            }
            if RUNTIMES.contains(name) {
                fail(
                    name,
                    "A1",
                    format!(
                        "{package} knows no async runtime: move what needs {name} into a pool or the bus"
                    ),
                );
            }
        }
        if POOLS.contains(&package) && BROKERS.contains(name) {
            fail(
                name,
                "A2",
                format!("a pool never depends on a broker: take {name} out, the bus joins the two"),
            );
        }
        if BROKERS.contains(&package) && POOLS.contains(name) {
            fail(
                name,
                "A2",
                format!("a broker never depends on a pool: take {name} out, the bus joins the two"),
            );
        }
    }
    let first_of = |group: &[&str]| {
        dependencies.iter().map(|dependency| dependency.name).find(|name| group.contains(name))
    };
    if let (Some(broker), Some(pool)) = (first_of(&BROKERS), first_of(&POOLS))
        && !SEES_BOTH.contains(&package)
    {
        fail(
            pool,
            "A3",
            format!(
                "only {} may see both {broker} and {pool}: use the bus instead",
                SEES_BOTH.join(", ")
            ),
        );
    }
    findings
}

/// The line on which a manifest names a dependency, or 1.
fn line_of(manifest: &str, name: &str) -> usize {
    let names_it = |line: &str| {
        let key = line
            .strip_prefix("[dependencies.")
            .or_else(|| line.strip_prefix("[dev-dependencies."))
            .unwrap_or(line);
        key.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', ' ', '=', ']']))
    };
    manifest.lines().position(names_it).map_or(1, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::{Dependency, check};

    fn rules(package: &str, names: &[&str]) -> Vec<&'static str> {
        let dependencies: Vec<Dependency<'_>> =
            names.iter().map(|name| Dependency { name, is_dev: false }).collect();
        check(package, &dependencies, "Cargo.toml", "")
            .into_iter()
            .map(|finding| finding.rule)
            .collect()
    }

    #[test]
    fn a1_foundation_knows_no_broker_and_no_runtime() {
        for name in
            ["tokio", "tokio-util", "smol", "ractor", "rdkafka", "async-nats", "sea-streamer-kafka"]
        {
            assert_eq!(rules("buslane-core", &[name]), ["A1"], "{name}");
            assert_eq!(rules("buslane-lanes", &["bytes", name]), ["A1"], "{name}");
            assert_eq!(rules("buslane-offsets", &[name]), ["A1"], "{name}");
            assert_eq!(rules("buslane-rollout", &[name]), ["A1"], "{name}");
            assert!(rules("buslane", &[name]).is_empty(), "{name}");
        }
        assert!(rules("buslane-core", &["bytes", "serde", "thiserror"]).is_empty());
        assert!(
            check("buslane-core", &[Dependency { name: "tokio", is_dev: true }], "Cargo.toml", "")
                .is_empty()
        );
    }

    #[test]
    fn a2_pools_and_brokers_are_strangers() {
        assert_eq!(rules("buslane-keyed", &["buslane-memory"]), ["A2"]);
        assert_eq!(rules("buslane-kafka", &["buslane-actor"]), ["A2"]);
        assert!(rules("buslane-keyed", &["buslane-lanes", "buslane-core"]).is_empty());
    }

    #[test]
    fn a3_only_the_hall_sees_both() {
        assert_eq!(rules("buslane-cli", &["buslane-memory", "buslane-actor"]), ["A3"]);
        assert!(rules("buslane-cli", &["buslane", "buslane-actor"]).is_empty());
        for room in ["buslane", "buslane-bus-suite", "buslane-benches"] {
            assert!(rules(room, &["buslane-memory", "buslane-actor"]).is_empty(), "{room}");
        }
    }

    #[test]
    fn a_finding_names_the_line() {
        let manifest =
            "[package]\nname = \"x\"\n[dependencies]\ntokio-util = \"1\"\ntokio.workspace = true\n";
        let findings = check(
            "buslane-core",
            &[Dependency { name: "tokio", is_dev: false }],
            "Cargo.toml",
            manifest,
        );
        assert_eq!(findings[0].line, 5);
    }
}
