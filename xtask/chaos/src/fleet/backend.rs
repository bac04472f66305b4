//! The differences between the brokers under test.

use std::time::Duration;

use crate::ledger::Numbering;
use xtask_brokers::Kind;

/// A broker with its settings and its timing.
#[derive(Clone, Copy)]
pub(crate) struct Backend {
    pub(crate) kind: Kind,
    pub(crate) numbering: Numbering,
    /// Time before a kill whose completions the broker may not know.
    pub(crate) unsettled: Duration,
    /// Time that members may need to form their group after an outage.
    pub(crate) regrouping: Duration,
    /// Silence after which other members take over a member's partitions.
    pub(crate) silence: Duration,
    /// Whether several members may handle messages of one aggregate at the same time.
    pub(crate) is_shared: bool,
    /// Whether only the broker's address and the group are configured.
    pub(crate) has_defaults: bool,
    pub(crate) nodes: u16,
}

impl Backend {
    /// A commit interval of a second, and a session of six, for which a rebalance may wait for
    /// another member that has died; commits wait behind it. After an outage a session and a
    /// rebalance.
    pub(crate) const fn kafka(nodes: u16) -> Self {
        Self {
            kind: Kind::Kafka,
            numbering: Numbering::OfPartitions,
            unsettled: Duration::from_millis(7_500),
            regrouping: Duration::from_secs(20),
            silence: Duration::from_secs(6),
            is_shared: false,
            has_defaults: false,
            nodes,
        }
    }

    /// Acknowledgements are sent as handlers end. After an outage a lease, and what waits for its
    /// acknowledgement.
    pub(crate) const fn nats(nodes: u16) -> Self {
        Self {
            kind: Kind::Nats,
            numbering: Numbering::OfTopics,
            unsettled: Duration::from_secs(1),
            regrouping: Duration::from_secs(20),
            silence: Duration::from_secs(6),
            is_shared: false,
            has_defaults: false,
            nodes,
        }
    }

    /// The same broker with default settings. A dead member is missed after the longest default
    /// session, and commits may wait behind it.
    pub(crate) const fn with_defaults(self) -> Self {
        let unsettled = match self.kind {
            Kind::Kafka => Duration::from_millis(11_500),
            Kind::Nats => self.unsettled,
        };
        Self { unsettled, has_defaults: true, ..self }
    }

    /// The configuration of all processes. Dead members are missed soon; publishers outlive a
    /// broker's restart.
    pub(crate) fn config(&self, address: &str) -> String {
        let silence = self.silence.as_secs();
        let own = match self.kind {
            Kind::Kafka => {
                format!(
                    "kafka:\n  consumer:\n    session_timeout: {silence}s\n    heartbeat_interval: 1s\n"
                )
            }
            Kind::Nats => format!(
                "nats:\n  consumer:\n    ack_wait: {silence}s\n    lease: {silence}s\n  stream:\n    replication: {}\n{}",
                self.nodes,
                if self.is_shared { "    partitions: shared\n" } else { "" }
            ),
        };
        let servers = address.replace("nats://", "");
        if self.has_defaults {
            return format!("url: {}://{servers}\ngroup: chaos\n", self.kind);
        }
        // A restarted member is behind; without recovery mode it catches up as fast as it can.
        let recovery = "recovery: { at_start: never, on_backlog: false }\n";
        format!(
            "url: {}://{servers}\ngroup: chaos\npublish_timeout: 3m\n{recovery}{own}",
            self.kind
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Backend;

    #[test]
    fn a_url_names_all_nodes_once() {
        let text = Backend::nats(3).config("nats://a:1,nats://b:2");
        assert!(
            text.starts_with("url: nats://a:1,b:2\n") && text.contains("replication: 3"),
            "{text}"
        );
        assert!(!text.contains("partitions"), "the default holds: {text}");
        let shared = Backend { is_shared: true, ..Backend::nats(1) }.config("a:1");
        assert!(shared.contains("replication: 1\n    partitions: shared\n"), "{shared}");
        assert!(Backend::kafka(1).config("a:1").starts_with("url: kafka://a:1\n"));
    }

    #[test]
    fn defaults_are_left_alone() {
        let text = Backend::nats(1).with_defaults().config("nats://a:1");
        assert_eq!(text, "url: nats://a:1\ngroup: chaos\n");
    }
}
