//! What differs between the brokers that suffer.

use std::time::Duration;

use crate::ledger::Numbering;
use xtask_brokers::Kind;

/// One broker, as the rounds see it.
#[derive(Clone, Copy)]
pub(crate) struct Backend {
    pub(crate) kind: Kind,
    pub(crate) numbering: Numbering,
    /// How far back the broker may not know what a killed process has done.
    pub(crate) unsettled: Duration,
    /// How long members may be without their group after an outage.
    pub(crate) regrouping: Duration,
    /// Silence after which others take over what a member had.
    pub(crate) silence: Duration,
    /// Whether the messages of an aggregate may go to several members at a time.
    pub(crate) is_shared: bool,
    /// Whether nothing is configured but the broker's address and the group.
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

    /// With nothing configured. A dead member is missed after the longest session by default, and
    /// commits may wait behind it.
    pub(crate) const fn with_defaults(self) -> Self {
        let unsettled = match self.kind {
            Kind::Kafka => Duration::from_millis(11_500),
            Kind::Nats => self.unsettled,
        };
        Self { unsettled, has_defaults: true, ..self }
    }

    /// The configuration of all processes. Members are missed soon; publishers outlive a broker's
    /// restart.
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
        // Who comes back is behind, and is to show how fast it catches up.
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
