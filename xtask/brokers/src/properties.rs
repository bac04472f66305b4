//! The text of Kafka's `server.properties`: one function of the nodes' ports. It starts nothing and
//! writes no file.

use std::fmt::Write;
use std::path::Path;

/// Who may log in on the SASL listener; not secrets, the broker listens on the loopback address
/// alone.
pub(super) const USER: &str = "alice";
pub(super) const PASSWORD: &str = "secret";
/// The SCRAM mechanisms. Their users are part of the formatted data, not of the properties.
const SCRAM: [&str; 2] = ["SCRAM-SHA-256", "SCRAM-SHA-512"];

/// The ports of one node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) client: u16,
    pub(super) controller: u16,
    pub(super) secure: Option<SecurePorts>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct SecurePorts {
    /// TLS alone.
    pub(super) tls: u16,
    /// TLS that asks the client for a certificate.
    pub(super) ssl: u16,
    /// TLS and a login.
    pub(super) sasl_ssl: u16,
}

/// The properties of node `id` (from 1) of a cluster with these ports.
pub(super) fn text(id: usize, cluster: &[Ports], data: &Path, certs: &Path) -> String {
    let Ports { client, controller, secure } = cluster[id - 1];
    let voters: Vec<String> = cluster
        .iter()
        .enumerate()
        .map(|(at, ports)| format!("{}@127.0.0.1:{}", at + 1, ports.controller))
        .collect();
    let mut listeners = vec![("PLAINTEXT", client)];
    if let Some(SecurePorts { tls, ssl, sasl_ssl }) = secure {
        listeners.extend([("TLS", tls), ("SSL", ssl), ("SASL_SSL", sasl_ssl)]);
    }
    let list = |listeners: &[(&str, u16)]| {
        listeners
            .iter()
            .map(|(name, port)| format!("{name}://127.0.0.1:{port}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let advertised = list(&listeners);
    listeners.push(("CONTROLLER", controller));
    let copies = cluster.len();
    let in_sync = copies.div_ceil(2);
    let mut text = format!(
        "\
process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners={listeners}
advertised.listeners={advertised}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,TLS:SSL,SSL:SSL,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
log.dirs={data}

# A topic that a test has forgotten to create is an error, not a surprise.
auto.create.topics.enable=false
message.max.bytes=4194304
default.replication.factor={copies}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={copies}
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={in_sync}

# The defaults are for thousands of clients: each internal topic has 50 partitions.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=4
log.cleaner.dedupe.buffer.size=8388608

# Time between two looks for something to compact; 15 s by default, which a test would have to wait for.
log.cleaner.backoff.ms=200

# Groups form and notice a lost member in test time: the defaults wait 3 s for a first member, 5 s between heartbeats, 45 s for a silent one.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=500
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
",
        voters = voters.join(","),
        listeners = list(&listeners),
        data = data.display(),
    );
    if secure.is_some() {
        security(&mut text, certs);
    }
    text
}

fn security(text: &mut String, certs: &Path) {
    let certs = certs.display();
    let modules = "org.apache.kafka.common.security";
    let scram = SCRAM.join(",");
    let _ = write!(
        text,
        "
ssl.keystore.type=PEM
ssl.keystore.location={certs}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={certs}/ca.pem
listener.name.ssl.ssl.client.auth=required
listener.name.tls.ssl.client.auth=none
sasl.enabled.mechanisms=PLAIN,{scram},OAUTHBEARER
listener.name.sasl_ssl.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config={modules}.oauthbearer.OAuthBearerLoginModule required;
# A connection ends with its token, unless the client logs in again with a new one.
listener.name.sasl_ssl.oauthbearer.connections.max.reauth.ms=3600000
"
    );
    for mechanism in SCRAM {
        let name = mechanism.to_lowercase();
        let _ = writeln!(
            text,
            "listener.name.sasl_ssl.{name}.sasl.jaas.config={modules}.scram.ScramLoginModule required;"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::{Ports, SecurePorts, text};

    fn properties(id: usize, cluster: &[Ports]) -> BTreeMap<String, String> {
        let text = text(id, cluster, Path::new("/run/data"), Path::new("/run/certs"));
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pairs: Vec<(String, String)> = lines
            .map(|line| line.split_once('=').expect(line))
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .collect();
        let count = pairs.len();
        let map = BTreeMap::from_iter(pairs);
        assert_eq!(map.len(), count, "a key stands twice");
        map
    }

    #[test]
    fn three_nodes_vote_and_keep_three_copies() {
        let cluster = [(1, 11), (2, 12), (3, 13)].map(|(client, controller)| Ports {
            client,
            controller,
            secure: None,
        });
        let properties = properties(2, &cluster);
        assert_eq!(
            properties["controller.quorum.voters"],
            "1@127.0.0.1:11,2@127.0.0.1:12,3@127.0.0.1:13"
        );
        assert_eq!(properties["listeners"], "PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:12");
        assert_eq!(properties["offsets.topic.replication.factor"], "3");
        assert_eq!(properties["transaction.state.log.min.isr"], "2");
        assert!(!properties.contains_key("ssl.keystore.type"));
    }

    #[test]
    fn one_node_listens_for_tls_and_logins_too() {
        let ports = Ports {
            client: 1,
            controller: 2,
            secure: Some(SecurePorts { tls: 5, ssl: 3, sasl_ssl: 4 }),
        };
        let properties = properties(1, &[ports]);
        assert_eq!(
            properties["advertised.listeners"],
            "PLAINTEXT://127.0.0.1:1,TLS://127.0.0.1:5,SSL://127.0.0.1:3,SASL_SSL://127.0.0.1:4"
        );
        assert_eq!(properties["offsets.topic.replication.factor"], "1");
        assert_eq!(properties["min.insync.replicas"], "1");
        assert_eq!(properties["listener.name.ssl.ssl.client.auth"], "required");
        assert_eq!(properties["listener.name.tls.ssl.client.auth"], "none");
        assert_eq!(
            properties["sasl.enabled.mechanisms"],
            "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER"
        );
        assert!(
            properties["listener.name.sasl_ssl.plain.sasl.jaas.config"]
                .ends_with("user_alice=\"secret\";")
        );
        assert!(
            properties["listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config"]
                .contains("ScramLoginModule")
        );
        assert_eq!(properties["ssl.keystore.location"], "/run/certs/server.pem");
    }
}
