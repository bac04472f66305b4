//! Starting nats-server with JetStream and a monitoring port: one node, or three that elect a
//! leader.

use std::path::Path;

use super::group::leader;
use super::guard::{BrokerGuard, Failure, wait_for, with_new_ports};
use super::state::{Folder, Kind};
use super::{install, probe};
use xtask_base::process::{Result, write_file};

/// The ports of one node.
#[derive(Clone, Copy, Debug)]
struct Ports {
    client: u16,
    monitor: u16,
    cluster: u16,
}

/// Starts new servers of this version and waits until JetStream is ready on each. `extra` goes into
/// the configuration of each.
pub(super) fn start(
    folder: &Folder,
    version: &str,
    nodes: u16,
    extra: &str,
    kept: Option<&Path>,
) -> Result<BrokerGuard> {
    let program = install::nats(folder, version)?;
    eprintln!("nats-server {version}: starting {nodes} node(s)");
    with_new_ports(|| {
        let mut broker = BrokerGuard::create(folder, Kind::Nats)?;
        version.clone_into(&mut broker.run.version);
        start_nodes(broker, &program, nodes, extra, kept)
    })
}

fn start_nodes(
    mut broker: BrokerGuard,
    program: &Path,
    nodes: u16,
    extra: &str,
    kept: Option<&Path>,
) -> std::result::Result<BrokerGuard, Failure> {
    let free = probe::free_ports(usize::from(nodes) * 3)?;
    let cluster: Vec<Ports> = free
        .chunks_exact(3)
        .map(|ports| Ports { client: ports[0], monitor: ports[1], cluster: ports[2] })
        .collect();
    for (at, ports) in cluster.iter().enumerate() {
        let home = broker.run.home(at);
        let file = home.join("nats.conf");
        write_file(&file, &(config(at + 1, &cluster, &home.join("data")) + extra))?;
        broker.run.keep_data(at, kept)?;
        let mut server = leader(program, &broker.run.log(at))?;
        server.arg("-c").arg(&file);
        let named =
            [("client", ports.client), ("monitor", ports.monitor), ("cluster", ports.cluster)];
        // A single node needs no cluster port.
        broker.spawn(&mut server, if nodes == 1 { &named[..2] } else { &named })?;
    }
    for at in 0..cluster.len() {
        wait_until_ready(&broker, at)?;
    }
    Ok(broker)
}

fn wait_until_ready(broker: &BrokerGuard, at: usize) -> std::result::Result<(), Failure> {
    let address = |name: &str| {
        format!("127.0.0.1:{}", broker.run.nodes[at].ports.get(name).copied().unwrap_or_default())
    };
    wait_for(broker, at, || {
        probe::nats(&address("client")) && probe::nats_health(&address("monitor"))
    })
}

/// Restarts an ended node on its ports and its data, and waits until it answers.
pub(super) fn start_again(broker: &mut BrokerGuard, at: usize) -> Result<()> {
    let program = install::nats(&Folder::of_workspace()?, &broker.run.version)?;
    let mut server = leader(program, &broker.run.log(at))?;
    server.arg("-c").arg(broker.run.home(at).join("nats.conf"));
    broker.spawn_again(at, &mut server)?;
    wait_until_ready(broker, at).map_err(|failure| match failure {
        Failure::PortTaken(text) => text.into(),
        Failure::Other(error) => error,
    })
}

/// The configuration of node `id` (from 1) of a cluster with these ports.
fn config(id: usize, cluster: &[Ports], data: &Path) -> String {
    let Ports { client, monitor, cluster: own } = cluster[id - 1];
    let mut text = format!(
        "\
server_name: nats-{id}
listen: 127.0.0.1:{client}
http: 127.0.0.1:{monitor}
max_payload: 8MB
jetstream {{ store_dir: {data:?} }}
",
        data = data.display().to_string(),
    );
    if cluster.len() > 1 {
        let routes: Vec<String> =
            cluster.iter().map(|ports| format!("nats://127.0.0.1:{}", ports.cluster)).collect();
        text += &format!(
            "cluster {{ name: buslane, listen: 127.0.0.1:{own}, routes: [{}] }}\n",
            routes.join(", ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Ports, config};

    #[test]
    fn only_a_cluster_has_routes() {
        let nodes =
            [1, 4, 7].map(|first| Ports { client: first, monitor: first + 1, cluster: first + 2 });
        let one = config(1, &nodes[..1], Path::new("/run/a b"));
        assert!(
            one.contains(
                "listen: 127.0.0.1:1\nhttp: 127.0.0.1:2\nmax_payload: 8MB\njetstream { store_dir: \"/run/a b\" }\n"
            ),
            "{one}"
        );
        assert!(!one.contains("cluster"), "{one}");
        let three = config(2, &nodes, Path::new("/run"));
        assert!(three.starts_with("server_name: nats-2\nlisten: 127.0.0.1:4\n"), "{three}");
        assert!(
            three.contains(
                "listen: 127.0.0.1:6, routes: [nats://127.0.0.1:3, nats://127.0.0.1:6, nats://127.0.0.1:9] }"
            ),
            "{three}"
        );
    }
}
