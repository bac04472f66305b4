//! Apache Kafka: starts one or three nodes, each broker and controller at once, and writes their
//! properties.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use xtask_base::process::{Result, write_file};

use super::group::leader;
use super::guard::{BrokerGuard, Failure, wait_for, with_new_ports};
use super::install::Java;
use super::probe::Coordinator;
use super::state::{Folder, Kind};
use super::{certs, install, probe};

const PROPERTIES: &str = "server.properties";
const LOG_SETTINGS: &str = "log4j2.xml";
/// To standard output, which is the node's log file.
const LOGGING: &str = r#"<Configuration status="WARN">
  <Appenders><Console name="log"><PatternLayout pattern="%d{HH:mm:ss.SSS} %p %c{1}: %m%n"/></Console></Appenders>
  <Loggers><Root level="INFO"><AppenderRef ref="log"/></Root></Loggers>
</Configuration>
"#;

/// Prepares a new data folder, then becomes the broker: one process group from the first moment, so
/// that an end in between leaves nothing running.
const SCRIPT: &str = r#"
java="$1" libraries="$2" logging="$3" properties="$4" cluster="$5" login="$6" flags="$7"
set -- "$java" -XX:+UseSerialGC "-Dlog4j2.configurationFile=$logging" -cp "$libraries/*"
[ -e "${properties%/*}/data/meta.properties" ] || "$@" -Xmx128m kafka.tools.StorageTool format -t "$cluster" -c "$properties" \
    --add-scram "SCRAM-SHA-256=[$login]" --add-scram "SCRAM-SHA-512=[$login]"
exec "$@" $flags kafka.Kafka "$properties"
"#;

/// The purpose of a node.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// Starts quickly and stays small.
    Tests,
    /// Not the bottleneck of a measurement: compiled with all optimizations, with rare garbage
    /// collections.
    Figures,
}

impl Purpose {
    const fn flags(self) -> &'static str {
        match self {
            Self::Tests => "-XX:TieredStopAtLevel=1 -Xms64m -Xmx512m",
            Self::Figures => "-Xms1g -Xmx1g",
        }
    }
}

/// Starts a new cluster and waits until every node answers and the coordinators are there.
pub(super) fn start(
    folder: &Folder,
    nodes: u16,
    purpose: Purpose,
    kept: Option<&Path>,
) -> Result<BrokerGuard> {
    let java = install::kafka(folder)?;
    eprintln!("kafka {}: starting {nodes} node(s)", install::KAFKA);
    with_new_ports(|| try_start(folder, &java, nodes, purpose, kept))
}

fn try_start(
    folder: &Folder,
    java: &Java,
    nodes: u16,
    purpose: Purpose,
    kept: Option<&Path>,
) -> std::result::Result<BrokerGuard, Failure> {
    let mut broker = BrokerGuard::create(folder, Kind::Kafka)?;
    let run = broker.run.folder.clone();
    let cluster = choose_ports(nodes)?;
    if cluster.iter().any(|ports| ports.secure.is_some()) {
        certs::write(&broker.run.certs())?;
    }
    write_file(&run.join(LOG_SETTINGS), LOGGING)?;
    let id = cluster_id();
    for (at, ports) in cluster.iter().enumerate() {
        let home = broker.run.home(at);
        let text = properties(at + 1, &cluster, &home.join("data"), &broker.run.certs());
        write_file(&home.join(PROPERTIES), &text)?;
        broker.run.keep_data(at, kept)?;
        let mut node = node(&broker, at, java, &id, purpose)?;
        broker.spawn(&mut node, &named(ports))?;
    }
    for (at, ports) in cluster.iter().enumerate() {
        let address = format!("127.0.0.1:{}", ports.client);
        wait_for(&broker, at, || probe::kafka(&address))?;
    }
    let first = format!("127.0.0.1:{}", cluster[0].client);
    for coordinator in [Coordinator::Group, Coordinator::Transaction] {
        wait_for(&broker, 0, || probe::kafka_coordinator(&first, coordinator))?;
    }
    Ok(broker)
}

