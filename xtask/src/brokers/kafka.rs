//! Starting Apache Kafka: one or three nodes, each broker and controller at once. What it is told stands in `properties`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use super::group::leader;
use super::hold::Held;
use super::install::{self, Java};
use super::properties::{self, Ports, SecurePorts};
use super::start::{Failure, wait_for, with_new_ports};
use super::state::Kind;
use super::{Folder, certs, ports, probe};
use crate::process::{Result, command, write_file};

/// To standard output, which is the node's log file.
const LOGGING: &str = r#"<Configuration status="WARN">
  <Appenders><Console name="log"><PatternLayout pattern="%d{HH:mm:ss.SSS} %p %c{1}: %m%n"/></Console></Appenders>
  <Loggers><Root level="INFO"><AppenderRef ref="log"/></Root></Loggers>
</Configuration>
"#;

/// Starts a new cluster and waits until every node answers.
pub(super) fn start(folder: &Folder, nodes: u16) -> Result<Held> {
    let java = install::kafka(folder)?;
    eprintln!("kafka {}: starting {nodes} node(s)", install::KAFKA);
    with_new_ports(|| try_start(folder, &java, nodes))
}

fn try_start(folder: &Folder, java: &Java, nodes: u16) -> std::result::Result<Held, Failure> {
    let mut held = Held::create(folder, Kind::Kafka)?;
    let run = held.run.folder.clone();
    let cluster = choose_ports(nodes)?;
    if cluster.iter().any(|ports| ports.secure.is_some()) {
        certs::write(&held.run.certs())?;
    }
    let logging = run.join("log4j2.xml");
    write_file(&logging, LOGGING)?;
    let homes: Vec<PathBuf> = (1..=nodes).map(|id| run.join(format!("kafka-{id}"))).collect();
    for (at, home) in homes.iter().enumerate() {
        let text = properties::text(at + 1, &cluster, &home.join("data"), &held.run.certs());
        write_file(&home.join("server.properties"), &text)?;
    }
    format(java, &logging, &homes)?;
    for (home, ports) in homes.iter().zip(&cluster) {
        let mut node = leader(&java.program, &home.join("broker.log"))?;
        jvm(&mut node, java, &logging).args(["-Xmx512m", "kafka.Kafka"]).arg(home.join("server.properties"));
        held.spawn(&mut node, &named(ports))?;
    }
    for (at, (home, ports)) in homes.iter().zip(&cluster).enumerate() {
        let address = format!("127.0.0.1:{}", ports.client);
        wait_for(&held, at, &home.join("broker.log"), || probe::kafka(&address))?;
    }
    Ok(held)
}

/// Listeners for TLS are there on a single node only: what they prove does not depend on the number of nodes.
fn choose_ports(nodes: u16) -> Result<Vec<Ports>> {
    let is_single = nodes == 1;
    let free = ports::free(if is_single { 4 } else { usize::from(nodes) * 2 })?;
    if is_single {
        let secure = SecurePorts { ssl: free[2], sasl_ssl: free[3] };
        return Ok(vec![Ports { client: free[0], controller: free[1], secure: Some(secure) }]);
    }
    Ok(free.chunks_exact(2).map(|pair| Ports { client: pair[0], controller: pair[1], secure: None }).collect())
}

fn named(ports: &Ports) -> Vec<(&'static str, u16)> {
    let mut named = vec![("client", ports.client), ("controller", ports.controller)];
    if let Some(SecurePorts { ssl, sasl_ssl }) = ports.secure {
        named.extend([("ssl", ssl), ("sasl_ssl", sasl_ssl)]);
    }
    named
}

/// Prepares the data folders, all at once: each takes most of a second, nearly all of it the start of Java.
fn format(java: &Java, logging: &Path, homes: &[PathBuf]) -> Result<()> {
    let cluster = cluster_id();
    let mut running = Vec::new();
    for home in homes {
        let mut tool = command(&java.program);
        jvm(&mut tool, java, logging).args(["-Xmx128m", "kafka.tools.StorageTool", "format", "-t", &cluster, "-c"]);
        tool.arg(home.join("server.properties"));
        for mechanism in properties::SCRAM {
            let login = format!("name={},password={}", properties::USER, properties::PASSWORD);
            tool.args(["--add-scram", &format!("{mechanism}=[{login}]")]);
        }
        tool.stdout(Stdio::piped()).stderr(Stdio::piped());
        running.push(tool.spawn().map_err(|error| format!("cannot start {}: {error}", java.program.display()))?);
    }
    for child in running {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            return Err(format!(
                "kafka.tools.StorageTool cannot prepare the data folder:\n{}",
                String::from_utf8_lossy(&said).trim_end()
            )
            .into());
        }
    }
    Ok(())
}

/// Flags for a quick start and a small process; throughput is not what these brokers are for.
fn jvm<'a>(command: &'a mut Command, java: &Java, logging: &Path) -> &'a mut Command {
    let mut logging_flag = std::ffi::OsString::from("-Dlog4j2.configurationFile=");
    logging_flag.push(logging);
    command.args(["-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]).arg(logging_flag);
    command.arg("-cp").arg(java.libraries.join("*"))
}

/// A cluster id is 16 bytes in the 22 letters of base64; hexadecimal digits are some of them, and `A` ends it cleanly.
fn cluster_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let digits = format!("{:05x}{:016x}", std::process::id() & 0xf_ffff, now & u128::from(u64::MAX));
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
        assert_eq!(names, ["client", "controller", "ssl", "sasl_ssl"]);
        let three = choose_ports(3).expect("ports");
        assert!(three.len() == 3 && three.iter().all(|ports| ports.secure.is_none()));
    }
}
