//! Starting Apache Kafka: one or three nodes, each broker and controller at once. What it is told
//! stands in `properties`.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::group::leader;
use super::hold::Held;
use super::install::{self, Java};
use super::probe::{self, Coordinator};
use super::properties::{self, Ports, SecurePorts};
use super::start::{Failure, wait_for, with_new_ports};
use super::state::Kind;
use super::{Folder, certs, ports};
use xtask_base::process::{Result, write_file};

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

/// What a node is made for.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// Starts quickly and stays small.
    Tests,
    /// Does not hold up what is measured against it: compiled as well as can be, and rarely
    /// collecting garbage.
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
pub(super) fn start(folder: &Folder, nodes: u16, purpose: Purpose) -> Result<Held> {
    let java = install::kafka(folder)?;
    eprintln!("kafka {}: starting {nodes} node(s)", install::KAFKA);
    with_new_ports(|| try_start(folder, &java, nodes, purpose))
}

fn try_start(
    folder: &Folder,
    java: &Java,
    nodes: u16,
    purpose: Purpose,
) -> std::result::Result<Held, Failure> {
    let mut held = Held::create(folder, Kind::Kafka)?;
    let run = held.run.folder.clone();
    let cluster = choose_ports(nodes)?;
    if cluster.iter().any(|ports| ports.secure.is_some()) {
        certs::write(&held.run.certs())?;
    }
    write_file(&run.join(LOG_SETTINGS), LOGGING)?;
    let id = cluster_id();
    for (at, ports) in cluster.iter().enumerate() {
        let home = held.run.home(at);
        let text = properties::text(at + 1, &cluster, &home.join("data"), &held.run.certs());
        write_file(&home.join(PROPERTIES), &text)?;
        let mut node = node(&held, at, java, &id, purpose)?;
        held.spawn(&mut node, &named(ports))?;
    }
    for (at, ports) in cluster.iter().enumerate() {
        let address = format!("127.0.0.1:{}", ports.client);
        wait_for(&held, at, || probe::kafka(&address))?;
    }
    let first = format!("127.0.0.1:{}", cluster[0].client);
    for coordinator in [Coordinator::Group, Coordinator::Transaction] {
        wait_for(&held, 0, || probe::kafka_coordinator(&first, coordinator))?;
    }
    Ok(held)
}

/// Starts a node that has ended again, on its ports and its data, and waits until it answers.
pub(super) fn start_again(held: &mut Held, at: usize) -> Result<()> {
    let mut node = node(held, at, &install::kafka(&Folder::of_workspace()?)?, "", Purpose::Tests)?;
    held.spawn_again(at, &mut node)?;
    let port = held.run.nodes[at].ports.get("client").copied().unwrap_or_default();
    let address = format!("127.0.0.1:{port}");
    let wait = || {
        wait_for(held, at, || probe::kafka(&address))?;
        wait_for(held, at, || probe::kafka_coordinator(&address, Coordinator::Group))
    };
    wait().map_err(|failure| match failure {
        Failure::PortTaken(text) => text.into(),
        Failure::Other(error) => error,
    })
}

/// The process of a node. The cluster's id counts when its data folder is new.
fn node(held: &Held, at: usize, java: &Java, cluster: &str, purpose: Purpose) -> Result<Command> {
    let (logging, properties) =
        (held.run.folder.join(LOG_SETTINGS), held.run.home(at).join(PROPERTIES));
    let mut node = leader("sh", &held.run.log(at))?;
    node.args(["-e", "-c", SCRIPT, "sh"]).args([
        &java.program,
        &java.libraries,
        &logging,
        &properties,
    ]);
    node.args([
        cluster,
        &format!("name={},password={}", properties::USER, properties::PASSWORD),
        purpose.flags(),
    ]);
    Ok(node)
}

/// Listeners for TLS are there on a single node only: what they prove does not depend on the number
/// of nodes.
fn choose_ports(nodes: u16) -> Result<Vec<Ports>> {
    let is_single = nodes == 1;
    let free = ports::free(if is_single { 5 } else { usize::from(nodes) * 2 })?;
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

#[cfg(test)]
mod tests {
    use super::{choose_ports, cluster_id, named};

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
}
