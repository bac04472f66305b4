//! The rules of `deploy/prometheus`, as far as they have to be looked at. Whether they are
//! well-formed is for promtool to say.

use serde::Deserialize;
use xtask_base::process::Result;

#[derive(Deserialize)]
pub(super) struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

/// A rule that records a series, or one that alerts.
#[derive(Deserialize)]
pub(super) struct Rule {
    pub(super) alert: Option<String>,
    pub(super) expr: String,
}

impl Rules {
    pub(super) fn parse(text: &str) -> Result<Self> {
        Ok(serde_saphyr::from_str(text)?)
    }

    pub(super) fn alerts(&self) -> impl Iterator<Item = &Rule> {
        self.all().filter(|rule| rule.alert.is_some())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Rule> {
        self.groups.iter().flat_map(|group| &group.rules)
    }
}

impl Rule {
    /// What an alert looks at, without what it compares that with: `a > 1 and b < 2` looks at `a`
    /// and at `b`. All of a rule that only records.
    pub(super) fn operands(&self) -> Vec<&str> {
        if self.alert.is_none() {
            return vec![self.expr.trim()];
        }
        let both = self.expr.split(" and ").map(|part| {
            let part = part
                .strip_prefix("on ")
                .and_then(|rest| rest.split_once(") "))
                .map_or(part, |(_, rest)| rest);
            [" > ", " >= ", " == "]
                .iter()
                .find_map(|sign| part.split_once(sign))
                .map_or(part, |(left, _)| left)
        });
        both.map(str::trim).collect()
    }
}

/// The rules without their waiting times, so that one observation raises an alert.
pub(super) fn without_waiting(text: &str) -> String {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("for: "))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The scenario, and every alert about a fault that it may fire: all of these do, beside others
/// about the traffic.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) alerts: &'static [&'static str],
}

const fn scenario(name: &'static str, alerts: &'static [&'static str]) -> Scenario {
    Scenario { name, alerts }
}

/// Fires for the scenario whose process is killed.
pub(super) const NO_SCRAPE: &str = "BuslaneScrapeFailed";

pub(super) const ALL: [Scenario; 22] = [
    scenario("broker_gone", &["BuslaneBrokerGone"]),
    scenario("broker_silent", &["BuslaneBrokerSilent"]),
    scenario("credential_expired", &["BuslaneCredentialExpired"]),
    scenario("group_not_stable", &["BuslaneGroupNotStable"]),
    scenario("commit_refused", &["BuslaneCommitRefused"]),
    scenario("publisher_stuck", &["BuslanePublisherStuck"]),
    scenario("probes_lost", &["BuslaneProbesLost"]),
    scenario("dead_partition", &["BuslaneDeadPartition"]),
    // The key of a dead letter that cannot be written waits.
    scenario("dead_letter_unwritable", &["BuslaneDeadLetterUnwritable", "BuslaneBlockedKey"]),
    scenario("paused_too_long", &["BuslanePausedTooLong"]),
    scenario("stuck_handler", &["BuslaneStuckHandler"]),
    scenario("blocked_key", &["BuslaneBlockedKey"]),
    // The key that holds it is blocked.
    scenario("partition_held", &["BuslanePartitionHeld", "BuslaneBlockedKey"]),
    scenario("pool_full", &["BuslanePoolFull", "BuslaneInboxFull"]),
    scenario(
        "restart_storm",
        &["BuslaneRestartStorm", "BuslaneHandlerPanics", "BuslaneAttemptsFail"],
    ),
    scenario("memory_ceiling", &["BuslaneMemoryCeiling"]),
    scenario("backlog", &["BuslaneLagGrowing", "BuslaneBacklog", "BuslaneInRecovery"]),
    scenario("publish_backlog", &["BuslanePublishBacklog", "BuslanePublishesHeldBack"]),
    scenario("dead_letters", &["BuslaneDeadLetters", "BuslaneAttemptsFail"]),
    scenario("skipped", &["BuslaneSkipped", "BuslaneAttemptsFail"]),
    scenario("rolled_back", &["BuslaneRolledBack", "BuslaneAttemptsFail"]),
    scenario("slots_stuck", &["BuslaneSlotsStuck"]),
];

#[cfg(test)]
mod tests {
    use super::{Rule, Rules, without_waiting};

    const TEXT: &str = "groups:
  - name: a
    rules:
      - record: x
        expr: 'sum(y > 1)'
      - alert: Z
        expr: x > 1
        for: 5m
";

    #[test]
    fn rules_are_read_from_their_file() {
        let rules = Rules::parse(TEXT).expect("valid");
        assert_eq!(rules.all().map(Rule::operands).collect::<Vec<_>>(), [["sum(y > 1)"], ["x"]]);
        assert_eq!(rules.alerts().count(), 1);
        let hasty = without_waiting(TEXT);
        assert!(!hasty.contains("for:") && Rules::parse(&hasty).is_ok());
    }

    #[test]
    fn an_alert_is_taken_apart_at_its_comparisons() {
        let of = |expr: &str| {
            Rule { alert: Some("A".to_owned()), expr: expr.to_owned() }.operands().join(";")
        };
        assert_eq!(of("deriv(a[1m]) > 0 and a > 1000"), "deriv(a[1m]);a");
        assert_eq!(
            of("up == 0 and on (job, instance) count by (job) (a)"),
            "up;count by (job) (a)"
        );
        assert_eq!(of("a{b=\"c\"} >= 1"), "a{b=\"c\"}");
    }
}
