//! Which alerts fire for which fault of the program `fault-scenario`.

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