/// Restarts an ended node on its ports and its data, and waits until it answers.
pub(super) fn start_again(broker: &mut BrokerGuard, at: usize) -> Result<()> {
    let mut node =
        node(broker, at, &install::kafka(&Folder::of_workspace()?)?, "", Purpose::Tests)?;
    broker.spawn_again(at, &mut node)?;
    let port = broker.run.nodes[at].ports.get("client").copied().unwrap_or_default();
    let address = format!("127.0.0.1:{port}");
    let wait = || {
        wait_for(broker, at, || probe::kafka(&address))?;
        wait_for(broker, at, || probe::kafka_coordinator(&address, Coordinator::Group))
    };
    wait().map_err(|failure| match failure {
        Failure::PortTaken(text) => text.into(),
        Failure::Other(error) => error,
    })
}

/// The process of a node. The cluster's id counts when its data folder is new.
fn node(
    broker: &BrokerGuard,
    at: usize,
    java: &Java,
    cluster: &str,
    purpose: Purpose,
) -> Result<Command> {
    let (logging, properties) =
        (broker.run.folder.join(LOG_SETTINGS), broker.run.home(at).join(PROPERTIES));
    let mut node = leader("sh", &broker.run.log(at))?;
    node.args(["-e", "-c", SCRIPT, "sh"]).args([
        &java.program,
        &java.libraries,
        &logging,
        &properties,
    ]);
    node.args([cluster, &format!("name={},password={}", USER, PASSWORD), purpose.flags()]);
    Ok(node)
}

/// Only a single node has listeners for TLS: their tests do not depend on the number of nodes.
fn choose_ports(nodes: u16) -> Result<Vec<Ports>> {
    let is_single = nodes == 1;
    let free = probe::free_ports(if is_single { 5 } else { usize::from(nodes) * 2 })?;
    if is_single {
        let secure = SecurePorts { ssl: free[2], sasl_ssl: free[3], tls: free[4] };
        return Ok(vec![Ports { client: free[0], controller: free[1], secure: Some(secure) }]);
    }
    Ok(free
        .chunks_exact(2)
        .map(|pair| Ports { client: pair[0], controller: pair[1], secure: None })
        .collect())
}

fn named(ports: &Ports) -> Vec<(&'static str, u16)> {
    let mut named = vec![("client", ports.client), ("controller", ports.controller)];
    if let Some(SecurePorts { tls, ssl, sasl_ssl }) = ports.secure {
        named.extend([("tls", tls), ("ssl", ssl), ("sasl_ssl", sasl_ssl)]);
    }
    named
}

/// A cluster id is 16 bytes in the 22 letters of base64; hexadecimal digits are some of them, and
/// `A` ends it cleanly.
fn cluster_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let digits =
        format!("{:05x}{:016x}", std::process::id() & 0xf_ffff, now & u128::from(u64::MAX));
    digits + "A"
}

/// The login of the SASL listener. No secrets: the broker listens on the loopback address alone.
const USER: &str = "alice";
const PASSWORD: &str = "secret";
/// The SCRAM mechanisms. Their users are part of the formatted data, not of the properties.
const SCRAM: [&str; 2] = ["SCRAM-SHA-256", "SCRAM-SHA-512"];

/// The ports of one node.
#[derive(Clone, Copy, Debug)]
struct Ports {
    client: u16,
    controller: u16,
    secure: Option<SecurePorts>,
}

#[derive(Clone, Copy, Debug)]
struct SecurePorts {
    /// TLS alone.
    tls: u16,
    /// TLS that asks the client for a certificate.
    ssl: u16,
    /// TLS and a login.
    sasl_ssl: u16,
}

/// The properties of node `id` (from 1) of a cluster with these ports.
fn properties(id: usize, cluster: &[Ports], data: &Path, certs: &Path) -> String {
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

    use super::{Ports, SecurePorts, choose_ports, cluster_id, named, properties};

    #[test]
    fn a_cluster_id_has_the_length_kafka_asks_for() {
        assert_eq!(cluster_id().len(), 22);
        assert_ne!(cluster_id(), cluster_id());
    }

    #[test]
    fn one_node_has_secure_ports_and_three_have_none() {
        let one = choose_ports(1).expect("ports");
        let names: Vec<&str> = named(&one[0]).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["client", "controller", "tls", "ssl", "sasl_ssl"]);
        let three = choose_ports(3).expect("ports");
        assert!(three.len() == 3 && three.iter().all(|ports| ports.secure.is_none()));
    }

    fn parsed(id: usize, cluster: &[Ports]) -> BTreeMap<String, String> {
        let text = properties(id, cluster, Path::new("/run/data"), Path::new("/run/certs"));
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
        let properties = parsed(2, &cluster);
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
        let properties = parsed(1, &[ports]);
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
